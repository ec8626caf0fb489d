"""PDF: pages, bookmarks, scans, passwords, and every kind of damage."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from ragkit.errors import BrokenFile, EmptyFile, EncryptedFile, FileTooLarge, NoText, ReadError, TruncatedFile
from ragkit.readers import pdf as reader
from ragkit.readers import read
from ragkit.readers.pdf_outline import Bookmark, sections
from tests.fakes_documents import assert_sound, pdf, picture_pdf, read_bytes, slices, write


@pytest.fixture(autouse=True)
def no_recognition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragkit.readers.ocr.available", lambda: False)


def rewritten(content: bytes, change: Callable[[pypdf.PdfWriter], object]) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(content))
    change(writer)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def raw_pdf(*objects: str) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog."""
    content = b"%PDF-1.4\n"
    places = []
    for number, text in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{text}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<</Size {size}/Root 1 0 R>>\n"
    return content + f"{end}startxref\n{len(content)}\n%%EOF\n".encode()


def page(parent: str, text: str) -> str:
    return f"<</Type/Page/Parent {parent} 0 R/MediaBox[0 0 200 200]/Contents {text} 0 R/Resources<</Font<</F 5 0 R>>>>>>"


def drawn(draw: Callable[[Canvas], object]) -> bytes:
    """A PDF with one A4 page that `draw` has drawn on."""
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=A4, invariant=True)
    draw(canvas)
    canvas.save()
    return file.getvalue()


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────


def test_pages_keep_their_numbers_and_their_place(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.pdf", pdf("第一页的内容。\nline two", "", "Page three."))
    assert parsed.text == "第一页的内容。\nline two\n\n\n\nPage three."
    assert [block.page for block in parsed.blocks] == [1, 3]
    assert (parsed.pages, parsed.pages_without_text) == (3, (2,))


def test_a_hyphenated_word_is_whole_again(tmp_path: Path) -> None:
    assert "an example here" in read_bytes(tmp_path, "a.pdf", pdf("This is an exam-\nple here")).text


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("旅行指南", "旅行指南"),
        ("untitled", ""),
        ("Microsoft Word - a.doc", ""),
        ("report.tex", ""),
        ("x", ""),
    ],
)
def test_a_title_is_believed_only_if_a_person_wrote_it(tmp_path: Path, title: str, shown: str) -> None:
    assert read_bytes(tmp_path, "a.pdf", pdf("text", title=title)).title == shown


def test_thousands_of_pages_are_read(tmp_path: Path) -> None:
    content = rewritten(pdf("a page"), lambda w: [w.add_page(w.pages[0]) for _ in range(4_999)])
    parsed = read_bytes(tmp_path, "a.pdf", content)
    assert (parsed.pages, len(parsed.blocks)) == (5_000, 5_000)


def test_more_pages_than_any_document_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MAX_PAGES", 2)
    with pytest.raises(FileTooLarge, match="3 pages"):
        read(write(tmp_path, "a.pdf", pdf("1", "2", "3")))


# ── Bookmarks ───────────────────────────────────────────────────────────────────────────────────────


def outlined(*marks: tuple[str, int, int], pages: tuple[str, ...]) -> bytes:
    """A PDF with bookmarks: title, page (from 0), level."""

    def add(writer: pypdf.PdfWriter) -> None:
        parents: list[Any] = [None] * 20
        for title, page, level in marks:
            parents[level + 1] = writer.add_outline_item(title, page, parent=parents[level])

    return rewritten(pdf(*pages), add)


def test_bookmarks_are_the_headings_of_what_follows_them(tmp_path: Path) -> None:
    content = outlined(
        ("第一章 总则", 1, 0),
        ("范围", 1, 1),
        ("第二章", 2, 0),
        pages=("Preface.", "第一章总则\n说明。\n1.2 范围\n全体员工。", "更多。\n第二章\n结束。"),
    )
    parsed = read_bytes(tmp_path, "a.pdf", content)
    assert [(one, block.heading) for one, block in zip(slices(parsed), parsed.blocks, strict=True)] == [
        ("Preface.", ()),
        ("第一章总则\n说明。", ("第一章 总则",)),
        ("1.2 范围\n全体员工。", ("第一章 总则", "范围")),
        ("更多。", ("第一章 总则", "范围")),
        ("第二章\n结束。", ("第二章",)),
    ]


def test_a_bookmark_whose_words_are_not_on_its_page_counts_from_the_top(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.pdf", outlined(("A", 0, 0), ("B", 1, 0), pages=("one", "two")))
    assert [block.heading for block in parsed.blocks] == [("A",), ("B",)]


@pytest.mark.parametrize(
    "marks",
    [
        [("c", 3, 0), ("b", 1, 0), ("a", 0, 0)],  # backwards
        [("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 0, 0)],  # all to the first page
        [("", 0, 0), ("x" * 300, 1, 0)],  # no title, a paragraph
        [(f"word {number}", 0, 0) for number in range(6_000)],
    ],
    ids=["backwards", "first page", "no titles", "thousands"],
)
def test_wrong_bookmarks_head_nothing(tmp_path: Path, marks: list[tuple[str, int, int]]) -> None:
    parsed = read_bytes(tmp_path, "a.pdf", outlined(*marks, pages=("1", "2", "3", "4")))
    assert {block.heading for block in parsed.blocks} == {()}


def greeting(outlines: tuple[str, ...], info: str = "<<>>") -> bytes:
    """A page that says Hi, with these objects as its outline, from number 7 on."""
    content = raw_pdf(
        "<</Type/Catalog/Pages 2 0 R/Outlines 7 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page("2", "4"),
        "<</Length 29>>stream\nBT/F 12 Tf 9 99 Td(Hi)Tj ET \nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        info,
        *outlines,
    )
    return content.replace(b"/Root 1 0 R", b"/Root 1 0 R/Info 6 0 R")


def test_bookmarks_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    outlines = (
        "<</First 8 0 R/Last 9 0 R>>",
        "<</Title(One)/Parent 7 0 R/Next 9 0 R/First 8 0 R/Dest[3 0 R/Fit]>>",
        "<</Title(Two)/Parent 7 0 R/Next 8 0 R/Dest[3 0 R/Fit]>>",
    )
    parsed = read_bytes(tmp_path, "a.pdf", greeting(outlines))
    assert [block.heading for block in parsed.blocks] == [("Two",)]


def test_half_characters_in_titles_cost_the_titles_only(tmp_path: Path) -> None:
    """A lone surrogate in the title of the document made the whole file fail."""
    outlines = (
        "<</First 8 0 R/Last 8 0 R>>",
        "<</Title<FEFFD8000041>/Parent 7 0 R/Dest[3 0 R/Fit]>>",
    )
    parsed = read_bytes(tmp_path, "a.pdf", greeting(outlines, "<</Title<FEFFD8000041>>>"))
    assert (parsed.text, parsed.title, parsed.blocks[0].heading) == ("Hi", "", ())


@given(st.text(), st.lists(st.text(min_size=1, max_size=3)))
def test_sections_cover_a_page_without_gaps(text: str, titles: list[str]) -> None:
    here = [Bookmark(0, title, (title,)) for title in titles if title.strip()]
    at = 0
    for start, end, _ in sections(text, here, ()):
        assert start == at <= end
        at = end
    assert at == len(text)


# ── Scans ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_scan_has_no_text_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoText, match=r"pages \(2\): this PDF is a scan") as caught:
        read(write(tmp_path, "a.pdf", picture_pdf("gray", "gray")))
    assert "pip install rapidocr onnxruntime" in caught.value.hint and "ocrmypdf" in caught.value.hint


def test_pages_without_pictures_are_no_scan(tmp_path: Path) -> None:
    with pytest.raises(NoText, match=r"pages \(2\)\.") as caught:
        read(write(tmp_path, "a.pdf", pdf("", "")))
    assert "--force-ocr" in caught.value.hint


def test_the_scans_among_pages_of_text_are_named(tmp_path: Path) -> None:
    content = picture_pdf("gray", "gray", first="The first page was written with a word processor.")
    parsed = read_bytes(tmp_path, "a.pdf", content)
    assert parsed.text.startswith("The first page")
    assert (parsed.pages_without_text, parsed.ocr_pages, parsed.ocr_state) == ((2, 3), (), "missing")


GRAY = Image.new("RGB", (60, 84), "gray")


def strips(canvas: Canvas) -> None:
    for at in range(4):
        canvas.drawInlineImage(GRAY, 0, A4[1] * at / 4, A4[0], A4[1] / 4)


def in_a_form(canvas: Canvas) -> None:
    canvas.beginForm("form")
    canvas.drawInlineImage(GRAY, 0, 0, 100, 100)
    canvas.endForm()
    canvas.scale(A4[0] / 100, A4[1] / 100)
    canvas.doForm("form")


def stamped(canvas: Canvas) -> None:
    canvas.drawInlineImage(GRAY, 0, 0, *A4)
    canvas.drawString(50, 50, "Scanned with CamScanner")


def logo(canvas: Canvas) -> None:
    canvas.drawInlineImage(GRAY, 50, 700, 100, 100)
    canvas.drawString(50, 50, "Short.")


def outside(canvas: Canvas) -> None:
    canvas.drawInlineImage(GRAY, 0, 800, A4[0], 4_000)
    canvas.drawString(50, 50, "Short.")


@pytest.mark.parametrize(
    ("draw", "unread"),
    [(strips, (2,)), (in_a_form, (2,)), (stamped, (2,)), (logo, ()), (outside, ())],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_scan_is_known_by_its_picture(
    tmp_path: Path, draw: Callable[[Canvas], None], unread: tuple[int, ...]
) -> None:
    content = rewritten(
        pdf("A page of text that nobody takes for a scan."), lambda w: w.append(io.BytesIO(drawn(draw)))
    )
    assert read_bytes(tmp_path, "a.pdf", content).pages_without_text == unread


# ── Passwords ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128"])
def test_an_encrypted_pdf_asks_for_a_copy_without_password(tmp_path: Path, algorithm: str) -> None:
    content = rewritten(pdf("secret"), lambda w: w.encrypt("user", "owner", algorithm=algorithm))
    with pytest.raises(EncryptedFile) as caught:
        read(write(tmp_path, "a.pdf", content))
    assert "qpdf --decrypt" in caught.value.hint


def test_a_pdf_that_only_its_owner_may_change_is_read(tmp_path: Path) -> None:
    content = rewritten(pdf("free to read"), lambda w: w.encrypt("", "owner", algorithm="RC4-128"))
    assert read_bytes(tmp_path, "a.pdf", content).text == "free to read"


# ── Damage ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
def test_a_pdf_without_its_end_is_truncated(tmp_path: Path, share: float) -> None:
    content = pdf("one", "two", "three")
    with pytest.raises(TruncatedFile, match="end of the file is missing") as caught:
        read(write(tmp_path, "a.pdf", content[: int(len(content) * share)]))
    assert "again" in caught.value.hint


def test_a_pdf_that_no_reader_opens_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match="damaged") as caught:
        read(write(tmp_path, "a.pdf", b"%PDF-1.7\n" + random.Random(1).randbytes(5_000) + b"\n%%EOF\n"))
    assert "qpdf" in caught.value.hint


def test_what_pdfium_does_not_open_pypdf_reads_without_a_word(tmp_path: Path) -> None:
    """PDFium gives up where the trailer's catalog is missing; pypdf finds it."""
    content = pdf("first page", "第二页")
    start = content.index(b"/Root")
    content = content[:start] + b"/Rxxt" + content[start + 5 :]
    with pytest.raises(Exception, match="Failed to load document"):
        reader.pdfium.PdfDocument(content)
    parsed = read_bytes(tmp_path, "a.pdf", content)
    assert [(one.strip(), block.page) for one, block in zip(slices(parsed), parsed.blocks, strict=True)] == [
        ("first page", 1),
        ("第二页", 2),
    ]


def test_a_page_that_pdfium_does_not_load_is_read_by_pypdf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = reader.pdfium.PdfDocument.__getitem__

    def failing(document: Any, index: int) -> Any:
        if index == 1:
            raise reader.pdfium.PdfiumError("Failed to load page.")
        return load(document, index)

    monkeypatch.setattr(reader.pdfium.PdfDocument, "__getitem__", failing)
    parsed = read_bytes(tmp_path, "a.pdf", pdf("one", "two", "three"))
    assert [text.strip() for text in slices(parsed)] == ["one", "two", "three"]
    assert parsed.pages_without_text == ()


def test_pages_that_nobody_can_load_are_named_and_the_others_read(tmp_path: Path) -> None:
    content = raw_pdf(
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R 9 0 R 10 0 R]/Count 3>>",
        page("2", "4"),
        "<</Length 29>>stream\nBT/F 12 Tf 9 99 Td(Hi)Tj ET \nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    parsed = read_bytes(tmp_path, "a.pdf", content)
    assert (parsed.text.strip(), parsed.pages, parsed.pages_without_text) == ("Hi", 3, (2, 3))


def test_a_pdf_without_a_page_is_empty(tmp_path: Path) -> None:
    content = raw_pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 0>>")
    with pytest.raises(EmptyFile, match="no pages"):
        read(write(tmp_path, "a.pdf", content))


def test_a_page_tree_in_a_circle_comes_to_an_end(tmp_path: Path) -> None:
    content = raw_pdf(
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R 6 0 R]/Count 4/Parent 6 0 R>>",
        page("2", "4"),
        "<</Length 29>>stream\nBT/F 12 Tf 9 99 Td(Hi)Tj ET \nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        "<</Type/Pages/Kids[2 0 R]/Count 3/Parent 2 0 R>>",
    )
    assert "Hi" in read_bytes(tmp_path, "a.pdf", content).text


def test_signs_that_have_no_meaning_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = reader._page_of("\ufffd\ufffd \ufffd a")
    assert (unknown.text, unknown.scan) == ("", True)
    assert reader._page_of("one \ufffd in many characters").text


DAMAGED = {
    "titles": greeting(
        ("<</First 8 0 R/Last 8 0 R>>", "<</Title<FEFF4E00D83D>/Dest[3 0 R/Fit]>>"), "<</Title<FEFF4E00>>>"
    ),
    "plain": pdf("第一页。", "two", "three"),
    "bookmarks": outlined(("A", 0, 0), ("B", 1, 1), pages=("one A", "two B")),
    "pictures": picture_pdf("gray", first="A page of text that was never a scan."),
    "locked": rewritten(pdf("one", "two"), lambda w: w.encrypt("", "owner", algorithm="RC4-128")),
}


@pytest.mark.parametrize("name", DAMAGED)
@settings(deadline=None, max_examples=150)
@given(
    cut=st.floats(0, 2),
    places=st.lists(st.tuples(st.integers(8, 1 << 20), st.integers(0, 255)), max_size=30),
)
def test_damage_gives_text_or_a_read_error_and_nothing_else(
    name: str, cut: float, places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(DAMAGED[name])
    for place, value in places:
        content[place % len(content)] = value
    file = write(tmp_path_factory.getbasetemp(), "a.pdf", bytes(content[: int(len(content) * cut) + 1]))
    try:
        assert_sound(read(file))
    except ReadError as error:
        assert error.message
