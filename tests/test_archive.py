"""ZIP archives as folders: what is in them, what stays out, and what damage costs."""

from __future__ import annotations

import io
import os
import random
import stat
import time
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import archive
from ragkit.archive import Archive, extract, members
from ragkit.errors import (
    BrokenFile,
    EmptyFile,
    EncryptedFile,
    FileTooLarge,
    FileVanished,
    ReadError,
    TruncatedFile,
    UnsupportedFile,
)
from ragkit.readers import supported
from ragkit.readers.zip_file import safe_path
from tests.fakes_archives import paths, raw_zip, taken_out, zipped
from tests.fakes_documents import pdf, write

# ── What is in an archive ───────────────────────────────────────────────────────────────────────────


def test_files_that_can_be_read_are_members_and_come_out_whole(tmp_path: Path) -> None:
    text = "一段文字。".encode() * 40_000
    content = zipped(("a.md", b"# A"), ("说明/b.txt", text), ("c.exe", b"MZ"), ("empty.md", b""))
    file = write(tmp_path, "a.zip", content)
    assert [(member.path, member.size_bytes) for member in members(file)] == [
        ("a.md", 3),
        ("说明/b.txt", len(text)),
        ("empty.md", 0),
    ]
    assert taken_out(tmp_path, content, "说明/b.txt") == text
    assert taken_out(tmp_path, content, "empty.md") == b""


def test_stored_files_come_out_too(tmp_path: Path) -> None:
    content = zipped(("a.md", b"text"), method=zipfile.ZIP_STORED)
    assert taken_out(tmp_path, content, "a.md") == b"text"


def test_hidden_files_shadows_folders_and_links_stay_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.md")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    content = zipped(
        (".git/a.md", b"x"), ("__MACOSX/a.md", b"x"), ("b/._a.md", b"x"), (".md", b"x"), ("~$a.docx", b"x"),
        ("folder.md/", b""), (link, b"/etc/passwd"), ("kept.md", b"x"),
    )  # fmt: skip
    assert paths(tmp_path, content) == ["kept.md"]


def test_of_two_files_with_one_name_the_later_counts(tmp_path: Path) -> None:
    content = raw_zip((b"a.md", b"old"), (b"./a.md", b"new"))
    assert paths(tmp_path, content) == ["a.md"]
    assert taken_out(tmp_path, content, "a.md") == b"new"


def test_another_content_of_the_same_size_and_time_has_another_time(tmp_path: Path) -> None:
    """Archives count in even seconds: an edit in between looked unchanged."""
    times = [
        members(write(tmp_path, "a.zip", zipped((zipfile.ZipInfo("a.md", (2026, 1, 2, 3, 4, 6)), data))))
        for data in (b"one", b"two", b"one")
    ]
    assert times[0] == times[2] != times[1]
    assert time.gmtime(times[0][0].mtime_ns // 1_000_000_000)[:6] == (2026, 1, 2, 3, 4, 6)


@pytest.mark.parametrize("behind", [b"", b"a comment of the archive"])
def test_what_stands_before_and_behind_an_archive_does_not_matter(tmp_path: Path, behind: bytes) -> None:
    content = io.BytesIO(b"#!/bin/sh\n" * 50)
    with zipfile.ZipFile(content, "a") as package:
        package.writestr("a.md", "text")
        package.comment = behind
    assert taken_out(tmp_path, content.getvalue(), "a.md") == b"text"


def test_ten_thousand_files_are_listed_at_once_and_one_more_is_refused(tmp_path: Path) -> None:
    files = [(f"folder/{number:05}.md".encode(), b"") for number in range(archive.MAX_MEMBERS + 1)]
    file = write(tmp_path, "a.zip", raw_zip(*files[1:]))
    assert len(members(file)) == archive.MAX_MEMBERS
    with pytest.raises(FileTooLarge, match="10,000 files"):
        members(write(tmp_path, "b.zip", raw_zip(*files)))


def test_an_open_archive_gives_many_files_for_one_look(tmp_path: Path) -> None:
    inner = zipped(*((f"{number}.md", str(number).encode()) for number in range(300)))
    with Archive(write(tmp_path, "a.zip", zipped(("inner.zip", inner)))) as opened:
        for member in opened.members:
            opened.extract(member.path, tmp_path / "out")
            assert (tmp_path / "out").read_text() == PurePosixPath(member.path).stem


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("中文/说明.md".encode("gbk"), "中文/说明.md"),
        ("繁體說明.md".encode("gbk"), "繁體說明.md"),
        ("中文.md".encode(), "中文.md"),
        ("résumé.md".encode("cp437"), "résumé.md"),
        ("Grüße für Käthe.md".encode("cp437"), "Grüße für Käthe.md"),
        ("Straße.md".encode("cp437"), "Straße.md"),
        (b"plain.md", "plain.md"),
        (b"win\\dir\\a.md", "win/dir/a.md"),
    ],
)
def test_names_without_a_mark_are_decoded(tmp_path: Path, raw: bytes, name: str) -> None:
    assert paths(tmp_path, raw_zip((raw, b"x"))) == [name]
    assert taken_out(tmp_path, raw_zip((raw, b"x")), name) == b"x"


def test_names_with_the_mark_are_utf8_in_composed_form(tmp_path: Path) -> None:
    assert paths(tmp_path, raw_zip(("cafe\u0301.md".encode(), b"x"), flags=0x800)) == ["café.md"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../etc/a.md", "etc/a.md"),
        ("/etc/a.md", "etc/a.md"),
        ("C:\\Users\\a.md", "Users/a.md"),
        ("../C:/a.md", "a.md"),
        ("C:..\\D:a.md", "a.md"),
        ("\\\\server\\share\\a.md", "server/share/a.md"),
        ("a/\x01.\x02./b.md", "a/b.md"),
        ("a\u202efdp.md", "afdp.md"),
        (" a / b.md ", "a/b.md"),
        ("..", None),
        ("\x00", None),
        ("a" * 2_000 + ".md", None),
    ],
)
def test_a_name_stays_where_it_is_put(name: str, path: str | None) -> None:
    assert safe_path(name) == path


PIECES = st.one_of(
    st.sampled_from(
        ["..", ".", "/", "\\", "C:", "c:/", "\x00", "\u202e", " ", "\n", "a.md", "\u0301", "\ud800"]
    ),
    st.text(max_size=3),
)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_an_archive_calls_a_file_its_path_is_safe(name: str) -> None:
    path = safe_path(name)
    if path is None:
        return
    parts = PurePosixPath(path).parts
    assert "/".join(parts) == path and not PurePosixPath(path).is_absolute()
    assert not PureWindowsPath(path).drive and not PureWindowsPath(path).root
    assert not {"..", "."} & {*parts, *PureWindowsPath(path).parts}
    assert path.isprintable() or not any(ord(char) < 32 or ord(char) == 127 for char in path)
    path.encode()  # raises on a lone surrogate
    assert safe_path(path) == path


@settings(deadline=None)
@given(
    names=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5),
    flags=st.sampled_from([0, 0x800]),
)
def test_whatever_bytes_a_name_has_its_file_is_found_again(
    names: list[bytes], flags: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = write(folder, "names.zip", raw_zip(*((name + b".md", name) for name in names), flags=flags))
    try:
        with Archive(file) as opened:
            for member in opened.members:
                assert supported(member.path) and safe_path(member.path) == member.path
                opened.extract(member.path, folder / "out")
                assert (folder / "out").read_bytes() in names
    except (BrokenFile, EmptyFile):  # marked as UTF-8, and is not; nothing but hidden files
        pass


# ── Archives in archives ────────────────────────────────────────────────────────────────────────────


def nested(depth: int) -> bytes:
    content = zipped(("deep.md", b"deep"))
    for _ in range(depth):
        content = zipped(("in.zip", content), ("beside.md", b"x"))
    return content


def test_inner_archives_are_folders_down_to_the_limit(tmp_path: Path) -> None:
    assert taken_out(tmp_path, nested(3), "in.zip/in.zip/in.zip/deep.md") == b"deep"


def test_an_archive_that_lies_deeper_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    found = paths(tmp_path, nested(4))
    assert "in.zip/in.zip/in.zip/in.zip" in found and found[-1] == "beside.md"
    with pytest.raises(FileTooLarge, match="3 deep"):
        taken_out(tmp_path, nested(4), "in.zip/in.zip/in.zip/in.zip")


def test_a_broken_inner_archive_costs_itself_only(tmp_path: Path) -> None:
    content = zipped(
        ("bad.zip", zipped(("x.md", b"x"))[:40]), ("a.md", b"a"), ("pictures.zip", zipped(("p.png", b"")))
    )
    assert paths(tmp_path, content) == ["bad.zip", "a.md"]
    with pytest.raises(TruncatedFile):
        taken_out(tmp_path, content, "bad.zip")


def test_inner_archives_are_bounded_in_number_and_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped(*((f"{number}.zip", nested(0)) for number in range(4)))
    monkeypatch.setattr(archive, "MAX_NESTED", 3)
    assert paths(tmp_path, content) == ["0.zip/deep.md", "1.zip/deep.md", "2.zip/deep.md", "3.zip"]
    monkeypatch.setattr(archive, "MAX_NESTED_BYTES", len(nested(0)))
    assert paths(tmp_path, content)[:2] == ["0.zip/deep.md", "1.zip"]


# ── Damage and passwords ────────────────────────────────────────────────────────────────────────────


def test_an_archive_of_nothing_is_empty(tmp_path: Path) -> None:
    for content, words in ((b"", "0 bytes"), (zipped(), "no file"), (zipped(("a.exe", b"x")), "no file")):
        with pytest.raises(EmptyFile, match=words):
            paths(tmp_path, content)


def test_another_kind_of_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="not a ZIP archive but a PDF"):
        paths(tmp_path, pdf("text"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_an_archive_without_its_end_is_truncated(tmp_path: Path, share: float) -> None:
    content = zipped(("a.md", random.Random(1).randbytes(3_000)), ("b.md", b"x"))
    with pytest.raises(TruncatedFile, match="cut off"):
        paths(tmp_path, content[: int(len(content) * share)])


def test_an_archive_without_its_beginning_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile):
        paths(tmp_path, b"PK" + zipped(("a.md", random.Random(1).randbytes(3_000)))[1_000:])


def test_an_archive_that_is_gone_has_vanished(tmp_path: Path) -> None:
    with pytest.raises(FileVanished, match="No such file"):
        members(tmp_path / "gone.zip")
    with pytest.raises(FileVanished, match="no longer"):
        taken_out(tmp_path, zipped(("a.md", b"x")), "b.md")


def test_a_locked_archive_asks_for_an_open_one_and_a_locked_file_costs_itself(tmp_path: Path) -> None:
    with pytest.raises(EncryptedFile, match="archive"):
        paths(tmp_path, raw_zip((b"a.md", b"x"), flags=1))
    content = bytearray(zipped(("a.md", b"x"), ("b.md", b"y")))
    content[content.rindex(b"PK\1\2") + 8] |= 1
    assert paths(tmp_path, bytes(content)) == ["a.md", "b.md"]
    assert taken_out(tmp_path, bytes(content), "a.md") == b"x"
    with pytest.raises(EncryptedFile, match="This file"):
        taken_out(tmp_path, bytes(content), "b.md")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(UnsupportedFile) as caught:
        taken_out(tmp_path, zipped(("a.md", b"x" * 99), method=method), "a.md")
    assert "deflate" in caught.value.hint


def test_a_damaged_file_is_found_out_and_nothing_of_it_stays(tmp_path: Path) -> None:
    content = bytearray(zipped(("a.md", b"some text"), ("b.md", b"y"), method=zipfile.ZIP_STORED))
    content[content.index(b"some")] ^= 1
    with pytest.raises(BrokenFile):
        taken_out(tmp_path, bytes(content), "a.md")
    assert not (tmp_path / "out").exists()
    assert taken_out(tmp_path, bytes(content), "b.md") == b"y"


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that cannot be written")
def test_a_target_that_cannot_be_written_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        extract(write(tmp_path, "a.zip", zipped(("a.md", b"x"))), "a.md", tmp_path / "none" / "out")


ORIGINAL = zipped(
    ("说明.md", "一段文字。".encode() * 50), ("b/c.txt", b"x"), ("in.zip", zipped(("d.md", b"deep")))
)


@settings(deadline=None, max_examples=300)
@given(
    places=st.lists(
        st.tuples(st.integers(0, len(ORIGINAL) - 1), st.integers(0, 255)), min_size=1, max_size=12
    )
)
def test_damage_gives_files_or_a_read_error_and_nothing_else(
    places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(ORIGINAL)
    for place, value in places:
        content[place] = value
    file = write(tmp_path_factory.getbasetemp(), "damaged.zip", bytes(content))
    try:
        with Archive(file) as opened:
            for member in opened.members:
                try:
                    opened.extract(member.path, file.with_name("out"))
                except ReadError as error:
                    assert error.message
    except ReadError as error:
        assert error.message
