"""A passage shown in its document: pages of a PDF with the lines marked, windows of other texts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragkit.engine import Engine
from ragkit.errors import BrokenFile, EncryptedFile, ReadError
from ragkit.readers import draw_page, pdf_page
from ragkit.readers.base import clean, clean_places
from ragkit.readers.client import ReaderProcess
from ragkit.schema import Document, PageImage
from ragkit.viewing import WINDOW_CHARS, lines, text_view, view, windows
from tests.fakes_documents import pdf

PAGES = ("年假规定\n员工每年有十天年假。\n病假须有证明。", "Second page.\nIt has two lines.")


@pytest.fixture
def library(engine: Engine, folder: Callable[..., Path]) -> Engine:
    place = folder(**{"notes.md": "# 说明\n\n" + "\n\n".join(f"第{n}段。" + "字" * 90 for n in range(100))})
    (place / "rules.pdf").write_bytes(pdf(*PAGES))
    engine.sync(place)
    return engine


def document(library: Engine, name: str) -> Document:
    return next(document for document in library.documents() if document.path == name)


def dark_rows(image: PageImage, box: tuple[int, int, int, int]) -> int:
    picture = Image.open(io.BytesIO(image.webp)).convert("L").crop(box)
    return sum(min(picture.crop((0, y, picture.width, y + 1)).tobytes()) < 128 for y in range(picture.height))


def test_the_lines_of_a_passage_are_marked_where_its_ink_is(library: Engine) -> None:
    rules = document(library, "rules.pdf")
    text = library.text(rules.id)
    start = text.index("员工每年")
    shown = view(library, rules, [(start, start + len("员工每年有十天年假。"))], 1)
    assert shown.image is not None and (shown.number, shown.count) == (1, 2)
    (mark,) = shown.marks
    assert dark_rows(shown.image, mark) > 5
    after = text.index("病假")
    (below,) = view(library, rules, [(after, after + 2)], 1).marks
    assert mark[3] <= below[1] + 2 and below[2] - below[0] < mark[2] - mark[0]


def test_a_passage_of_two_lines_has_two_marks_and_other_pages_have_none(library: Engine) -> None:
    rules = document(library, "rules.pdf")
    text = library.text(rules.id)
    span = (text.index("Second"), text.index("two lines.") + 10)
    assert len(view(library, rules, [span], 2).marks) == 2
    assert view(library, rules, [span], 2, number=1).marks == ()


def test_a_page_number_beyond_the_document_shows_its_last_page(library: Engine) -> None:
    assert view(library, document(library, "rules.pdf"), [(0, 1)], 1, number=99).number == 2


def test_a_pdf_that_is_gone_is_shown_as_its_text(library: Engine, folder: Callable[..., Path]) -> None:
    (folder() / "rules.pdf").unlink()
    shown = view(library, document(library, "rules.pdf"), [(5, 15)], 1)
    assert shown.image is None and shown.trouble == "file_vanished"
    assert shown.text[slice(*shown.spans[0])] == "员工每年有十天年假。"


def test_a_pdf_that_changed_is_shown_without_marks(library: Engine, folder: Callable[..., Path]) -> None:
    (folder() / "rules.pdf").write_bytes(pdf("完全不同的内容。"))
    shown = view(library, document(library, "rules.pdf"), [(5, 15)], 1)
    assert shown.image is not None and shown.marks == ()


def test_the_window_of_a_text_is_the_one_that_the_passage_is_in(library: Engine) -> None:
    notes = document(library, "notes.md")
    text = library.text(notes.id)
    start = text.index("第80段")
    shown = view(library, notes, [(start, start + 4)], None)
    assert shown.number > 1 and shown.text[slice(*shown.spans[0])] == "第80段"
    assert text[shown.start : shown.start + len(shown.text)] == shown.text
    first = view(library, notes, [(start, start + 4)], None, number=1)
    assert first.start == 0 and first.spans == ()


@given(
    st.text(alphabet="字 \n。a", max_size=400), st.lists(st.integers(-5, 500), max_size=5), st.integers(1, 9)
)
def test_windows_cover_the_text_in_order(text: str, breaks: list[int], repeat: int) -> None:
    text = text * repeat * 10
    cut = windows(text, breaks)
    assert "".join(text[low:high] for low, high in cut) == text
    assert all(0 < high - low <= WINDOW_CHARS for low, high in cut) or not text


def test_a_window_ends_between_paragraphs_and_at_breaks() -> None:
    text = "甲" * 3000 + "\n\n" + "乙" * 3000
    assert windows(text) == [(0, 3002), (3002, 6002)]
    assert windows("一二三四", [2]) == [(0, 2), (2, 4)]


@given(st.text(alphabet="a字\r\n\x0b\x00\ufffe\u2028😀", max_size=60))
def test_every_character_of_a_cleaned_text_is_found_in_the_raw_one(raw: str) -> None:
    cleaned, places = clean(raw), clean_places(raw)
    assert len(places) == len(cleaned) and places == sorted(set(places))
    assert all(raw[at] == char or char == "\n" for at, char in zip(places, cleaned, strict=True))


def test_characters_beyond_the_basic_plane_keep_their_boxes(tmp_path: Path) -> None:
    image = pdf_page.render(pdf("ab\ncd"), 1, 800)
    assert len(image.boxes) == len(image.text) and image.boxes[image.text.index("\n")] is None


def test_boxes_join_along_a_line_and_down_a_column() -> None:
    assert lines([(0, 0, 10, 10), None, (11, 0, 20, 10), (0, 20, 10, 30)]) == (
        (0, 0, 20, 10),
        (0, 20, 10, 30),
    )
    assert lines([(50, 0, 60, 10), (50, 10, 60, 20), (50, 20, 60, 30)]) == ((50, 0, 60, 30),)


def test_a_page_is_drawn_in_the_parsing_process_as_in_this_one(tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf(*PAGES))
    with ReaderProcess() as reader:
        assert reader.draw_page(file, 2, 500) == draw_page(file, 2, 500)
        with pytest.raises(BrokenFile, match="no page 9"):
            reader.draw_page(file, 9, 500)
        assert reader.read(file).pages == 2


@pytest.mark.parametrize("data", [b"", b"no pdf", pdf("a")[:300]])
def test_what_is_no_pdf_cannot_be_drawn(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(data)
    with pytest.raises(ReadError):
        draw_page(file, 1, 500)


def test_a_locked_pdf_says_so(tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf("secret", password="x"))
    with pytest.raises(EncryptedFile):
        draw_page(file, 1, 500)


def test_a_very_tall_page_is_drawn_within_the_limit() -> None:
    from reportlab.pdfgen.canvas import Canvas

    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(100, 14000))
    canvas.drawString(10, 10, "end")
    canvas.save()
    image = pdf_page.render(file.getvalue(), 1, 1100)
    assert max(image.width, image.height) <= pdf_page.MAX_SIDE_PIXELS + 1


def test_a_text_without_the_passage_shows_its_last_window(library: Engine) -> None:
    shown = text_view(document(library, "notes.md"), "短", [(90, 99)], None)
    assert (shown.number, shown.spans) == (1, ())
