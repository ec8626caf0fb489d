"""Search, memory, reopening and removal in libraries of ten thousand chunks and more.

The chunks are stored straight away, with the terms of their sentences and random directions for vectors: to read,
analyse and embed a hundred thousand would take the morning. Each side is opened in a process of its own, so that
the memory that is told is its own too.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.bars import bar
from tests.bench.made_up import Author, CountingEmbedding, directions

COMPARED_CHUNKS = 10_000
CHUNKS_PER_DOCUMENT = 50
SENTENCES_PER_CHUNK = 12
SENTENCE_POOL = 20_000
VECTORS_PER_WRITE = 5_000
QUESTIONS, SLOW_QUESTIONS = 60, 8  # LlamaIndex's take a good part of a second each
LIMIT = 10
CHILD_TIMEOUT_S = 1800

Texts = list[list[str]]  # documents of chunks


def measure(place: Path, chunks: int) -> dict[str, Any]:
    """Both sides at ten thousand chunks (or fewer, where fewer are asked for), then ragkit alone at `chunks`."""
    compared = min(COMPARED_CHUNKS, chunks)
    author = Author(seed=5)
    small, large = place / "small", place / "large"
    result: dict[str, Any] = {f"ragkit at {compared} chunks": _ragkit(small, compared, author)}
    texts = json.loads((small / "texts.json").read_text(encoding="utf-8"))
    store_for_llamaindex(small / "vectors.json", sum(map(len, texts)))
    theirs = _in_a_process("llamaindex", small)
    result[f"llamaindex at {compared} chunks"] = theirs
    if chunks > compared:
        result[f"ragkit at {chunks} chunks"] = _ragkit(large, chunks, author)
    ours = result[f"ragkit at {compared} chunks"]
    return result | {
        "bars": [
            bar(
                "hybrid search at 10,000 chunks: times faster than LlamaIndex's dense one (p50)",
                theirs["dense"]["p50_ms"] / ours["hybrid"]["p50_ms"],
                at_least=10,
                counts=compared == COMPARED_CHUNKS,
            )
        ]
    }


def _ragkit(place: Path, chunks: int, author: Author) -> dict[str, Any]:
    built = build(place, chunks, author)
    return built | _in_a_process("ragkit", place)


# ── Libraries ──


def build(place: Path, chunks: int, author: Author) -> dict[str, Any]:
    """Store made-up documents and vectors, as a sync and an embedding would have left them."""
    from hashlib import blake2b

    from ragkit import embedding
    from ragkit.changes import MADE_BY
    from ragkit.chunking import index_text
    from ragkit.schema import Block, Chunk, Parsed
    from ragkit.sqlite_store import SqliteStore
    from ragkit.store import FileFacts, Root, TermedChunk
    from ragkit.text import index_terms

    place.mkdir(parents=True)
    store = SqliteStore(place / "kb.sqlite")
    root = Root("bench", "bench", None)
    store.put_root(root)
    dice = random.Random(3)
    pool = [author.languages[n % 2].sentence().strip() for n in range(SENTENCE_POOL)]
    terms = {sentence: index_terms(sentence) for sentence in pool}
    started = time.perf_counter()
    texts: Texts = []
    count = -(-chunks // CHUNKS_PER_DOCUMENT)
    doc_ids = store.enqueue(root, [(f"doc{n:05d}.md", "") for n in range(count)], 0)
    for number in range(count):
        # The pool alternates between the languages; so do the documents.
        picked = [
            [pool[2 * dice.randrange(SENTENCE_POOL // 2) + number % 2] for _ in range(SENTENCES_PER_CHUNK)]
            for _ in range(CHUNKS_PER_DOCUMENT)
        ]
        bodies = [" ".join(sentences) for sentences in picked]
        text = "\n\n".join(bodies)
        termed, at = [], 0
        for sentences, body in zip(picked, bodies, strict=True):
            indexed = index_text("", (), body)
            hash = blake2b(indexed.encode(), digest_size=16).hexdigest()
            termed.append(
                TermedChunk(
                    Chunk(at, at + len(body), None, (), indexed, hash),
                    [term for one in sentences for term in terms[one]],
                    ["doc"],
                )
            )
            at += len(body) + 2
        store.begin(doc_ids[number])
        version = store.next_pending()
        assert version is not None
        store.replace(
            version,
            FileFacts(len(text), 0, blake2b(text.encode(), digest_size=16).hexdigest(), MADE_BY),
            Parsed(text, (Block(0, len(text)),)),
            termed,
            0.0,
        )
        texts.append(bodies)
    stored = time.perf_counter()
    key = embedding.wrap(CountingEmbedding()).record.key
    hashes = [hash for hash, _ in store.without_vector(key)]
    vectors = directions(len(hashes))
    for low in range(0, len(hashes), VECTORS_PER_WRITE):
        store.put_vectors(key, hashes[low : low + VECTORS_PER_WRITE], vectors[low : low + VECTORS_PER_WRITE])
    done = time.perf_counter()
    store.close()
    (place / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    return {
        "stored_chunks_per_s": round(len(hashes) / (stored - started)),
        "stored_vectors_per_s": round(len(hashes) / (done - stored)),
        "disk_mb": round((place / "kb.sqlite").stat().st_size / 1e6, 1),
    }


def store_for_llamaindex(file: Path, count: int) -> None:
    """The same number of directions in a SimpleVectorStore, as its own `persist` writes it."""
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores import SimpleVectorStore

    store = SimpleVectorStore()
    store.add(
        [
            TextNode(id_=f"n{n}", text="", embedding=vector.tolist())
            for n, vector in enumerate(directions(count))
        ]
    )
    store.persist(str(file))


# ── What is measured, in a process of its own ──


def _in_a_process(side: str, place: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, side, str(place)],
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{side} at {place.name}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def ragkit(place: Path) -> dict[str, Any]:
    """Open, search in all three ways, write beside it, remove a document."""
    from ragkit import retrieval
    from ragkit.config import Settings
    from ragkit.embedding import wrap
    from ragkit.engine import Engine

    texts: Texts = json.loads((place / "texts.json").read_text(encoding="utf-8"))
    asked = _questions(texts)
    embedding = CountingEmbedding()
    vectors = directions(QUESTIONS, seed=11)
    del texts
    before = _rss_mb()
    started = time.perf_counter()
    engine = Engine.open(Settings(data_dir=place, kb=place, embedding="off"), embed_model=embedding)
    opened = time.perf_counter()
    engine.search(asked[0], limit=LIMIT)
    first = time.perf_counter()
    store, key = engine._store, wrap(embedding).record.key
    result: dict[str, Any] = {
        "open_ms": _ms(opened - started),
        "first_hybrid_search_ms": _ms(first - opened),
        "reopen_until_the_first_answer_ms": _ms(first - started),
        "memory_grew_mb": round(_rss_mb() - before, 1),
        "lexical": _latency(lambda n: retrieval.retrieve(store, None, asked[n], limit=LIMIT), QUESTIONS),
        "dense": _latency(lambda n: store.matrix(key).search(vectors[n], LIMIT), QUESTIONS),
        "hybrid": _latency(lambda n: engine.search(asked[n], limit=LIMIT), QUESTIONS),
        "memory_grew_after_searching_mb": round(_rss_mb() - before, 1),
        "coverage_ms": _ms(_timed(lambda: engine.coverage())),
        "documents_ms": _ms(_timed(lambda: engine.documents())),
        "without_vector_ms": _ms(_timed(lambda: store.without_vector(key))),
        "is_unclean_ms": _ms(_timed(lambda: store.is_unclean())),
    }
    victim = engine.documents()[0].id
    result["first_search_after_a_write_ms"] = _ms(_after_a_write(engine, asked[1]))
    result["remove_one_document_ms"] = _ms(_timed(lambda: engine.remove([victim])))
    result["search_after_the_removal_ms"] = _ms(_timed(lambda: engine.search(asked[2], limit=LIMIT)))
    result["remove_another_document_ms"] = _ms(_timed(lambda: engine.remove([engine.documents()[0].id])))
    engine.close()
    return result


def _after_a_write(engine: Any, question: str) -> float:
    engine._store.put_meta("bench", "1")
    return _timed(lambda: engine.search(question, limit=LIMIT))


def llamaindex(place: Path) -> dict[str, Any]:
    """Open what `persist` wrote, and search it."""
    from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery

    vectors = directions(QUESTIONS, seed=11)
    before = _rss_mb()
    started = time.perf_counter()
    store = SimpleVectorStore.from_persist_path(str(place / "vectors.json"))
    opened = time.perf_counter()

    def search(n: int) -> object:
        return store.query(VectorStoreQuery(query_embedding=vectors[n].tolist(), similarity_top_k=LIMIT))

    search(0)
    return {
        "open_ms": _ms(opened - started),
        "reopen_until_the_first_answer_ms": _ms(time.perf_counter() - started),
        "memory_grew_mb": round(_rss_mb() - before, 1),
        "dense": _latency(search, SLOW_QUESTIONS),
    }


def _questions(texts: Texts) -> list[str]:
    """A few words out of some passage, as a user would ask for it."""
    dice = random.Random(13)
    asked = []
    while len(asked) < QUESTIONS:
        number = dice.randrange(len(texts))
        sentence = dice.choice(
            dice.choice(texts[number]).split(" ")
            if number % 2 == 0
            else dice.choice(texts[number]).split(". ")
        )
        if number % 2 == 0:
            asked.append(f"{sentence[:12].strip('，。')}是什么？")
        else:
            asked.append(f"What is {' '.join(sentence.split()[:5])}?")
    return asked


def _latency(search: Callable[[int], object], questions: int) -> dict[str, float]:
    search(0)
    seconds = sorted(_timed(lambda n=n: search(n)) for n in range(questions))
    return {
        "p50_ms": _ms(statistics.median(seconds)),
        "p95_ms": _ms(seconds[min(len(seconds) - 1, round(0.95 * len(seconds)))]),
        "questions": questions,
    }


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _rss_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss / 1e6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ragkit", "llamaindex"))
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    print(json.dumps({"ragkit": ragkit, "llamaindex": llamaindex}[options.side](options.place)))
