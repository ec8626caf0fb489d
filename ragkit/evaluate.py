"""How well a library finds, refuses and quotes: figures over a set of passages and questions.

It asks the same engine that the page asks, and knows nothing of how that ranks. Shares are percentages with one
decimal, MRR too; a question counts by the first of its golds, and a passage stands where its best chunk stands.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ragkit.engine import Engine
from ragkit.errors import UsageError
from ragkit.retrieval import KEPT, Legs
from ragkit.schema import OnProgress, no_progress

CUTS = (1, 3, 5, 10)
_FOLDER = "passages"  # in the folder of the knowledge base: each passage as a file
_CORPUS_LINE = '{"id": "p1", "title": "...", "text": "..."}'
_QUERY_LINE = '{"q": "...", "gold": ["p1"], "answer": "..."} (the answer may be left out)'

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Passage:
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the passages that answer it, and words that a right answer holds, where the set says so."""

    text: str
    gold: frozenset[str]
    answers: tuple[str, ...] = ()


# ── The sets ──


def read_passages(file: Path) -> list[Passage]:
    """Read a corpus, one passage a line. Raises UsageError, naming the line."""
    found: dict[str, Passage] = {}
    for where, line in _lines(file, _CORPUS_LINE):
        id, text = _field(line, "id", where, _CORPUS_LINE), _field(line, "text", where, _CORPUS_LINE)
        if id in found:
            raise UsageError(
                f"{where}: there is a passage {id!r} already", "Give every passage an id of its own."
            )
        title = line.get("title") or ""
        if not isinstance(title, str):
            raise UsageError(f"{where}: 'title' is no text", f"A line looks like {_CORPUS_LINE}.")
        found[id] = Passage(id, title, text)
    return list(found.values())


def read_questions(file: Path, passages: Sequence[Passage] | None = None) -> list[Question]:
    """Read questions, one a line; with `passages` each must name one of them as gold. Raises UsageError."""
    known = {passage.id for passage in passages or ()}
    found = []
    for where, line in _lines(file, _QUERY_LINE):
        text, gold, answer = _field(line, "q", where, _QUERY_LINE), line.get("gold"), line.get("answer") or []
        answers = [answer] if isinstance(answer, str) else answer
        if not isinstance(answers, list) or not all(isinstance(one, str) and one for one in answers):
            raise UsageError(f"{where}: 'answer' is no text", f"A line looks like {_QUERY_LINE}.")
        gold = [str(id) for id in gold] if isinstance(gold, list) else []
        if passages is not None and not gold:
            raise UsageError(
                f"{where}: 'gold' is no list of passage ids, or an empty one",
                f"A line looks like {_QUERY_LINE}. Questions that must be refused go into a file of their own: --others.",
            )
        if passages is not None and (unknown := [id for id in gold if id not in known]):
            raise UsageError(
                f"{where}: there is no passage {unknown[0]!r} in the corpus",
                "Check that corpus and questions are of the same set.",
            )
        found.append(Question(text, frozenset(gold), tuple(answers)))
    return found


def _lines(file: Path, example: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each object of a JSON Lines file behind the words that say where it stands."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split(
            "\n"
        )  # not splitlines: U+2028 may stand in a string
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"{file} cannot be read: {reason}", "Check the path; the file must be JSON Lines."
        ) from error
    is_empty = True
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        is_empty, where = False, f"{file}, line {number}"
        try:
            value = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{where} is not JSON: {error}", f"A line looks like {example}.") from error
        if not isinstance(value, dict):
            raise UsageError(f"{where} is no JSON object", f"A line looks like {example}.")
        yield where, value
    if is_empty:
        raise UsageError(f"{file} is empty", f"A line looks like {example}.")


def _field(line: Mapping[str, object], name: str, where: str, example: str) -> str:
    value = line.get(name)
    if name == "id" and isinstance(value, int):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        told = "is missing or empty" if value in (None, "") or isinstance(value, str) else "is no text"
        raise UsageError(f"{where}: {name!r} {told}", f"A line looks like {example}.")
    return value


# ── The library ──


def fill(
    engine: Engine, passages: Sequence[Passage], *, progress: OnProgress = no_progress
) -> dict[int, str]:
    """Make the library hold these passages, each as a document of its own, and say which document is which.

    They are files of a folder that is synced, so what a kept library holds already is neither read nor embedded
    again. Raises UsageError for a library that holds anything else.
    """
    folder = engine.settings.kb / _FOLDER
    if any(root.folder != folder.resolve() for root in engine.roots()):
        raise UsageError(
            f"the knowledge base in {engine.settings.kb} holds documents that are not of this corpus",
            "Name a folder of its own with --kb, or leave --kb out.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    ids = {f"{_letters(passage.id)}.md": passage.id for passage in passages}
    for file in folder.iterdir():
        if file.name not in ids:
            file.unlink()
    for passage in passages:
        file, text = folder / f"{_letters(passage.id)}.md", _markdown(passage)
        if not file.is_file() or file.read_bytes() != text:
            file.write_bytes(text)
    engine.sync(folder, progress=progress)
    engine.embed(progress=progress)
    return {document.id: ids[document.path] for document in engine.documents()}


def _letters(id: str) -> str:
    """A name that tells nothing: file names are searched too, and no question may meet one by chance."""
    digest = hashlib.blake2b(id.encode(), digest_size=12).hexdigest()
    return digest.translate(str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst"))


def _markdown(passage: Passage) -> bytes:
    """The passage as it is, below front matter that gives the document its title."""
    title = " ".join(passage.title.split())
    return f"---\ntitle: {title}\n---\n{passage.text}\n".encode(errors="replace")


# ── The figures ──


def ranking(engine: Engine, of: Mapping[int, str], question: str, legs: Legs) -> list[str]:
    """The passages that are found for a question, best first, each once."""
    hits = engine.rank(question, limit=KEPT, legs=legs).hits
    return list(dict.fromkeys(of[hit.doc_id] for hit in hits))


def measure_ranks(
    engine: Engine, of: Mapping[int, str], questions: Sequence[Question], legs: Legs, say: Say
) -> dict[str, float]:
    """R@1, 3, 5, 10, MRR@10, and what it took to rank the passages of a question."""
    ranks, seconds = [], []
    ranking(engine, of, questions[0].text, legs)  # what only the first question waits for
    for number, question in enumerate(questions, 1):
        started = time.perf_counter()
        found = ranking(engine, of, question.text, legs)
        seconds.append(time.perf_counter() - started)
        ranks.append(rank_of(question.gold, found))
        say(f"{legs}: {number}/{len(questions)}")
    return recall(ranks, CUTS) | {"MRR@10": mrr(ranks, 10)} | latency(seconds)


def rank_of(gold: frozenset[str], found: Sequence[str]) -> int | None:
    """Where the first of the gold passages stands, from 1; None when none was found."""
    return next((rank for rank, id in enumerate(found, 1) if id in gold), None)


def recall(ranks: Sequence[int | None], cuts: Sequence[int]) -> dict[str, float]:
    """The share of questions with a gold passage among the first k."""
    return {f"R@{cut}": share(sum(r is not None and r <= cut for r in ranks), len(ranks)) for cut in cuts}


def mrr(ranks: Sequence[int | None], cut: int) -> float:
    """The mean of 1 / rank, where a gold passage is among the first `cut`."""
    return share(sum(1 / rank for rank in ranks if rank is not None and rank <= cut), len(ranks))


def latency(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    at = {"p50_ms": 0.5, "p95_ms": 0.95}
    return {name: round(1000 * ordered[int(part * (len(ordered) - 1))], 1) for name, part in at.items()}


def share(part: float, whole: int) -> float:
    """A percentage with one decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


def measure_refusal(
    engine: Engine, own: Sequence[Question], others: Mapping[str, Sequence[Question]], say: Say
) -> dict[str, object]:
    """How many questions of this set are answered from the documents, and how many of others are refused.

    An answer that is marked as a weak match is no refusal.
    """

    def refused(questions: Sequence[Question], name: str) -> tuple[int, int]:
        counts = [0, 0]
        for number, question in enumerate(questions, 1):
            answer = engine.ask(question.text)
            counts[0] += answer.refused
            counts[1] += answer.weak
            say(f"{name}: {number}/{len(questions)}")
        return counts[0], counts[1]

    gone, weak = refused(own, "kept")
    result: dict[str, object] = {
        "kept": share(len(own) - gone, len(own)),
        "weak": share(weak, len(own)),
    }
    for name, questions in others.items():
        result[name] = {
            "questions": len(questions),
            "refused": share(refused(questions, name)[0], len(questions)),
        }
    return result


def measure_answers(
    engine: Engine, of: Mapping[int, str], questions: Sequence[Question], say: Say
) -> dict[str, float]:
    """Of the answers in quotes: how many cite, in a gold passage, words that hold a gold answer; by the first
    sentence alone, and by all of them. A question that is refused counts as missed."""
    first = every = sentences = 0
    for number, question in enumerate(questions, 1):
        cited = engine.ask(question.text).citations
        right = [
            of[one.doc_id] in question.gold and any(answer in one.quote for answer in question.answers)
            for one in cited
        ]
        first += right[:1] == [True]
        every += any(right)
        sentences += len(cited)
        say(f"answers: {number}/{len(questions)}")
    count = len(questions)
    return {
        "questions": count,
        "one_sentence": share(first, count),
        "all_sentences": share(every, count),
        "sentences": round(sentences / max(1, count), 2),
    }


# ── Beside it: the tutorial's shape ──


def measure_tutorial(
    passages: Sequence[Passage], questions: Sequence[Question], model: Path, say: Say
) -> dict[str, float]:
    """What LlamaIndex's own parts find as the tutorial puts them together: SentenceSplitter at 1024/200, vectors
    alone, by the same embedding model, the two nearest chunks. Raises what those parts raise."""
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    # In the order of their lengths, because it embeds ten at a time and pads them to the longest.
    documents = [
        Document(text=one.text, id_=one.id, metadata={"title": one.title} if one.title else {})
        for one in sorted(passages, key=lambda one: len(one.text))
    ]
    embedding = HuggingFaceEmbedding(model_name=str(model))
    splitter = SentenceSplitter(chunk_size=1024, chunk_overlap=200)
    index = VectorStoreIndex(nodes=[], embed_model=embedding)
    for start in range(0, len(documents), 100):
        say(f"tutorial: embedding {start}/{len(documents)}")
        index.insert_nodes(splitter.get_nodes_from_documents(documents[start : start + 100]))
    retriever = index.as_retriever(similarity_top_k=2)
    ranks, seconds = [], []
    for number, question in enumerate(questions, 1):
        started = time.perf_counter()
        nodes = retriever.retrieve(question.text)
        seconds.append(time.perf_counter() - started)
        found = list(dict.fromkeys(cast("str", node.node.ref_doc_id) for node in nodes))
        ranks.append(rank_of(question.gold, found))
        say(f"tutorial: {number}/{len(questions)}")
    return recall(ranks, (1, 2)) | latency(seconds)
