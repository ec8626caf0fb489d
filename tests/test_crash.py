"""Killed, out of room, or failing at any step: the old version or the new one answers, never half, and work goes on."""

from __future__ import annotations

import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragkit import sqlite_file
from ragkit.config import REPOSITORY, Settings
from ragkit.engine import Engine
from ragkit.errors import ReaderFailed, StoreError
from ragkit.schema import Parsed
from tests.fakes import WordEmbedding

Make = Callable[..., Path]
KILLS = 30

# Edits, syncs, drops, embeds and removes for ever. Every paragraph of a file names the version it is of.
WORK = """
import os, random, sys
from pathlib import Path
from ragkit.config import Settings
from ragkit.engine import Engine

class Words:  # as much of an embedding model as is asked for, without a second of imports
    def get_text_embedding_batch(self, texts):
        return [[1.0 + len(text) % 7, 1.0] for text in texts]

base, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
docs, incoming = base / "docs", base / "incoming"
docs.mkdir(exist_ok=True)
incoming.mkdir(exist_ok=True)

def write(file, n, version):
    part = file.with_suffix(".part")
    part.write_text("\\n\\n".join(f"# 第{p}节\\n\\n文件{n}第{p}节，版本{version}。" for p in range(12)), encoding="utf-8")
    os.replace(part, file)

engine = Engine.open(Settings(data_dir=base, kb=base / "kb", embedding="off"), embed_model=Words())
engine.start()
print("ready", flush=True)
while True:
    version = chance.randrange(1 << 30)
    for n in chance.sample(range(12), 3):
        write(docs / f"{n}.md", n, version)
    if chance.random() < 0.3:
        names = sorted(docs.glob("*.md"))
        names[0].rename(docs / f"{12 + chance.randrange(4)}.md")
    engine.sync(docs)
    drop = incoming / "drop.md"
    write(drop, 99, version)
    engine.add([(drop, f"drop{chance.randrange(5)}.md")], on_conflict="replace")
    engine.embed()
    documents = engine.documents()
    engine.remove([chance.choice(documents).id] if chance.random() < 0.3 else [])
"""


def versions(text: str) -> set[str]:
    return set(re.findall(r"版本(\d+)", text))


def contents(engine: Engine) -> dict[str, tuple[str, list[str]]]:
    """Text and chunks of every document, by source."""
    return {
        document.source: (engine.text(document.id), [chunk.text for chunk in engine.chunks(document.id)])
        for document in engine.documents()
    }


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_thirty_kills_at_random_moments_leave_whole_documents_and_work_goes_on(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, kb=tmp_path / "kb", embedding="off")
    chance = random.Random(20261125)
    interrupted = 0
    for kill in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path), str(kill)], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.4))
        child.kill()
        child.communicate()
        with Engine.open(settings, embed_model=WordEmbedding(model_name="not used")) as engine:
            faults = engine.verify()
            assert [f for f in faults if "wait" not in f and "without a" not in f] == []
            for document in engine.documents():
                waits = document.state in {"queued", "parsing", "stale"}
                interrupted += waits
                if document.chunks:
                    assert len(versions(engine.text(document.id))) == 1 and document.chunks == 12
                else:
                    assert waits, "a document is there with nothing in it"
    assert interrupted > 0, "no kill ever met work under way"
    with Engine.open(settings, embed_model=WordEmbedding()) as engine:
        engine.start()  # reads what the last kill left in the queue
        deadline = time.monotonic() + 60
        while not (engine.coverage().complete and all(d.state == "ready" for d in engine.documents())):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        engine.sync(tmp_path / "docs")
        engine.embed()
        assert engine.verify() == []
        mirrored = {source: it for source, it in contents(engine).items() if source.startswith("docs/")}
    fresh = Settings(data_dir=tmp_path, kb=tmp_path / "fresh", embedding="off")
    with Engine.open(fresh) as engine:
        engine.sync(tmp_path / "docs")
        assert mirrored == contents(engine)


# ── A fault at every step ──


@pytest.fixture
def mirrored(engine: Engine, folder: Make) -> tuple[Engine, Path]:
    docs = folder(**{"a.md": "# 一\n\n年假为十天。\n\n# 二\n\n旧的第二节。\n", "b.md": "别的文件。"})
    engine.sync(docs)
    engine.embed()
    return engine, docs


def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let the n-th write of a connection fail, with n counted up by the caller: yields [written, failing at]."""
    real = sqlite3.Connection.execute
    counter = [0, 1 << 30]

    def execute(self: sqlite3.Connection, sql: str, *values: object) -> sqlite3.Cursor:
        if sql.split(None, 1)[0] in {"INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT"} and sql != "BEGIN":
            counter[0] += 1
            if counter[0] == counter[1]:
                raise sqlite3.OperationalError("disk I/O error")
        return real(self, sql, *values)

    monkeypatch.setattr(sqlite_file._Connection, "execute", execute, raising=False)
    yield counter


def test_a_write_that_fails_at_any_statement_leaves_the_old_version_and_is_made_up_for(
    mirrored: tuple[Engine, Path], folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, docs = mirrored
    (counter,) = statements(monkeypatch)
    failures = 0
    for step in range(1, 200):
        version = f"第{step}版"
        before = engine.text(engine.documents()[0].id)
        folder(**{"a.md": f"# 一\n\n年假为十天，{version}。\n\n# 二\n\n第二节，{version}。\n"})
        counter[:] = [0, step]
        try:
            engine.sync(docs)
            failed = False
        except StoreError as error:
            assert error.hint
            failed = True
        counter[:] = [0, 1 << 30]
        text = engine.text(engine.documents()[0].id)
        assert text == before or text.count(version) == 2
        assert [hit.text for hit in engine.search("年假", limit=1)] == [text[: text.index("\n\n# 二")]]
        faults = [f for f in engine.verify() if "without a" not in f and "wait" not in f]
        assert faults == []
        engine.sync(docs)
        engine.embed()
        assert engine.text(engine.documents()[0].id).count(version) == 2, "the next sync makes up for it"
        assert engine.verify() == []
        failures += failed
        if not failed and step > 5:
            break
    assert failures > 10, "the fault never met the update"


def test_a_disk_that_is_full_at_any_page_leaves_the_old_version(
    mirrored: tuple[Engine, Path], folder: Make
) -> None:
    engine, docs = mirrored
    db = engine._store.file._connection
    failures = 0
    for room in range(0, 400, 5):
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + room}")
        long = "".join(f"# 第{n}节\n\n年假的第{n}条规定，房间{room}。\n\n" for n in range(300))
        folder(**{"a.md": long})
        try:
            engine.sync(docs)
            failed = False
        except StoreError as error:
            assert "no room" in error.message and error.hint
            failed = True
        text = engine.text(engine.documents()[0].id)
        assert (text == "# 一\n\n年假为十天。\n\n# 二\n\n旧的第二节。\n") == failed
        assert engine.search("年假", limit=1)[0].text in text
        assert [f for f in engine.verify() if "without a" not in f and "wait" not in f] == []
        failures += failed
        if not failed:
            break
    assert failures > 3 and not failed
    db.execute("PRAGMA max_page_count = 1073741823")
    engine.embed()
    assert engine.verify() == []


def test_a_full_disk_keeps_a_drop_waiting_until_there_is_room(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("".join(f"# {n}\n\n第{n}节的内容。\n\n" for n in range(300)), encoding="utf-8")
    engine.add([])  # the tables are there
    db = engine._store.file._connection
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="no room"):
        engine.add([(file, "a.md")])
    db.execute("PRAGMA max_page_count = 1073741823")
    file.unlink()
    assert [document.state for document in engine.documents()] == ["parsing"]
    engine.start()
    deadline = time.monotonic() + 30
    while not engine.coverage().complete or not engine.coverage().chunks:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert engine.documents()[0].chunks == 300


@pytest.mark.parametrize("fault", ["the parser", "the process"])
def test_a_parser_that_fails_keeps_the_old_version_and_is_asked_again(
    mirrored: tuple[Engine, Path], folder: Make, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    engine, docs = mirrored
    real = engine._reader.read

    def read(path: Path, *, name: str | None = None, cancel: object = None) -> Parsed:
        if fault == "the parser":
            raise ReaderFailed("The parser crashed on this file.", "Save it in a simpler form.")
        real(path, name=name)
        raise ReaderFailed("The parser crashed on this file.", "Save it in a simpler form.")

    folder(**{"a.md": "年假为九天。"})
    with monkeypatch.context() as patch:
        patch.setattr(engine._reader, "read", read)
        (failure,) = engine.sync(docs).failed
    assert failure.code == "reader_failed" and failure.hint
    assert engine.documents()[0].state == "failed"
    assert "十天" in engine.search("年假", limit=1)[0].text
    assert engine.verify() == []
    engine.reread([engine.documents()[0].id])
    assert "九天" in engine.search("年假", limit=1)[0].text


def test_our_own_code_that_trips_over_a_file_costs_that_file_only(
    mirrored: tuple[Engine, Path], folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, docs = mirrored
    real = __import__("ragkit.index", fromlist=["chunk"]).chunk

    def chunk(parsed: Parsed) -> object:
        if "绊" in parsed.text:
            raise IndexError("string index out of range")
        return real(parsed)

    monkeypatch.setattr("ragkit.index.chunk", chunk)
    folder(**{"a.md": "绊脚的年假。", "c.md": "年假为八天。"})
    report = engine.sync(docs)
    assert [f.source for f in report.failed] == ["docs/a.md"] and report.added == ("docs/c.md",)
    assert "十天" in engine.text(engine.documents()[0].id)


@pytest.mark.parametrize("after", [0, 1, 5, 39])
def test_an_embedder_that_fails_at_any_text_leaves_words_alone_and_says_so(
    settings: Settings, folder: Make, after: int
) -> None:
    docs = folder(**{f"{n}.md": f"年假的第{n}条。" for n in range(40)})
    with Engine.open(settings, embed_model=WordEmbedding(fail_after=after)) as engine:
        engine.sync(docs)
        engine.start()
        deadline = time.monotonic() + 30
        while engine.embedding.state != "failed":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert engine.embedding.error and engine.embedding.hint
        hit = engine.search("年假", limit=1)[0]
        assert hit.lexical is not None and hit.dense is None
        folder(**{"0.md": "年假的新的第零条。"})
        assert engine.sync(docs).updated == ("docs/0.md",), "texts come in all the same"
    with Engine.open(settings, embed_model=WordEmbedding()) as engine:
        engine.embed()
        assert engine.verify() == [] and engine.coverage().complete
