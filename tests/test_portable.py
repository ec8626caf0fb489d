"""A library leaves as one file and opens elsewhere as it was; what is no library, or a hostile one, stays outside."""

from __future__ import annotations

import json
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.errors import BrokenExport, LibraryTooNew, StoreError, UsageError
from ragkit.migrations import MIGRATIONS
from ragkit.portable import import_library
from tests.fakes import WordEmbedding

Make = Callable[..., Path]


@pytest.fixture
def exported(engine: Engine, folder: Make, tmp_path: Path) -> Path:
    engine.sync(folder(**{"a.md": "# 假期\n\n年假为十天。\n", "b.md": "食堂在二楼。"}))
    upload = tmp_path / "u"
    upload.write_text("上传的文件。", encoding="utf-8")
    engine.add([(upload, "手册.md")])
    engine.embed()
    engine.export(tmp_path / "out.ragkit")
    return tmp_path / "out.ragkit"


def test_it_opens_on_another_machine_without_embedding_again(
    engine: Engine, exported: Path, tmp_path: Path, settings: Settings
) -> None:
    kb = tmp_path / "elsewhere" / "kb"
    import_library(exported, kb)
    model = WordEmbedding()
    with Engine.open(replace(settings, kb=kb), embed_model=model) as there:
        assert [d.source for d in there.documents()] == [d.source for d in engine.documents()]
        assert there.coverage() == engine.coverage() and there.coverage().complete
        assert there.embed() == 0 and model.embedded == []
        assert there.search("年假") == engine.search("年假")
        assert there.verify() == []
        upload = next(d for d in there.documents() if d.root == "uploads")
        with there.original(upload.id) as file:
            assert file.read_text(encoding="utf-8") == "上传的文件。"
        assert there.reread([upload.id]).updated == ("uploads/手册.md",)


def test_no_folder_of_the_first_machine_is_told_and_one_of_its_name_is_taken_again(
    engine: Engine, exported: Path, folder: Make, tmp_path: Path, settings: Settings
) -> None:
    with zipfile.ZipFile(exported) as file:
        assert str(tmp_path).encode() not in file.read("kb.sqlite")
    kb = tmp_path / "elsewhere" / "kb"
    import_library(exported, kb)
    docs = folder(**{"b.md": "食堂在三楼。"})
    with Engine.open(replace(settings, kb=kb), embed_model=WordEmbedding()) as there:
        report = there.sync(docs)
        assert (report.updated, report.unchanged, report.removed) == (("docs/b.md",), 1, ())
        assert there.embed() == 1


def test_an_export_is_of_one_moment_while_others_write(
    engine: Engine, folder: Make, tmp_path: Path, settings: Settings
) -> None:
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(20)})
    engine.sync(docs)
    stop = threading.Event()

    def churn() -> None:
        round = 0
        while not stop.is_set():
            round += 1
            folder(**{f"{n}.md": f"第{n}份的第{round}版。" for n in range(20)})
            engine.sync(docs)

    writer = threading.Thread(target=churn)
    writer.start()
    for n in range(5):
        engine.export(tmp_path / f"{n}.ragkit")
    stop.set()
    writer.join()
    for n in range(5):
        import_library(tmp_path / f"{n}.ragkit", tmp_path / f"kb{n}")  # which verifies it


def test_an_upload_that_waits_goes_along(engine: Engine, tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "u"
    file.write_text("还没有读的文件。", encoding="utf-8")
    engine._indexer.take_uploads([(file, "a.md")], "ask")
    engine.export(tmp_path / "out.ragkit")
    import_library(tmp_path / "out.ragkit", tmp_path / "there")
    with Engine.open(replace(settings, kb=tmp_path / "there")) as there:
        there.reread([there.documents()[0].id])
        assert there.search("没有读")[0].source == "uploads/a.md"


def test_an_export_that_fails_leaves_the_older_one(engine: Engine, exported: Path, tmp_path: Path) -> None:
    before = exported.read_bytes()
    with pytest.raises(StoreError) as caught:
        engine.export(tmp_path / "no such folder" / "out.ragkit")
    assert caught.value.hint and exported.read_bytes() == before
    assert list(tmp_path.glob(".*")) == [] and list((engine.settings.kb / "tmp").glob("*/*")) == []


def test_a_library_that_is_there_is_not_overwritten(engine: Engine, exported: Path) -> None:
    with pytest.raises(UsageError, match="already") as caught:
        import_library(exported, engine.settings.kb)
    assert "--kb" in caught.value.hint
    assert engine.search("年假")


def test_an_older_layout_is_brought_up_to_date(exported: Path, tmp_path: Path, settings: Settings) -> None:
    old = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(old)) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute("INSERT INTO root VALUES ('r', 'docs', '/home/somebody/docs')")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    file = repack(exported, tmp_path / "old.ragkit", database=old.read_bytes(), originals=False)
    import_library(file, tmp_path / "there")
    with Engine.open(replace(settings, kb=tmp_path / "there")) as there:
        assert [(root.label, root.folder) for root in there.roots()] == [("docs", None)]


def repack(
    exported: Path,
    target: Path,
    *,
    database: bytes | None = None,
    originals: bool = True,
    note: dict[str, object] | None = None,
    more: dict[str, bytes] | None = None,
) -> Path:
    """The exported file with something else in it."""
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(target, "w") as packed:
        for name in source.namelist():
            if name == "kb.sqlite" and database is not None:
                packed.writestr(name, database)
            elif name == "library.json" and note is not None:
                packed.writestr(name, json.dumps(note))
            elif originals or not name.startswith("originals/"):
                packed.writestr(name, source.read(name))
        for name, data in (more or {}).items():
            packed.writestr(name, data)
    return target


def changed(exported: Path, tmp_path: Path, *statements: str) -> bytes:
    """Its database after some statements."""
    place = tmp_path / "changed.sqlite"
    with zipfile.ZipFile(exported) as file:
        place.write_bytes(file.read("kb.sqlite"))
    with closing(sqlite3.connect(place)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()
    return place.read_bytes()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON document BEGIN DELETE FROM text; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE vector",
        "UPDATE chunk SET end = 1000000",
        "UPDATE text SET text = text || ' and more'",
        "DELETE FROM chunk_term",
        "UPDATE vector SET data = x'00'",
        "UPDATE document SET hash = '../../../../etc/passwd0000000000' WHERE root = 'uploads'",
    ],
)
def test_a_database_that_is_not_ours_or_not_sound_is_refused(
    exported: Path, tmp_path: Path, statement: str
) -> None:
    file = repack(exported, tmp_path / "bad.ragkit", database=changed(exported, tmp_path, statement))
    with pytest.raises(BrokenExport) as caught:
        import_library(file, tmp_path / "there")
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.hint and not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "originals/../../evil", "originals/ab/notahash", "a.py"]
)
def test_a_name_that_no_library_holds_is_refused(exported: Path, tmp_path: Path, name: str) -> None:
    file = repack(exported, tmp_path / "bad.ragkit", more={name: b"x"})
    with pytest.raises(StoreError, match=r"no exported library"):
        import_library(file, tmp_path / "there")
    assert not (tmp_path / "there").exists() and not (tmp_path / "evil").exists()


def test_an_original_that_is_not_its_hash_is_refused(exported: Path, tmp_path: Path) -> None:
    file = repack(exported, tmp_path / "bad.ragkit", more={f"originals/ab/ab{'0' * 30}": b"x"})
    with pytest.raises(StoreError, match="original"):
        import_library(file, tmp_path / "there")


def test_a_later_format_and_a_later_layout_are_told(exported: Path, tmp_path: Path) -> None:
    later = repack(exported, tmp_path / "a.ragkit", note={"format": 99})
    with pytest.raises(LibraryTooNew):
        import_library(later, tmp_path / "there")
    database = changed(exported, tmp_path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LibraryTooNew):
        import_library(repack(exported, tmp_path / "b.ragkit", database=database), tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("cut", [0, 1, 100, 3000])
def test_a_file_that_is_cut_off_is_refused(exported: Path, tmp_path: Path, cut: int) -> None:
    data = exported.read_bytes()
    broken = tmp_path / "cut.ragkit"
    broken.write_bytes(data[: len(data) - cut - 1])
    with pytest.raises(BrokenExport) as caught:
        import_library(broken, tmp_path / "there")
    # An upload lies in a folder that its user has never heard of: it read as if that were his knowledge base.
    assert "cut.ragkit" in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert caught.value.hint and not (tmp_path / "there").exists()
    assert not list(tmp_path.glob(".import-*"))
