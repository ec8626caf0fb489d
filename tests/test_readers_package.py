"""What an Office file that cannot be read says: broken, locked, cut off, empty, another kind, a bomb."""

from __future__ import annotations

import io
import random
import re
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import (
    BrokenFile,
    EncryptedFile,
    FileTooLarge,
    MislabelledFile,
    NoText,
    ReadError,
    TruncatedFile,
    UnsupportedFile,
)
from ragkit.readers import read
from tests.fakes_documents import (
    assert_sound,
    handbook,
    pdf,
    repacked,
    saved,
    slides,
    workbook,
    write,
)

ORIGINALS = {
    "a.docx": saved(handbook()),
    "a.pptx": saved(slides()),
    "a.xlsx": saved(workbook(("a", "b"), ("北京", 3.0))),
}
OLE = b"\xd0\xcf\x11\xe0" + bytes(600)


# ── What every package is asked ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_a_cut_off_office_file_is_truncated(tmp_path: Path, name: str, share: float) -> None:
    content = ORIGINALS[name]
    with pytest.raises(TruncatedFile, match="cut off"):
        read(write(tmp_path, name, content[: max(3, int(len(content) * share))]))


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_locked_office_file_is_encrypted(tmp_path: Path, name: str) -> None:
    with pytest.raises(EncryptedFile, match="password"):
        read(write(tmp_path, name, OLE + "EncryptedPackage".encode("utf-16-le")))


def test_a_package_with_locked_parts_is_encrypted(tmp_path: Path) -> None:
    content = bytearray(ORIGINALS["a.xlsx"])
    at = content.find(b"PK\x01\x02")
    content[at + 8] |= 1
    with pytest.raises(EncryptedFile):
        read(write(tmp_path, "a.xlsx", bytes(content)))


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize(
    ("stream", "kind", "ending"),
    [
        ("WordDocument", "old Word", ".docx"),
        ("Workbook", "old Excel", ".xlsx"),
        ("PowerPoint Document", "old PowerPoint", ".pptx"),
        ("Something", "old Office", ".docx, .xlsx or .pptx"),
    ],
)
def test_a_file_of_before_2007_says_what_to_save_it_as(
    tmp_path: Path, name: str, stream: str, kind: str, ending: str
) -> None:
    with pytest.raises(MislabelledFile, match=kind) as caught:
        read(write(tmp_path, name, OLE + (stream + "\0\0").encode("utf-16-le")))
    assert caught.value.hint.endswith(f"save it as {ending}.")


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize("other", ORIGINALS)
def test_an_office_file_under_the_name_of_another_is_told_what_it_is(
    tmp_path: Path, name: str, other: str
) -> None:
    file = write(tmp_path, name, ORIGINALS[other])
    if name == other:
        assert read(file).blocks
        return
    with pytest.raises(MislabelledFile, match=re.escape(f"({other[1:]})")) as caught:
        read(file)
    assert "extension" in caught.value.hint


def archive(**parts: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        for name, part in parts.items():
            package.writestr(name, part)
    return file.getvalue()


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (pdf("text"), "a PDF"),
        (b"<html><table><tr><td>1</table>", "a text file"),
        (archive(mimetype=b"application/epub+zip"), "an e-book"),
        (archive(mimetype=b"application/vnd.oasis.opendocument.text"), "OpenDocument text"),
        (archive(photo=b"x"), "a ZIP archive"),
        (archive(), "an empty ZIP archive"),
        (archive(**{"[Content_Types].xml": b"ms-excel.sheet.binary.macroEnabled.main"}), "xlsb"),
    ],
)
def test_anything_else_under_an_office_name_is_told_what_it_is(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    with pytest.raises(MislabelledFile, match=kind):
        read(write(tmp_path, name, content))


@pytest.mark.parametrize("name", ORIGINALS)
def test_zeros_under_an_office_name_are_a_broken_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(BrokenFile):
        read(write(tmp_path, name, bytes(5000)))


@pytest.mark.parametrize("name", ["a.pptx", "a.xlsx"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileTooLarge, match=r"unpacks from .* to 6\d MB"):
        read(write(tmp_path, name, repacked(ORIGINALS[name], {"bomb": bytes(60_000_000)})))


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_part_that_is_missing_makes_a_broken_file(tmp_path: Path, name: str) -> None:
    main = {"a.docx": "word/document.xml", "a.pptx": "ppt/presentation.xml", "a.xlsx": "xl/workbook.xml"}[
        name
    ]
    with pytest.raises(BrokenFile, match="damaged") as caught:
        read(write(tmp_path, name, repacked(ORIGINALS[name], {main: None})))
    assert "save it again" in caught.value.hint


@pytest.mark.parametrize("name", ["a.docx", "a.pptx"])
def test_the_strict_form_is_named_where_it_is_not_read(tmp_path: Path, name: str) -> None:
    strict = "<Relationships><x>http://purl.oclc.org/ooxml/officeDocument</x></Relationships>"
    with pytest.raises(UnsupportedFile, match="Strict"):
        read(write(tmp_path, name, repacked(ORIGINALS[name], {"_rels/.rels": strict})))


@pytest.mark.parametrize("document", [pptx.Presentation(), openpyxl.Workbook(), docx.Document()])
def test_a_document_without_text_says_so(tmp_path: Path, document: object) -> None:
    ending = {"docx": "docx", "pptx": "pptx", "openpyxl": "xlsx"}[type(document).__module__.split(".")[0]]
    with pytest.raises(NoText):
        read(write(tmp_path, f"a.{ending}", saved(document)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ORIGINALS)
@settings(deadline=None, max_examples=60)
@given(
    cut=st.one_of(st.none(), st.floats(0, 1)),
    places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=20),
)
def test_damaged_bytes_give_text_or_a_read_error(
    name: str,
    cut: float | None,
    places: list[tuple[int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = bytearray(ORIGINALS[name])
    for place, value in places:
        content[place % len(content)] = value
    kept = bytes(content if cut is None else content[: 1 + int(cut * len(content))])
    assert_readable(write(tmp_path_factory.getbasetemp(), name, kept))


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize("seed", range(30))
def test_damage_inside_the_parts_gives_text_or_a_read_error(tmp_path: Path, name: str, seed: int) -> None:
    """Whole to the ZIP directory and its checksums: what a parser of XML meets."""
    rng = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(ORIGINALS[name])) as package:
        parts = {part: package.read(part) for part in package.namelist() if part.endswith((".xml", ".rels"))}
    changed = dict(rng.choices(list(parts.items()), k=2))
    for part, content in changed.items():
        damaged = bytearray(content)
        for _ in range(3):
            if rng.random() < 0.5:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            else:
                at = rng.randrange(len(damaged))
                del damaged[at : at + rng.randrange(60)]
        changed[part] = bytes(damaged)
    assert_readable(write(tmp_path, name, repacked(ORIGINALS[name], changed)))


def assert_readable(file: Path) -> None:
    try:
        parsed = read(file)
    except ReadError as error:
        assert error.message
    else:
        assert_sound(parsed)
