"""What waits to be read: seen by the user, never lost, in the order that they want, stopped when they say so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.schema import Parsed, Progress
from tests.fakes import WordEmbedding

Make = Callable[..., Path]


class Gate:
    """Holds the parser at each file until it is let go; `seen` are the files it was asked for."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        self.at_file = threading.Event()
        self._go = threading.Semaphore(0)
        real = engine._reader.read

        def read(path: Path, *, name: str | None = None, cancel: threading.Event | None = None) -> Parsed:
            self.seen.append(str(name))
            self.at_file.set()
            assert self._go.acquire(timeout=30)
            return real(path, name=name)

        monkeypatch.setattr(engine._reader, "read", read)

    def let_go(self, files: int = 1) -> None:
        self._go.release(files)

    def wait(self) -> None:
        assert self.at_file.wait(timeout=30)
        self.at_file.clear()


def states(engine: Engine) -> dict[str, str]:
    return {document.source: document.state for document in engine.documents()}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dropped(tmp_path: Path, **texts: str) -> list[tuple[Path, str]]:
    uploads = []
    for name, text in texts.items():
        file = tmp_path / f"dropped-{name}-{len(text)}"
        file.write_text(text, encoding="utf-8")
        uploads.append((file, f"{name}.md"))
    return uploads


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_every_state_can_be_seen(engine: Engine, folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = folder(**{"a.md": "甲的旧内容。", "broken.pdf": "no PDF"})
    engine.sync(docs)
    assert states(engine) == {"docs/a.md": "embedding", "docs/broken.pdf": "failed"}
    engine.embed()
    assert states(engine)["docs/a.md"] == "ready"
    folder(**{"a.md": "甲的新内容。", "b.md": "乙。", "c.md": "丙。"})
    gate = Gate(engine, monkeypatch)
    syncing = in_background(lambda: engine.sync(docs))
    gate.wait()
    assert states(engine) == {
        "docs/a.md": "parsing",
        "docs/b.md": "queued",
        "docs/c.md": "queued",
        "docs/broken.pdf": "failed",
    }
    assert engine.search("旧内容")[0].text == "甲的旧内容。", "the old version answers meanwhile"
    assert (engine.coverage().documents, engine.coverage().waiting) == (1, 2)
    gate.let_go(3)
    syncing.join()
    assert engine.search("新内容")[0].text == "甲的新内容。"
    assert engine.coverage().waiting == 0


def test_what_is_known_and_waits_is_stale(engine: Engine, folder: Make) -> None:
    engine.sync(folder(**{"a.md": "甲。"}))
    engine.pause()
    (document,) = engine.documents()
    rereading = in_background(lambda: engine.reread([document.id]))
    until(lambda: states(engine)["docs/a.md"] == "stale")
    engine.resume()
    rereading.join()
    assert states(engine)["docs/a.md"] in {"ready", "embedding"}


def test_a_drop_that_was_not_read_is_read_when_the_library_is_opened_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were not yet read when ragkit was killed were once lost, silently."""
    uploads = dropped(tmp_path, a="年假为十天。", b="食堂在二楼。")
    engine = Engine.open(settings)
    job = engine._indexer.take_uploads(uploads, "ask")
    assert len(job.added) == 2
    for file, _ in uploads:
        file.unlink()  # the browser's copy goes with the process
    engine.close()
    with Engine.open(settings) as again:
        assert set(states(again).values()) == {"queued"}
        again.start()
        until(lambda: set(states(again).values()) == {"ready"})
        assert again.search("食堂")[0].source == "uploads/b.md"


def test_closing_in_the_middle_of_a_file_is_no_fault_of_the_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.open(settings)
    gate = Gate(engine, monkeypatch)
    adding = in_background(lambda: engine.add(dropped(tmp_path, a="甲。", b="乙。")))
    gate.wait()
    engine._reader.close()
    gate.let_go(2)
    engine._closed.set()
    adding.join()
    engine.close()
    with Engine.open(settings) as again:
        assert set(states(again).values()) <= {"queued", "parsing"}
        again.start()
        until(lambda: set(states(again).values()) == {"ready"})


def test_what_was_just_dropped_goes_first(
    engine: Engine, folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(4)})
    gate = Gate(engine, monkeypatch)
    syncing = in_background(lambda: engine.sync(docs))
    gate.wait()
    adding = in_background(lambda: engine.add(dropped(tmp_path, urgent="急。")))
    until(lambda: "uploads/urgent.md" in states(engine))
    gate.let_go(5)
    adding.join()
    syncing.join()
    assert gate.seen == ["0.md", "urgent.md", "1.md", "2.md", "3.md"]


def test_what_came_last_is_embedded_first(engine: Engine, embedding: WordEmbedding, folder: Make) -> None:
    docs = folder(**{"a.md": "旧的文件。"})
    engine.sync(docs)
    missing = engine._store.without_vector("m")
    folder(**{"b.md": "新的文件。"})
    engine.sync(docs)
    assert engine._store.without_vector("m")[1:] == missing


def test_a_pause_lasts_until_it_is_ended(engine: Engine, folder: Make) -> None:
    engine.start()
    engine.pause()
    syncing = in_background(lambda: engine.sync(folder(**{"a.md": "甲。"})))
    until(lambda: bool(states(engine)))
    time.sleep(0.3)
    assert states(engine) == {"docs/a.md": "queued"} and engine.paused
    engine.resume()
    syncing.join()
    until(lambda: states(engine) == {"docs/a.md": "ready"})


def test_a_paused_job_can_be_cancelled(engine: Engine, folder: Make) -> None:
    cancel = threading.Event()
    engine.pause()
    reports = []
    syncing = in_background(lambda: reports.append(engine.sync(folder(**{"a.md": "甲。"}), cancel=cancel)))
    until(lambda: bool(states(engine)))
    cancel.set()
    syncing.join(timeout=30)
    assert reports[0].cancelled and states(engine) == {}


def test_a_cancel_keeps_the_old_version_of_what_was_not_read(engine: Engine, folder: Make) -> None:
    docs = folder(**{f"{n}.md": f"第{n}份的旧内容。" for n in range(3)})
    engine.sync(docs)
    folder(**{f"{n}.md": f"第{n}份的新内容。" for n in range(4)})
    cancel = threading.Event()

    def after_the_first(progress: Progress) -> None:
        if progress.done == 1:
            cancel.set()

    report = engine.sync(docs, progress=after_the_first, cancel=cancel)
    assert report.cancelled and len(report.added) + len(report.updated) == 1
    assert len(engine.documents()) == 3, "the new file that was not read is not there"
    assert all(state == "embedding" for state in states(engine).values())
    assert len([hit for hit in engine.search("旧内容", limit=9) if "旧内容" in hit.text]) == 2
    again = engine.sync(docs)
    assert (len(again.updated), len(again.added)) == (2, 1)


def test_a_cancelled_drop_leaves_no_original_behind(engine: Engine, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    report = engine.add(dropped(tmp_path, a="甲。"), cancel=cancel)
    assert report.cancelled and engine.documents() == []
    assert list((engine.settings.kb / "originals").glob("*/*")) == []


def test_a_document_that_is_removed_while_it_is_read_stays_away(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(engine, monkeypatch)
    adding = in_background(lambda: engine.add(dropped(tmp_path, a="甲。")))
    gate.wait()
    engine.remove([document.id for document in engine.documents()])
    gate.let_go()
    adding.join()
    assert engine.documents() == [] and engine.search("甲") == []
    assert engine.verify() == []


def test_a_file_that_changes_again_while_it_is_read_is_read_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(engine, monkeypatch)
    first = in_background(lambda: engine.add(dropped(tmp_path, a="第一版。")))
    gate.wait()
    second = in_background(lambda: engine.add(dropped(tmp_path, a="这是第二版。"), on_conflict="replace"))
    until(lambda: states(engine) == {"uploads/a.md": "queued"})
    gate.let_go(2)
    first.join()
    second.join()
    assert engine.text(engine.documents()[0].id) == "这是第二版。"
    assert engine.verify() == []


def test_two_drops_at_once_are_both_told_what_became_of_them(engine: Engine, tmp_path: Path) -> None:
    reports = {}

    def drop(name: str) -> None:
        texts = {f"{name}{n}": f"{name}的第{n}份。" for n in range(10)}
        reports[name] = engine.add(dropped(tmp_path, **texts))

    threads = [in_background(lambda name=name: drop(name)) for name in ("甲", "乙", "丙")]
    for thread in threads:
        thread.join()
    assert {name: len(report.added) for name, report in reports.items()} == {"甲": 10, "乙": 10, "丙": 10}


def test_a_full_queue_is_shared_among_processes(engine: Engine, folder: Make) -> None:
    """Two libraries on one folder stand for two processes: each file is read once, by one of them."""
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(30)})
    with Engine.open(engine.settings) as other:
        other.start()
        report = engine.sync(docs)
        until(lambda: set(states(other).values()) == {"ready"})
    assert len(report.added) == 30
    assert engine._store.file.rows("SELECT MAX(id) FROM chunk") == [(30,)], "a file was read twice"
