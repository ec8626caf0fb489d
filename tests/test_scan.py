"""What a folder holds: archives are folders, names are harmless, what cannot be looked into is not gone."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ragkit.engine import Engine
from ragkit.errors import UnsupportedFile, UsageError
from tests.fakes import WordEmbedding

Make = Callable[..., Path]


def archive(file: Path, **texts: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in texts.items():
            packed.writestr(name, text)
    return file


def sources(engine: Engine) -> list[str]:
    return [document.source for document in engine.documents()]


def test_an_archive_in_a_folder_is_a_folder(engine: Engine, embedding: WordEmbedding, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。"})
    archive(docs / "old.zip", **{"b.md": "年假为十天。", "sub/c.md": "食堂在二楼。"})
    report = engine.sync(docs)
    assert report.added == ("docs/a.md", "docs/old.zip/b.md", "docs/old.zip/sub/c.md")
    assert engine.search("食堂")[0].source == "docs/old.zip/sub/c.md"
    engine.embed()
    assert engine.sync(docs).unchanged == 3
    archive(docs / "old.zip", **{"b.md": "年假为十天。", "sub/c.md": "食堂在三楼。"})
    report = engine.sync(docs)
    assert (report.updated, report.unchanged) == (("docs/old.zip/sub/c.md",), 2)
    assert engine.embed() == 1
    (docs / "old.zip").unlink()
    assert engine.sync(docs).removed == ("docs/old.zip/b.md", "docs/old.zip/sub/c.md")
    assert engine.verify() == []


def test_an_archive_that_is_touched_or_unpacked_beside_itself_embeds_nothing(
    engine: Engine, folder: Make
) -> None:
    docs = folder(**{"a.md": "甲。"})
    archive(docs / "old.zip", **{"b.md": "年假为十天。"})
    engine.sync(docs)
    engine.embed()
    os.utime(docs / "old.zip", (1, 1))
    assert engine.sync(docs).unchanged == 2
    folder(**{"b.md": "年假为十天。"})
    engine.sync(docs)
    assert engine.embed() == 0


def test_an_archive_that_breaks_loses_nothing_and_stands_in_the_table(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。"})
    file = archive(docs / "old.zip", **{"b.md": "年假为十天。"})
    engine.sync(docs)
    good = file.read_bytes()
    file.write_bytes(good[:-30])
    report = engine.sync(docs)
    assert [failure.source for failure in report.failed] == ["docs/old.zip"] and report.removed == ()
    assert engine.search("年假")[0].source == "docs/old.zip/b.md"
    assert {d.source: d.state for d in engine.documents()}["docs/old.zip"] == "failed"
    assert [failure.source for failure in engine.sync(docs).failed] == ["docs/old.zip"]
    file.write_bytes(good)
    report = engine.sync(docs)
    assert report.failed == () and report.removed == ("docs/old.zip",)
    assert sources(engine) == ["docs/a.md", "docs/old.zip/b.md"]


def test_a_dropped_archive_is_unpacked_and_its_files_kept(engine: Engine, tmp_path: Path) -> None:
    file = archive(tmp_path / "in" / "x", **{"b.md": "年假为十天。", "sub/c.md": "食堂在二楼。"})
    report = engine.add([(file, "旧文件.zip")])
    assert report.added == ("uploads/旧文件.zip/b.md", "uploads/旧文件.zip/sub/c.md")
    file.unlink()
    assert engine.reread([d.id for d in engine.documents()]).updated == report.added
    assert engine.verify() == []


def test_a_dropped_archive_whose_files_are_there_with_other_content_is_asked_about(
    engine: Engine, tmp_path: Path
) -> None:
    engine.add([(archive(tmp_path / "1", **{"b.md": "旧。", "c.md": "同。"}), "a.zip")])
    newer = archive(tmp_path / "2", **{"b.md": "新的。", "c.md": "同。", "d.md": "多。"})
    report = engine.add([(newer, "a.zip")])
    assert [conflict.name for conflict in report.conflicts] == ["a.zip"]
    assert (report.added, report.unchanged) == (("uploads/a.zip/d.md",), 1)
    report = engine.add([(newer, "a.zip")], on_conflict="replace")
    assert (report.updated, report.unchanged) == (("uploads/a.zip/b.md",), 2)


def test_a_dropped_archive_that_cannot_be_read_says_why(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"PK\x03\x04 and then nothing")
    empty = archive(tmp_path / "y", **{"picture.xyz": "no text"})
    report = engine.add([(file, "a.zip"), (empty, "b.zip")])
    assert [failure.source for failure in report.failed] == ["uploads/a.zip", "uploads/b.zip"]
    assert all(failure.message and failure.hint for failure in report.failed)


def test_a_dropped_file_of_a_kind_that_nobody_reads_is_told_and_leaves_no_row(
    engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"MZ")
    (failure,) = engine.add([(file, "setup.exe")]).failed
    assert failure.code == "unsupported_file" and failure.hint
    assert engine.documents() == []


def test_a_folder_that_is_renamed_embeds_and_reads_nothing(engine: Engine, folder: Make) -> None:
    docs = folder(**{f"old/{n}.md": f"第{n}份文件。" for n in range(20)})
    engine.sync(docs)
    engine.embed()
    ids = {document.id for document in engine.documents()}
    (docs / "old").rename(docs / "new")
    report = engine.sync(docs)
    assert len(report.moved) == 20 and (report.added, report.updated, report.removed) == ((), (), ())
    assert {document.id for document in engine.documents()} == ids, "old answers still point to them"
    assert engine.embed() == 0 and engine.verify() == []
    assert engine.search("new", limit=1)[0].source.startswith("docs/new/"), "the new name is searched"


def test_equal_files_that_move_and_stay_are_told_apart(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "同样的内容。", "b.md": "同样的内容。"})
    engine.sync(docs)
    (docs / "a.md").rename(docs / "c.md")
    report = engine.sync(docs)
    assert (report.moved, report.unchanged, report.removed) == (("docs/c.md",), 1, ())
    assert sources(engine) == ["docs/b.md", "docs/c.md"]


@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_a_file_that_gets_another_ending_is_read_again(engine: Engine, folder: Make, name: str) -> None:
    docs = folder(**{"a.html": "<h1>标题</h1><p>正文。</p>"})
    engine.sync(docs)
    (docs / "a.html").rename(docs / name)
    report = engine.sync(docs)
    assert report.added == (f"docs/{name}",) and report.moved == ()


def test_the_same_content_under_two_names_is_stored_and_embedded_once_and_found_under_both(
    engine: Engine, embedding: WordEmbedding, folder: Make
) -> None:
    docs = folder(**{"a.md": "年假为十天。", "b.md": "年假为十天。"})
    engine.sync(docs)
    engine.embed()
    assert len(embedding.embedded) == 1
    assert engine._store.file.rows("SELECT COUNT(*) FROM text") == [(1,)]
    assert {hit.source for hit in engine.search("年假")} == {"docs/a.md", "docs/b.md"}
    (docs / "a.md").unlink()
    engine.sync(docs)
    assert [hit.source for hit in engine.search("年假")] == ["docs/b.md"]


# ── Single files ──


def test_a_single_file_is_synced_alone(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "b.md": "乙。", "NOTES": "没有后缀的文件。"})
    assert engine.sync(docs / "a.md").added == ("docs/a.md",)
    assert engine.sync(docs / "NOTES").added == ("docs/NOTES",)
    assert engine.sync(docs / "a.md").unchanged == 1
    folder(**{"a.md": "甲的新内容。"})
    assert engine.sync(docs / "a.md").updated == ("docs/a.md",)
    (docs / "a.md").unlink()
    assert engine.sync(docs / "a.md").removed == ("docs/a.md",)
    assert sources(engine) == ["docs/NOTES"]


def test_a_file_of_a_mirrored_folder_is_synced_within_it(engine: Engine, folder: Make) -> None:
    docs = folder(**{"sub/a.md": "甲。", "b.md": "乙。"})
    engine.sync(docs)
    folder(**{"sub/a.md": "甲的新内容。", "b.md": "乙的新内容。"})
    assert engine.sync(docs / "sub" / "a.md").updated == ("docs/sub/a.md",)
    assert "新内容" not in engine.text(next(d.id for d in engine.documents() if d.path == "b.md"))
    archive(docs / "z.zip", **{"c.md": "丙。"})
    assert engine.sync(docs / "z.zip").added == ("docs/z.zip/c.md",)


def test_a_single_file_that_is_not_there_or_that_nobody_reads_is_told(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.exe": "MZ"})
    with pytest.raises(UsageError):
        engine.sync(docs / "nothing.md")
    engine.sync(folder(**{"sub/a.md": "甲。"}))
    (docs / "sub").rename(docs.parent / "elsewhere")
    with pytest.raises(UsageError, match="not there"):
        engine.sync(docs / "sub")
    with pytest.raises(UnsupportedFile):
        engine.sync(docs / "a.exe")
    assert sources(engine) == ["docs/sub/a.md"], "a folder that is not there removes nothing"
