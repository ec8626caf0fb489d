"""What was deleted is not to be found any more: not in the database, its log, nor beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ragkit.engine import Engine

Make = Callable[..., Path]

SECRET = "绝密计划书 ZQXJKV 第七号"


def found(engine: Engine, *needles: str) -> list[str]:
    """Which of the needles lie in any file of the library, and where."""
    hits = []
    for file in engine.settings.kb.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            hits += [f"{needle} in {file.name}" for needle in needles if needle.encode() in data]
    return hits


def test_a_deleted_upload_leaves_no_trace(engine: Engine, tmp_path: Path) -> None:
    for name, text in {"secret": SECRET * 30, "other": "无关的内容。" * 50}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        engine.add([(tmp_path / name, f"{name}.md")])
    engine.embed()
    assert len(found(engine, "绝密计划书", "zqxjkv", "secret.md")) >= 3
    document = next(d for d in engine.documents() if d.path == "secret.md")
    engine.remove([document.id])
    assert found(engine, "绝密计划书", "绝密", "zqxjkv", "ZQXJKV", "secret.md") == []
    assert engine.verify() == [] and engine.search("无关")
    assert not [hit for hit in engine.search("绝密计划书") if "绝密" in hit.text]


def test_a_file_that_went_from_its_folder_leaves_no_trace(engine: Engine, folder: Make) -> None:
    docs = folder(**{"secret.md": SECRET * 30, "other.md": "无关的内容。"})
    engine.sync(docs)
    engine.embed()
    (docs / "secret.md").unlink()
    engine.sync(docs)
    assert found(engine, "绝密计划书", "绝密", "zqxjkv", "secret.md") == []


def test_a_removal_that_was_cut_short_is_finished_later(engine: Engine, folder: Make) -> None:
    """Killed between the removal and the clearing away, traces would have stayed for ever."""
    docs = folder(**{"secret.md": SECRET * 30})
    engine.sync(docs)
    engine._store.remove([engine.documents()[0].id])
    assert engine._store.is_unclean()
    (docs / "secret.md").unlink()
    folder(**{"other.md": "无关的内容。"})
    engine.sync(docs)
    assert not engine._store.is_unclean()
    assert found(engine, "绝密计划书", "绝密", "zqxjkv") == []


def test_disk_use_counts_database_and_originals(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("甲" * 5000, encoding="utf-8")
    engine.add([(tmp_path / "a", "a.md")])
    use = engine.disk_use()
    assert use.originals == 15_000 and use.database > 15_000 and use.total == use.database + use.originals


def test_a_removal_on_the_page_is_cleared_away_behind_it(engine: Engine, tmp_path: Path) -> None:
    """In a library of 100,000 chunks the clearing takes seconds, and the page once waited for it."""
    (tmp_path / "secret").write_text(SECRET * 30, encoding="utf-8")
    engine.add([(tmp_path / "secret", "secret.md")])
    engine.start()
    engine.remove([document.id for document in engine.documents()])
    assert engine.documents() == []
    deadline = time.monotonic() + 30
    while engine._store.is_unclean():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert found(engine, "绝密计划书", "绝密", "zqxjkv", "secret.md") == []
