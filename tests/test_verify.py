"""Every kind of fault in a library is found and named; a sound one has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ragkit.engine import Engine

Make = Callable[..., Path]


@pytest.fixture
def library(engine: Engine, folder: Make, tmp_path: Path) -> Engine:
    rows = "\n".join(f"| 部门{n} | 第{n}部门的职责 |" for n in range(90))
    engine.sync(
        folder(**{"a.md": "# 假期\n\n年假为十天。\n", "t.md": f"| 部门 | 职责 |\n|---|---|\n{rows}\n"})
    )
    file = tmp_path / "u"
    file.write_text("上传的文件。", encoding="utf-8")
    engine.add([(file, "u.md")])
    engine.embed()
    return engine


def test_a_sound_library_has_no_fault(library: Engine) -> None:
    assert library.verify() == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE chunk SET end = end - 1 WHERE id = 1", "is not the slice"),
        ("UPDATE chunk SET start = -1 WHERE id = 1", "no place in its text"),
        ("UPDATE text SET text = replace(text, '年假', '病假')", "is not what it was"),
        ("UPDATE chunk_term SET body = 'x' WHERE rowid = 1", "its terms are not"),
        ("DELETE FROM chunk_term WHERE rowid = 1", "chunk without terms: 1"),
        ("INSERT INTO chunk_term (rowid, body, name) VALUES (999, 'x', 'y')", "terms without a chunk: 1"),
        ("DELETE FROM vector WHERE id = 1", "chunks without a vector: 1"),
        ("UPDATE vector SET hash = 'nobody' WHERE id = 1", "vector without a chunk: 1"),
        ("UPDATE vector SET data = zeroblob(length(data)) WHERE id = 1", "has length 0.000"),
        ("UPDATE vector SET data = x'0000803f' WHERE id = 1", "differ in length"),
        ("INSERT INTO text VALUES ('d41d8cd9', 'left over')", "text without a document: 1"),
        ("UPDATE document SET text_hash = 'nothing' WHERE id = 1", "refers to nothing"),
    ],
)
def test_a_damage_is_found(library: Engine, damage: str, told: str) -> None:
    db = library._store.file._connection
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute(damage)
    assert [fault for fault in library.verify() if told in fault]


def test_a_damaged_or_missing_original_is_found(library: Engine) -> None:
    (kept,) = (library.settings.kb / "originals").glob("*/*")
    kept.write_text("something else", encoding="utf-8")
    assert [fault for fault in library.verify() if "u.md: its original is not" in fault]
    kept.rename(kept.with_name("0" * 32))
    faults = library.verify()
    assert [f for f in faults if "its original is missing" in f] and [
        f for f in faults if "no document has" in f
    ]


def test_what_waits_is_told(library: Engine, folder: Make) -> None:
    docs = folder(**{"new.md": "新。"})
    root = library.roots()[0]
    library._store.enqueue(root, [("new.md", "")], 0)
    assert "documents that wait to be read: 1" in library.verify()
    library.sync(docs)
    assert library.verify() == ["chunks without a vector: 1"]
