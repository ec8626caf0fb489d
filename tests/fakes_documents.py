"""Small documents of every format that is read, made on the spot, and the rules that all parsed ones obey."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import docx
import docx.document
import openpyxl
import pptx
import pptx.presentation
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from ragkit.readers import read
from ragkit.schema import Parsed


def pdf(*pages: str, title: str = "", password: str = "") -> bytes:
    """A PDF with one page for each text; a page without text holds a line that is drawn."""
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    file = io.BytesIO()
    # Without compression, so that a test may cut or change the bytes and know what it hits.
    encryption = StandardEncryption(password, strength=128) if password else None
    canvas = Canvas(file, invariant=True, pageCompression=0, encrypt=encryption)
    canvas.setTitle(title)
    for text in pages:
        canvas.setFont("STSong-Light", 12)
        for number, line in enumerate(text.split("\n")):
            canvas.drawString(50, 800 - 16 * number, line)
        canvas.line(50, 60, 500, 60)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def picture_pdf(*colours: str, first: str = "") -> bytes:
    """A PDF whose pages are pictures, as a scanner makes them: a page for each colour, after one of text."""
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    file = io.BytesIO()
    canvas = Canvas(file, invariant=True)
    if first:
        canvas.setFont("STSong-Light", 12)
        canvas.drawString(50, 800, first)
        canvas.showPage()
    for colour in colours:
        canvas.drawInlineImage(Image.new("RGB", (60, 84), colour), 0, 0, *canvas._pagesize)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def word(document: docx.document.Document) -> bytes:
    """The bytes of a document made with python-docx."""
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def handbook() -> docx.document.Document:
    """A Word document with headings of two levels and a table."""
    document = docx.Document()
    document.add_heading("员工手册", level=1)
    document.add_paragraph("本手册适用于全体员工。")
    document.add_heading("年休假", level=2)
    document.add_paragraph("年休假按工龄计算。")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), ("工龄", "天数", "满 1 年", "5 天"), strict=True
    ):
        cell.text = text
    document.add_heading("Contact", level=1)
    document.add_paragraph("Write to the office.")
    return document


def slides() -> pptx.presentation.Presentation:
    """Three slides: a title with a table, a group and notes; a hidden one; one without text."""
    presentation = pptx.Presentation()
    first, hidden, _ = (presentation.slides.add_slide(presentation.slide_layouts[n]) for n in (1, 1, 6))
    first.placeholders[1].text = "满一年\n五天"
    first.shapes.title.text = "年休假"
    first.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
    table = first.shapes.add_table(2, 2, 0, 0, 9, 9).table
    for at, text in enumerate(("工龄", "天数", "10 年", "10\n天")):
        table.cell(at // 2, at % 2).text = text
    first.notes_slide.notes_text_frame.text = "Say this slowly."
    hidden.shapes.title.text = "Hidden"
    hidden._element.set("show", "0")
    return presentation


def workbook(*rows: tuple[object, ...], name: str = "销售") -> openpyxl.Workbook:
    """A workbook of one sheet with these rows."""
    book = openpyxl.Workbook()
    book.active.title = name
    for row in rows:
        book.active.append(row)
    return book


def saved(document: docx.document.Document | pptx.presentation.Presentation | openpyxl.Workbook) -> bytes:
    """The bytes of a document of any office kind."""
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def repacked(package: bytes, changed: Mapping[str, str | bytes | None]) -> bytes:
    """The package with parts replaced, added, or with None left out."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        parts = {name: old.read(name) for name in old.namelist()} | dict(changed)
        for name, part in parts.items():
            if part is not None:
                out.writestr(name, part)
    return file.getvalue()


def write(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def slices(parsed: Parsed) -> list[str]:
    return [parsed.text[block.start : block.end] for block in parsed.blocks]


def assert_sound(parsed: Parsed) -> None:
    """Blocks are in order, apart, inside the text and not blank; the text holds nothing that cannot be shown."""
    at = 0
    for block, shown in zip(parsed.blocks, slices(parsed), strict=True):
        assert at <= block.start < block.end <= len(parsed.text)
        assert shown.strip()
        at = block.end
    assert not set(parsed.text) & {chr(code) for code in range(32) if chr(code) not in "\t\n"}
    assert not set(parsed.text + parsed.title) & {"\ufeff", "\x7f"}
    parsed.text.encode()  # raises on a lone surrogate
    assert "\n" not in parsed.title


def read_bytes(folder: Path, name: str, content: bytes) -> Parsed:
    """Read what a file of that content gives, and hold it to the rules."""
    parsed = read(write(folder, name, content))
    assert_sound(parsed)
    return parsed


def of_kind(parsed: Parsed, kind: str) -> list[str]:
    return [text for block, text in zip(parsed.blocks, slices(parsed), strict=True) if block.kind == kind]


def headings(parsed: Parsed) -> list[tuple[str, ...]]:
    return [block.heading for block in parsed.blocks if block.kind == "heading"]
