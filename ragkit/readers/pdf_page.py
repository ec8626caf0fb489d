"""One page of a PDF as a picture, and where on it every character of its text stands."""

from __future__ import annotations

import io
from ctypes import c_int

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ragkit.errors import BrokenFile
from ragkit.readers.base import clean, clean_places
from ragkit.readers.pdf_fallback import locked
from ragkit.schema import Box, PageImage

MAX_SIDE_PIXELS = 3000
MAX_BOXES = 50_000  # a page of more characters is shown without
_QUALITY = 85  # of WebP: a page of text takes 60 to 90 KB


def render(data: bytes, number: int, width: int) -> PageImage:
    """Draw page `number` (1-based), `width` pixels wide unless it is very tall. Raises ReadError."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            raise locked() from error
        raise _not_drawn(number) from error
    with document:
        if not 1 <= number <= len(document):
            raise BrokenFile(f"This PDF has no page {number} any more.", "Sync its folder, or add it again.")
        try:
            page = document[number - 1]
        except pdfium.PdfiumError as error:
            raise _not_drawn(number) from error
        try:
            return _drawn(page, width)
        except pdfium.PdfiumError as error:
            raise _not_drawn(number) from error
        finally:
            page.close()


def _not_drawn(number: int) -> BrokenFile:
    return BrokenFile(
        f"Page {number} of this PDF cannot be drawn.", "Its text is in the knowledge base all the same."
    )


def _drawn(page: pdfium.PdfPage, width: int) -> PageImage:
    wide, tall = page.get_size()
    bitmap = page.render(scale=min(width / max(wide, 1.0), MAX_SIDE_PIXELS / max(wide, tall, 1.0)))
    try:
        size = bitmap.width, bitmap.height
        picture = io.BytesIO()
        bitmap.to_pil().convert("RGB").save(picture, "WEBP", quality=_QUALITY)
    finally:
        bitmap.close()
    textpage = page.get_textpage()
    try:
        raw = textpage.get_text_range(errors="surrogatepass")
        boxes = _boxes(page, textpage, raw, size) if len(raw) <= MAX_BOXES else ()
    finally:
        textpage.close()
    return PageImage(*size, picture.getvalue(), clean(raw), boxes)


def _boxes(
    page: pdfium.PdfPage, textpage: pdfium.PdfTextPage, raw: str, size: tuple[int, int]
) -> tuple[Box | None, ...]:
    """A box for each character of the cleaned text; None for one that PDFium made up, a space or a newline."""
    units, at = [], 0  # PDFium counts in UTF-16
    for char in raw:
        units.append(at)
        at += 2 if ord(char) > 0xFFFF else 1
    return tuple(_box(page, textpage, units[place], size) for place in clean_places(raw))


def _box(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage, unit: int, size: tuple[int, int]) -> Box | None:
    index = pdfium_c.FPDFText_GetCharIndexFromTextIndex(textpage, unit)
    if index < 0 or pdfium_c.FPDFText_IsGenerated(textpage, index) == 1:
        return None
    try:
        left, bottom, right, top = textpage.get_charbox(index, loose=True)
    except pdfium.PdfiumError:
        return None
    (x0, y0), (x1, y1) = (_on_picture(page, size, *corner) for corner in ((left, top), (right, bottom)))
    box = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
    outside = box[2] <= 0 or box[3] <= 0 or box[0] >= size[0] or box[1] >= size[1]
    return None if outside or box[0] == box[2] else box


def _on_picture(page: pdfium.PdfPage, size: tuple[int, int], x: float, y: float) -> tuple[int, int]:
    """From the page's own units to pixels, whatever it is rotated or cropped by."""
    across, down = c_int(), c_int()
    pdfium_c.FPDF_PageToDevice(page, 0, 0, *size, 0, x, y, across, down)
    return across.value, down.value
