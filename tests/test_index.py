"""Files in, library in step: what is added, changed, gone, broken; and what is embedded for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import pytest

from ragkit.engine import Engine
from ragkit.errors import ReadError, UsageError
from ragkit.scan import MAX_FOLDERS, display_name, display_path, folder_root
from ragkit.schema import Progress
from ragkit.store import Root
from tests.fakes import WordEmbedding

Make = Callable[..., Path]


def sources(engine: Engine) -> list[str]:
    return [document.source for document in engine.documents()]


def test_a_folder_is_mirrored(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "sub/b.txt": "乙。", ".hidden.md": "x", "c.bin": "x"})
    report = engine.sync(docs)
    assert report.added == ("docs/a.md", "docs/sub/b.txt")
    assert sources(engine) == ["docs/a.md", "docs/sub/b.txt"]
    assert report.chunks == 2


def test_nothing_is_done_twice(engine: Engine, embedding: WordEmbedding, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "b.md": "乙。"})
    engine.sync(docs)
    engine.embed()
    again = engine.sync(docs)
    assert (again.added, again.updated, again.unchanged) == ((), (), 2)
    assert engine.embed() == 0
    assert len(embedding.embedded) == 2


def test_a_changed_paragraph_is_embedded_alone(
    engine: Engine, embedding: WordEmbedding, folder: Make
) -> None:
    parts = [f"# 第{n}节\n\n这是第{n}节的内容。\n" for n in range(20)]
    docs = folder(**{"a.md": "\n".join(parts)})
    engine.sync(docs)
    assert engine.embed() == 20
    parts[7] = "# 第7节\n\n这里改过了。\n"
    folder(**{"a.md": "\n".join(parts)})
    assert engine.sync(docs).updated == ("docs/a.md",)
    assert engine.embed() == 1


def test_a_rename_a_touch_and_a_copy_embed_nothing(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲的内容。", "b.md": "乙的内容。"})
    engine.sync(docs)
    engine.embed()
    (docs / "a.md").rename(docs / "renamed.md")
    (docs / "copy.md").write_bytes((docs / "b.md").read_bytes())
    os.utime(docs / "b.md", (1, 1))
    report = engine.sync(docs)
    assert (report.added, report.moved, report.removed) == (("docs/copy.md",), ("docs/renamed.md",), ())
    assert report.moved_from == ("docs/a.md",)
    assert report.unchanged == 1
    assert engine.embed() == 0


def test_a_file_that_is_gone_is_forgotten(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "b.md": "乙。"})
    engine.sync(docs)
    (docs / "a.md").unlink()
    assert engine.sync(docs).removed == ("docs/a.md",)
    assert sources(engine) == ["docs/b.md"]


def test_a_missing_folder_removes_nothing(engine: Engine, folder: Make, tmp_path: Path) -> None:
    docs = folder(**{"a.md": "甲。"})
    engine.sync(docs)
    docs.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not a folder") as caught:
        engine.sync(docs)
    assert caught.value.hint
    assert sources(engine) == ["docs/a.md"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_opened_removes_nothing(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "sub/b.md": "乙。"})
    engine.sync(docs)
    (docs / "sub").chmod(0)
    report = engine.sync(docs)
    (docs / "sub").chmod(0o700)
    assert [failure.source for failure in report.failed] == ["docs/sub/"]
    assert sources(engine) == ["docs/a.md", "docs/sub/b.md"]


def test_one_root_never_touches_another(engine: Engine, folder: Make, tmp_path: Path) -> None:
    first = folder(**{"a.md": "甲。"})
    second = tmp_path / "other" / "docs"
    second.mkdir(parents=True)
    (second / "a.md").write_text("乙。", encoding="utf-8")
    engine.sync(first)
    engine.sync(second)
    assert sources(engine) == ["docs/a.md", "docs-2/a.md"]
    engine.sync(first)
    assert len(sources(engine)) == 2


def test_a_broken_file_costs_itself_only_and_is_read_again_when_it_changes(
    engine: Engine, folder: Make
) -> None:
    docs = folder(**{"a.md": "甲。", "bad.pdf": "this is no PDF"})
    report = engine.sync(docs)
    assert report.added == ("docs/a.md",)
    (failure,) = report.failed
    assert failure.source == "docs/bad.pdf" and failure.message and failure.hint
    again = engine.sync(docs)
    assert [f.source for f in again.failed] == ["docs/bad.pdf"] and again.unchanged == 1
    (docs / "bad.pdf").unlink()
    assert engine.sync(docs).removed == ("docs/bad.pdf",)
    assert sources(engine) == ["docs/a.md"]


def test_a_file_that_breaks_later_goes_on_answering(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "年假为十天。"})
    engine.sync(docs)
    (docs / "a.md").write_bytes(b"\xff\x00\x01\x02\xfe\x81" * 50)
    assert [f.source for f in engine.sync(docs).failed] == ["docs/a.md"]
    assert engine.search("年假")[0].text == "年假为十天。"
    folder(**{"a.md": "年假为九天。"})
    assert engine.sync(docs).updated == ("docs/a.md",)
    assert engine.search("年假")[0].text == "年假为九天。"


def test_a_dry_run_tells_and_does_nothing(engine: Engine, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "b.md": "乙。"})
    engine.sync(docs)
    folder(**{"b.md": "丙。", "c.md": "丁。"})
    (docs / "a.md").unlink()
    report = engine.sync(docs, dry_run=True)
    assert (report.added, report.updated, report.removed) == (("docs/c.md",), ("docs/b.md",), ("docs/a.md",))
    assert sources(engine) == ["docs/a.md", "docs/b.md"]


def test_progress_is_told_and_a_cancel_keeps_what_is_done(engine: Engine, folder: Make) -> None:
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(5)})
    cancel = threading.Event()
    seen: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.done == 2:
            cancel.set()

    report = engine.sync(docs, progress=on_progress, cancel=cancel)
    assert report.cancelled and len(report.added) == 2, "a file in hand may take minutes: it is let go"
    assert [p.current for p in seen if p.stage == "read"] == ["docs/0.md", "docs/1.md", "docs/2.md"]
    assert len(engine.sync(docs).added) == 3


def test_a_new_parser_reads_old_files_again(
    engine: Engine, folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = folder(**{"a.md": "甲。"})
    engine.sync(docs)
    monkeypatch.setattr("ragkit.changes.MADE_BY", "reader 999, chunker 1")
    assert engine.sync(docs).updated == ("docs/a.md",)


def test_what_is_embedded_is_what_the_hash_was_made_of(
    engine: Engine, embedding: WordEmbedding, folder: Make
) -> None:
    """A later part of a table once lost its header row on the way through the store."""
    rows = "\n".join(f"| 部门{n} | 第{n}部门的职责和联系方式以及其他说明 |" for n in range(60))
    docs = folder(**{"a.md": f"# 表\n\n| 部门名称 | 职责 |\n|---|---|\n{rows}\n"})
    engine.sync(docs)
    engine.embed()
    assert len(embedding.embedded) > 2
    hashes = {blake2b(text.encode(), digest_size=16).hexdigest() for text in embedding.embedded}
    assert hashes == {chunk.hash for chunk in engine._store.all_chunks()}
    assert all("部门名称" in text for text in embedding.embedded)


# ── Uploads ──


def upload(tmp_path: Path, name: str, text: str) -> tuple[Path, str]:
    file = tmp_path / "incoming" / f"{abs(hash((name, text)))}"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file, name


def test_an_upload_survives_its_temporary_file(engine: Engine, tmp_path: Path) -> None:
    file, name = upload(tmp_path, "手册.md", "年假为十天。")
    assert engine.add([(file, name)]).added == ("uploads/手册.md",)
    file.unlink()
    (document,) = engine.documents()
    assert engine.reread([document.id]).updated == ("uploads/手册.md",)
    assert engine.search("年假")[0].text == "年假为十天。"


def test_the_same_upload_again_is_unchanged(engine: Engine, tmp_path: Path) -> None:
    engine.add([upload(tmp_path, "a.md", "甲。")])
    assert engine.add([upload(tmp_path, "a.md", "甲。")]).unchanged == 1


def test_another_content_under_a_known_name_is_asked_about(engine: Engine, tmp_path: Path) -> None:
    engine.add([upload(tmp_path, "a.md", "甲的内容。")])
    other = upload(tmp_path, "a.md", "乙的内容。")
    report = engine.add([other])
    assert [c.name for c in report.conflicts] == ["a.md"] and not report.updated
    assert engine.search("甲的")[0].text == "甲的内容。"
    assert engine.add([other], on_conflict="keep_both").added == ("uploads/a (2).md",)
    assert engine.add([other], on_conflict="keep_both").unchanged == 1
    assert engine.add([other], on_conflict="replace").updated == ("uploads/a.md",)
    assert sources(engine) == ["uploads/a (2).md", "uploads/a.md"]


def test_within_one_drop_nothing_replaces_anything(engine: Engine, tmp_path: Path) -> None:
    report = engine.add([upload(tmp_path, "a.md", "甲。"), upload(tmp_path, "a.md", "乙。")])
    assert report.added == ("uploads/a.md",) and [c.name for c in report.conflicts] == ["a.md"]


def test_a_broken_upload_can_be_mended_by_a_good_one_of_the_same_name(engine: Engine, tmp_path: Path) -> None:
    assert [f.code for f in engine.add([upload(tmp_path, "a.pdf", "no PDF")]).failed] == ["mislabelled_file"]
    engine.add([upload(tmp_path, "b.md", "好。")])
    report = engine.add([upload(tmp_path, "a.pdf", "still no PDF")])
    assert not report.conflicts and len(report.failed) == 1


def test_removing_an_upload_forgets_its_original(engine: Engine, tmp_path: Path) -> None:
    engine.add([upload(tmp_path, "a.md", "甲。"), upload(tmp_path, "b.md", "乙。")])
    kept = list((engine.settings.kb / "originals").glob("*/*"))
    assert len(kept) == 2
    first = engine.documents()[0]
    assert engine.remove([first.id]).removed == ("uploads/a.md",)
    assert len(list((engine.settings.kb / "originals").glob("*/*"))) == 1
    assert engine.search("甲") == []


@pytest.mark.parametrize(
    ("before", "after"), [("甲的内容。", "乙的内容。"), ("甲的内容。", ""), ("", "乙的内容。")]
)
def test_what_an_upload_was_before_or_could_not_become_is_not_kept(
    engine: Engine, tmp_path: Path, before: str, after: str
) -> None:
    """The original of the version before, or of one that could not be read, once stayed until the next drop."""
    engine.add([upload(tmp_path, "a.md", before)])
    engine.add([upload(tmp_path, "a.md", after)], on_conflict="replace")
    assert len(list((engine.settings.kb / "originals").glob("*/*"))) == 1
    assert engine.verify() == []


def test_an_original_that_a_crash_left_behind_goes_with_the_next_opening(
    engine: Engine, tmp_path: Path
) -> None:
    """Killed between the keeping of a file and its queueing, a process left it behind until the next drop."""
    file, name = upload(tmp_path, "a.md", "甲。")
    engine.add([(file, name)])
    left = engine.settings.kb / "originals" / "00" / ("0" * 32)
    left.parent.mkdir()
    left.write_text("乙。", encoding="utf-8")
    with Engine.open(engine.settings) as again:
        assert not left.exists() and again.verify() == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\temp\\手册.md", "手册.md"),
        ("a\u202egnp.md", "agnp.md"),
        ("line\nbreak\x00.txt", "linebreak.txt"),
        ("", "unnamed"),
        ("x" * 300 + ".pdf", "x" * 110 + ".pdf"),
    ],
)
def test_a_display_name_is_harmless(given: str, kept: str) -> None:
    assert display_name(given) == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("项目/子目录/说明.md", "项目/子目录/说明.md"),
        ("v1.2 drafts of the north/a.md", "v1.2 drafts of the north/a.md"),
        ("../../etc/passwd.txt", "etc/passwd.txt"),
        ("/etc/passwd.txt", "etc/passwd.txt"),
        ("C:/temp/./a.md", "temp/a.md"),
        ("a/.\u202e./b\x00.md", "a/b.md"),
        ("a/" + "x" * 300 + ".pdf", "a/" + "x" * 110 + ".pdf"),
        ("a.md", "a.md"),
    ],
)
def test_a_path_in_a_dropped_folder_is_harmless_and_stays_what_it_is(given: str, kept: str) -> None:
    assert display_path(PurePosixPath(given)) == kept
    assert display_path(PurePosixPath(kept)) == kept


@pytest.mark.parametrize("given", ["", "..", "x" * 1001, "a/" * (MAX_FOLDERS + 1) + "a.md"])
def test_a_path_that_is_none_or_has_no_end_is_refused(given: str) -> None:
    with pytest.raises(ReadError):
        display_path(PurePosixPath(given))


def test_a_dropped_folder_keeps_its_sub_folders_and_a_file_only_its_name(
    engine: Engine, tmp_path: Path
) -> None:
    uploads = [
        (upload(tmp_path, "0", "甲。")[0], PurePosixPath("docs/a/note.md")),
        (upload(tmp_path, "1", "乙。")[0], PurePosixPath("docs/b/note.md")),
        (upload(tmp_path, "2", "丙。")[0], "docs/c/note.md"),
        (upload(tmp_path, "3", "丁。")[0], PurePosixPath("docs/~$note.docx")),
        (upload(tmp_path, "4", "戊。")[0], PurePosixPath("d/" * 99 + "deep.md")),
    ]
    report = engine.add(uploads)
    assert report.added == ("uploads/docs/a/note.md", "uploads/docs/b/note.md", "uploads/note.md")
    assert [(one.source, one.code) for one in report.failed] == [
        ("uploads/docs/~$note.docx", "unsupported_file"),
        ("uploads/deep.md", "read_error"),
    ]
    assert not list(tmp_path.rglob("note.md"))  # a path is a name only


def test_a_second_version_is_kept_beside_the_first_in_its_own_folder(engine: Engine, tmp_path: Path) -> None:
    path = PurePosixPath("v1.2/README")
    engine.add([(upload(tmp_path, "0", "甲。")[0], path)])
    second = [(upload(tmp_path, "1", "乙。")[0], path)]
    (conflict,) = engine.add(second).conflicts
    assert conflict.name == "v1.2/README"
    assert engine.add(second, on_conflict="keep_both").added == ("uploads/v1.2/README (2)",)


def test_a_root_keeps_its_label_and_no_two_share_one(tmp_path: Path) -> None:
    first = folder_root(tmp_path / "x" / "docs", [])
    second = folder_root(tmp_path / "y" / "docs", [first])
    assert (first.label, second.label) == ("docs", "docs-2")
    assert folder_root(tmp_path / "y" / "docs", [first, second]) == second
    assert folder_root(tmp_path / "uploads", []).label != "uploads"
    assert folder_root(Path("/"), [Root("q", "root", Path("/elsewhere"))]).label == "root-2"


def test_a_root_that_came_without_its_folder_takes_the_one_of_its_name(tmp_path: Path) -> None:
    homeless = Root("q", "docs", None)
    assert folder_root(tmp_path / "docs", [homeless]) == Root("q", "docs", tmp_path / "docs")
