"""Every format, every kind of damage, and the rules that hold for whatever comes in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import (
    BrokenFile,
    EmptyFile,
    FileTooLarge,
    FileVanished,
    MislabelledFile,
    ReadError,
    UnsupportedFile,
)
from ragkit.readers import FORMATS, base, markdown, plain, read, supported
from tests.fakes_documents import assert_sound, handbook, pdf, read_bytes, slices, word, write

# ── Which files, and what is refused ────────────────────────────────────────────────────────────────


def test_reading_starts_without_any_parser_library() -> None:
    code = "import ragkit.readers, sys; print(*({'lxml', 'docx', 'openpyxl', 'pptx', 'pypdfium2'} & set(sys.modules)))"
    root = Path(__file__).parents[1]
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("name", ["a.md", "A.PDF", "说明.docx", "x.tar.txt"])
def test_files_are_chosen_by_their_suffix_in_any_case(name: str) -> None:
    assert supported(name)


@pytest.mark.parametrize("name", ["a.exe", "notes", ".md", "~$report.docx", "._notes.txt"])
def test_other_files_and_the_shadows_of_offices_are_not_read(name: str) -> None:
    assert not supported(name)


def test_the_name_tells_the_format_of_a_stored_original(tmp_path: Path) -> None:
    assert read(write(tmp_path, "3f2a", b"# Title\n"), name="notes.md").title == "Title"


def test_an_unknown_suffix_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFile, match=r"\.exe"):
        read(write(tmp_path, "a.exe", b"MZ"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_file_is_told_as_such_in_every_format(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(EmptyFile, match="0 bytes"):
        read(write(tmp_path, "a" + suffix, b""))


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
@pytest.mark.parametrize("content", [b" \n\t\n", b"\xef\xbb\xbf", "\u3000\r\n".encode()])
def test_white_space_alone_is_an_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(EmptyFile, match="no text"):
        read(write(tmp_path, name, content))


def test_a_file_that_is_gone_has_vanished(tmp_path: Path) -> None:
    with pytest.raises(FileVanished, match="No such file"):
        read(tmp_path / "gone.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UnsupportedFile, match="not a regular file"):
        read(tmp_path / "pipe.txt")


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "big.pdf"
    with file.open("wb") as stream:
        stream.truncate(base.MAX_BYTES + 1)  # sparse: takes no room on the disk
    with pytest.raises(FileTooLarge, match="200 MB"):
        read(file)


def test_text_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_CHARS", 10)
    with pytest.raises(FileTooLarge, match="characters"):
        plain.parse(b"more than ten characters")


# ── Encodings ───────────────────────────────────────────────────────────────────────────────────────

CHINESE = "书生·浦语是一个开源的大模型。\n\n第二段，有标点。"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CHINESE.encode(), "utf-8"),
        (CHINESE.encode("utf-8-sig"), "utf-8-sig"),
        (CHINESE.encode("gb18030"), "gb18030"),
        (CHINESE.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + CHINESE.encode("utf-16-be"), "utf-16"),
        (CHINESE.encode("utf-32"), "utf-32"),
        (CHINESE.replace("\n", "\r\n").encode(), "utf-8"),
        (CHINESE.replace("\n", "\r").encode("gb18030"), "gb18030"),
    ],
)
def test_the_same_text_comes_out_of_every_encoding(tmp_path: Path, content: bytes, encoding: str) -> None:
    parsed = read_bytes(tmp_path, "a.txt", content)
    assert (parsed.text, parsed.encoding) == (CHINESE, encoding)
    assert slices(parsed) == CHINESE.split("\n\n")


def test_eight_bytes_of_gb18030_are_read_as_chinese(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, "a.txt", "你好世界".encode("gb18030")).text == "你好世界"


def test_damaged_utf8_is_not_passed_off_as_gb18030(tmp_path: Path) -> None:
    """A log with a byte lost decodes as GB18030 without complaint, into garbage."""
    content = CHINESE.encode()
    with pytest.raises(BrokenFile, match=r"seems to be utf-8, but not at byte 29"):
        read(write(tmp_path, "a.log", content[:30] + content[31:]))


@pytest.mark.parametrize("content", [bytes(range(256)) * 9, b"\xff\x00\x01\x02\xfe\x81" * 50, b"a\0b\0c\0d"])
def test_what_no_rule_decodes_is_broken_and_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BrokenFile) as caught:
        read(write(tmp_path, "a.txt", content))
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.txt", pdf("text"), "a PDF"),
        ("a.md", word(handbook()), "a Word document"),
        ("a.html", b"\x89PNG\r\n", "an image"),
        ("a.pdf", b"PK\x03\x04 and so on", "a ZIP archive"),
        ("a.pdf", b"<!DOCTYPE html><p>Not found", "an HTML page"),
        ("a.pdf", "只是文字。".encode(), "a text file"),
        ("a.docx", pdf("text"), "a PDF"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "an old Office file"),
    ],
)
def test_a_mislabelled_file_is_told_what_it_is(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    with pytest.raises(MislabelledFile, match=kind) as caught:
        read(write(tmp_path, name, content))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (b"\x89PNG\r\n\x1a\n", ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"GIF89a\x01\0\x01\0\x80", ".gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ".webp"),
        (b"MZ\x90\0\3" + bytes(60), ".exe"),
        (b"SQLite format 3\0", ".sqlite"),
        (b"\x1f\x8b\x08\0", ".gz"),
        (b"Rar!\x1a\x07\0", ".rar"),
        (b"\0\0\0\x18ftypmp42", ".mp4"),
        (b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml", ".xlsx"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/epub+zip", ".epub"),
        (b"\xd0\xcf\x11\xe0" + bytes(600) + "WordDocument".encode("utf-16-le"), ".doc"),
    ],
)
def test_the_hint_names_the_ending_that_a_file_should_have(
    tmp_path: Path, content: bytes, ending: str
) -> None:
    with pytest.raises(MislabelledFile) as caught:
        read(write(tmp_path, "a.txt", content))
    assert ending in caught.value.message
    assert ending in caught.value.hint


@pytest.mark.parametrize(
    "text", ["MZ is a rank.", "BMW builds cars.", "The ftyp box.", "GIF89a is old.", "PK, RIFF"]
)
def test_a_text_that_begins_like_a_mark_of_something_else_is_text(tmp_path: Path, text: str) -> None:
    assert read_bytes(tmp_path, "a.txt", text.encode()).text == text


def test_control_characters_go_and_every_newline_is_one(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.txt", "a\x00b\x1b[0m\tc\fd\u2028e\ufefff\x85g\r\nh".encode() + b" " * 99)
    assert parsed.text.rstrip() == "ab[0m\tc\nd\nef\ng\nh"


@settings(deadline=None)
@given(st.text())
def test_any_text_survives_as_text(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    for parse in (plain.parse, markdown.parse):
        try:
            parsed = parse(content)
        except ReadError:
            continue
        assert_sound(parsed)


# ── Plain text ──────────────────────────────────────────────────────────────────────────────────────


def test_paragraphs_of_plain_text_are_blocks_and_nothing_is_guessed(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.txt", "TITLE\n\u3000\n  一、开始\nline two\n \t\n\nend  ".encode())
    assert slices(parsed) == ["TITLE", "一、开始\nline two", "end"]
    assert {(block.kind, block.heading) for block in parsed.blocks} == {("text", ())}
    assert parsed.title == ""


# ── Whatever comes in ───────────────────────────────────────────────────────────────────────────────

ORIGINALS = {
    "a.pdf": pdf("第一页。", "two"),
    "a.docx": word(handbook()),
    "a.html": "<h1>标题</h1><table><tr><td>1<td>2</table><pre>x</pre><ul><li>y</ul>".encode(),
    "a.md": "# 标题\n\n| a | b |\n|---|---|\n\n```\ncode\n```\n".encode(),
}


@pytest.mark.parametrize("name", ORIGINALS)
@settings(deadline=None)  # the first example loads the parser
@given(places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=30))
def test_damage_gives_text_or_a_read_error_and_nothing_else(
    name: str, places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(ORIGINALS[name])
    for place, value in places:
        content[place % len(content)] = value
    file = write(tmp_path_factory.getbasetemp(), name, bytes(content))
    try:
        assert_sound(read(file))
    except ReadError as error:
        assert error.message
