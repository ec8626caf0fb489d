"""One document, one transaction: what stands in the store before, after and in between."""

from __future__ import annotations

import gc
import re
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from ragkit.chunking import chunk
from ragkit.errors import BrokenFile, LibraryTooNew, StoreError
from ragkit.migrations import MIGRATIONS
from ragkit.schema import Block, Parsed
from ragkit.sqlite_store import SqliteStore
from ragkit.store import FileFacts, Pending, Root, TermedChunk
from ragkit.text import analyse, index_terms

ROOT = Root("r", "docs", Path("/docs"))
FACTS = FileFacts(1, 2, "h", "m")


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    opened = SqliteStore(tmp_path / "kb.sqlite")
    opened.put_root(ROOT)
    return opened


def put(store: SqliteStore, path: str, text: str, *, facts: FileFacts = FACTS) -> int:
    blocks = tuple(Block(line.start(), line.end()) for line in re.finditer(r".+", text))
    parsed = Parsed(text, blocks, title="T")
    names = [token.term for token in analyse(path)]
    chunks = [TermedChunk(c, [t.term for t in analyse(c.index_text)], names) for c in chunk(parsed)]
    version = queued(store, path)
    assert store.replace(version, facts, parsed, chunks, 0.5)
    return version.id


def queued(store: SqliteStore, path: str) -> Pending:
    """The document at `path`, as it is when its reading begins."""
    (doc_id,) = store.enqueue(ROOT, [(path, "")], 0)
    assert store.begin(doc_id)
    version = store.next_pending()
    assert version is not None and version.id == doc_id
    return version


def test_a_document_is_found_again_after_reopening(store: SqliteStore) -> None:
    doc_id = put(store, "a.md", "年假为十天。")
    store.close()
    again = SqliteStore(store.file.path)
    (document,) = again.documents()
    assert (document.id, document.source, document.state, document.chunks) == (
        doc_id,
        "docs/a.md",
        "ready",
        1,
    )
    assert again.text(doc_id) == "年假为十天。"


def test_a_new_version_replaces_the_old_one_whole(store: SqliteStore) -> None:
    first = put(store, "a.md", "年假为十天。")
    (old,) = store.opening_chunks([first])
    assert put(store, "a.md", "病假另议。") == first
    (new,) = store.opening_chunks([first])
    assert new.text == "病假另议。"
    assert new.id > old.id, "ids of chunks are never used again"
    assert store.candidates(["年假"], 10) == []
    assert store.text(first) == "病假另议。"


def test_an_edit_leaves_the_chunks_alone_that_it_does_not_touch(store: SqliteStore) -> None:
    paragraphs = [f"第{n}段说的是第{n}件事，一共有很多个字。" * 18 for n in range(6)]
    doc_id = put(store, "a.md", "\n".join(paragraphs[:5]))
    before = {c.text: c.id for c in store.chunks_of(doc_id)}
    put(store, "a.md", "\n".join([paragraphs[n] for n in (5, 0, 1, 3, 4, 0)]))
    now = store.chunks_of(doc_id)
    text = store.text(doc_id)
    assert [c.start for c in now] == sorted(c.start for c in now)
    assert all(text[c.start : c.end] == c.text for c in now)
    kept = {c.text: c.id for c in now if c.id in before.values()}
    assert len(kept) == 4 and kept.items() <= before.items()
    assert len({c.id for c in now}) == len(now) and store.opening_chunks([doc_id]) == now[:1]
    assert store.candidates(["段说"], 10, frozenset([doc_id]))
    assert all("第2段" not in c.text for c in now)


def test_terms_of_a_known_chunk_are_told_by_its_hash(store: SqliteStore) -> None:
    doc_id = put(store, "a.md", "年假为十天。")
    (one,) = store.chunks_of(doc_id)
    assert store.terms([one.hash, "nobody's"]) == {one.hash: index_terms("T\n年假为十天。")}


def test_a_sync_that_finds_nothing_new_writes_nothing(store: SqliteStore) -> None:
    before = store.file.generation()
    store.put_root(ROOT)
    assert store.file.generation() == before


def test_a_failure_leaves_the_version_that_answers(store: SqliteStore) -> None:
    doc_id = put(store, "a.md", "年假为十天。")
    store.fail(queued(store, "a.md"), FileFacts(9, 9, "other", "m"), BrokenFile("cut off", "Save it again."))
    (document,) = store.documents()
    assert (document.state, document.error_code, document.hint) == ("failed", "broken_file", "Save it again.")
    assert document.chunks == 1 and store.text(doc_id) == "年假为十天。"
    put(store, "a.md", "年假为九天。")
    assert store.documents()[0].state == "ready"


def test_an_exception_inside_a_write_leaves_everything_as_it_was(store: SqliteStore) -> None:
    put(store, "a.md", "年假为十天。")
    bad = [TermedChunk(None, [], [])]  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        store.replace(queued(store, "a.md"), FACTS, Parsed("new", ()), bad, 0.0)
    assert store.text(store.documents()[0].id) == "年假为十天。"
    assert len(store.candidates(["年假"], 10)) == 1


def test_removing_forgets_text_terms_and_vectors_that_nobody_shares(store: SqliteStore) -> None:
    first, second = put(store, "a.md", "年假为十天。"), put(store, "b.md", "年假为十天。")
    ((hash, _),) = store.without_vector("m")
    store.put_vectors("m", [hash], np.ones((1, 4), np.float32))
    store.remove([first])
    store.purge()
    assert store.coverage("m").embedded == 1 and store.text(second)
    store.remove([second])
    store.purge()
    raw = sqlite3.connect(store.file.path)
    for table in ("document", "chunk", "chunk_term", "text", "vector"):
        assert raw.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,), table


def test_candidates_count_terms_of_text_and_name(store: SqliteStore) -> None:
    put(store, "xtuner.md", "工具 工具 其他")
    (found,) = store.candidates(["工具", "xtuner", "没有"], 10)
    assert found.counts == {"工具": 2.0, "xtuner": 0.5}


def test_terms_with_quotes_or_operators_are_only_words(store: SqliteStore) -> None:
    put(store, "a.md", "NEAR not AND or")
    assert store.candidates(["near", "and"], 10)


def test_a_search_can_be_kept_to_some_documents(store: SqliteStore) -> None:
    first, second = put(store, "a.md", "年假甲。"), put(store, "b.md", "年假乙。")
    found = store.candidates(["年假"], 10, frozenset([second]))
    assert [c.doc_id for c in found] == [second] != [first]


def test_equal_text_is_embedded_once(store: SqliteStore) -> None:
    put(store, "a.md", "同样的内容。")
    put(store, "b.md", "同样的内容。")
    assert len(store.without_vector("m")) == 1


def test_the_matrix_follows_what_is_written(store: SqliteStore) -> None:
    model = "m"
    assert store.matrix(model).search(np.ones(2, np.float32), 5) == []
    for name, vector in (("甲", [1, 0]), ("乙", [0, 1])):
        put(store, f"{name}.md", f"{name}的内容。")
        hashes = [hash for hash, _ in store.without_vector(model)]
        store.put_vectors(model, hashes, np.array([vector], np.float32))
    before = store.matrix(model)
    best = before.search(np.array([0, 1], np.float32), 5)
    assert [round(score, 3) for _, score in best] == [1.0, 0.0]
    store.remove([store.documents()[0].id])
    assert len(store.matrix(model).chunk_ids) == 1
    assert len(before.chunk_ids) == 2, "a matrix that was given out does not change"


def test_another_process_sees_what_was_written(store: SqliteStore) -> None:
    other = SqliteStore(store.file.path)
    put(store, "a.md", "年假为十天。")
    assert other.statistics(["年假"]).holding == {"年假": 1}
    put(store, "b.md", "年假为九天。")
    assert other.statistics(["年假"]).chunks == 2


def test_readers_in_threads_see_whole_documents_while_one_writes(store: SqliteStore) -> None:
    put(store, "a.md", "版本零。")
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with store.reading():
                for found in store.candidates(["版本"], 10):
                    if found.chunk_id not in store.chunks([found.chunk_id]):
                        wrong.append("a chunk vanished inside one reading")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        put(store, "a.md", f"版本{number}。")
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_connection_of_a_thread_that_ended_is_closed(store: SqliteStore) -> None:
    """A server's threads come and go; each once left an open file behind."""
    for _ in range(5):
        thread = threading.Thread(target=store.documents)
        thread.start()
        thread.join()
    gc.collect()
    assert len(store.file._connections) == 1


def test_terms_can_be_made_anew(store: SqliteStore) -> None:
    doc_id = put(store, "a.md", "年假。")
    (one,) = store.opening_chunks([doc_id])
    store.put_terms([(one.id, ["x", "y"], ["z"])], analyser=99)
    assert store.meta("analyser") == "99"
    assert store.candidates(["x"], 5)[0].length == 2
    assert store.candidates(["年假"], 5) == []


def test_a_library_of_a_later_ragkit_is_refused(store: SqliteStore) -> None:
    store.close()
    raw = sqlite3.connect(store.file.path)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(LibraryTooNew) as caught:
        SqliteStore(store.file.path)
    assert caught.value.hint


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "kb.sqlite").write_bytes(b"this is no database at all, " * 100)
    with pytest.raises(StoreError, match="damaged") as caught:
        SqliteStore(tmp_path / "kb.sqlite")
    assert "sync again" in caught.value.hint


def test_a_document_that_is_gone_is_said_to_be(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="no document 7"):
        store.text(7)
