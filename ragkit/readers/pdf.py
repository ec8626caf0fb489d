"""PDF by PDFium: the text of each page as PDFium gives it, pages joined by a blank line.

Only newlines are normalised. Where a word was broken at a line's end PDFium has already joined it and left
a marker (U+FFFE) for the hyphen; `clean` drops it. What PDFium cannot open pypdf may; pages that are
pictures are recognised where the packages for it are installed, else they are named.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ragkit.errors import EmptyFile, FileTooLarge, NoText
from ragkit.readers import ocr
from ragkit.readers.base import check_length, clean, mislabelled, one_line, paragraphs
from ragkit.readers.pace import alive
from ragkit.readers.pdf_fallback import Fallback, damaged, locked
from ragkit.readers.pdf_outline import Bookmark, bookmarks, sections
from ragkit.schema import Block, OcrState, Parsed

_GAP = "\n\n"
_MAX_PAGES = 50_000  # a damaged count can say a million, and each of those pages is tried
# A scan may carry a page number or the stamp of a scanning app; the longest common one has 21 characters.
_HARDLY_ANY_CHARS = 25
_MUCH_OF_THE_PAGE = 0.5
_MAX_OBJECTS = 5_000  # of a page are looked at; a scan has few
_MAX_UNKNOWN_SHARE = 0.3  # of a page's characters: with more of U+FFFD its fonts hide what they say
_MAX_DPI = 300
# Titles that a program left there, not an author.
_NOT_A_TITLE = re.compile(
    r"(?:untitled|unknown|none|title|document\d*|(?:microsoft|powerpoint) .*|.*\.(?:docx?|pdf|pptx?|xlsx?|tex|dvi|indd|rtf))$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Page:
    text: str
    scan: bool = False  # a picture with hardly any text: what it says is unread
    recognised: bool = False
    failed: bool = False

    @property
    def unread(self) -> bool:
        return self.scan or not self.text.strip()


def parse(data: bytes) -> Parsed:
    """Read a PDF; the blocks carry their page and the bookmarks above them."""
    # PDFium looks for the header in the first 1,024 bytes, too.
    if b"%PDF-" not in data[:1024]:
        raise mislabelled(data, "a PDF")
    spare = Fallback(data)
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            raise locked() from error
        count = _checked_count(spare.pages())
        pages = list(_capped(_page_of(spare.text(index, of=count)) for index in range(count)))
        return _assemble(pages, data=data)
    with document:
        count = _checked_count(len(document))
        pages = list(_capped(_read_page(document, index, spare, count) for index in range(count)))
        pages, state = _recognise(document, pages)
        return _assemble(
            pages, data=data, title=_title(document), outline=bookmarks(document), ocr_state=state
        )


def _checked_count(pages: int) -> int:
    if not pages:
        raise EmptyFile("This PDF has no pages.")
    if pages > _MAX_PAGES:
        raise FileTooLarge(f"This PDF claims to have {pages:,} pages; the limit is {_MAX_PAGES:,}.")
    return pages


def _capped(pages: Iterator[_Page]) -> Iterator[_Page]:
    chars = 0
    for page in pages:
        chars += len(page.text) + len(_GAP)
        check_length(chars)
        yield page


def _read_page(document: pdfium.PdfDocument, index: int, spare: Fallback, count: int) -> _Page:
    try:
        page = document[index]
        try:
            textpage = page.get_textpage()
            # A pair of surrogates comes as one character; a lone one is dropped by `clean`.
            text = clean(textpage.get_text_range(errors="surrogatepass"))
            textpage.close()
            return _page_of(text, scan=_has_hardly_any(text) and _is_picture(page))
        finally:
            page.close()
    except pdfium.PdfiumError:
        return _page_of(spare.text(index, of=count))


def _page_of(text: str | None, *, scan: bool = False) -> _Page:
    if text is None:
        return _Page("", failed=True)
    if text.count("\ufffd") > _MAX_UNKNOWN_SHARE * len("".join(text.split())):
        return _Page("", scan=True)
    return _Page(text, scan=scan)


def _has_hardly_any(text: str) -> bool:
    return len(text) < 10 * _HARDLY_ANY_CHARS and len("".join(text.split())) < _HARDLY_ANY_CHARS


def _is_picture(page: pdfium.PdfPage) -> bool:
    """Tell whether images cover much of the page; a scan often comes in strips, so they are added up."""
    left, bottom, right, top = page.get_bbox()
    whole = (right - left) * (top - bottom)
    covered = 0.0
    for number, thing in enumerate(page.get_objects(max_depth=1)):
        if number >= _MAX_OBJECTS or whole <= 0:
            break
        if thing.type == pdfium_c.FPDF_PAGEOBJ_IMAGE or (
            thing.type == pdfium_c.FPDF_PAGEOBJ_FORM and _holds_image(page, thing)
        ):
            x0, y0, x1, y1 = thing.get_bounds()
            covered += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
            if covered >= _MUCH_OF_THE_PAGE * whole:
                return True
    return False


def _holds_image(page: pdfium.PdfPage, form: pdfium.PdfObject) -> bool:
    """Images in a form have the form's own coordinates, so the form stands for them."""
    things = page.get_objects(max_depth=3, form=form, level=1)
    return any(
        thing.type == pdfium_c.FPDF_PAGEOBJ_IMAGE
        for _, thing in zip(range(_MAX_OBJECTS), things, strict=False)
    )


def _recognise(document: pdfium.PdfDocument, pages: list[_Page]) -> tuple[list[_Page], OcrState]:
    """Read the scans by OCR, in their order and until the time for it is over."""
    scans = [index for index, page in enumerate(pages) if page.scan]
    if not scans:
        return pages, ""
    if not ocr.available():
        return pages, "missing"
    pages = pages.copy()
    deadline = time.monotonic() + ocr.BUDGET_S
    for index in scans:
        if time.monotonic() >= deadline:
            return pages, "stopped"
        text = _recognised(document, index)
        if text:
            pages[index] = replace(pages[index], text=text, scan=False, recognised=True)
        alive()
    return pages, ""


def _recognised(document: pdfium.PdfDocument, index: int) -> str:
    try:
        page = document[index]
        try:
            scale = min(ocr.MAX_SIDE_PIXELS / max(*page.get_size(), 1.0), _MAX_DPI / 72)
            bitmap = page.render(scale=scale)
            try:
                return ocr.recognise(bitmap.to_numpy()[:, :, :3])
            finally:
                bitmap.close()
        finally:
            page.close()
    except pdfium.PdfiumError:
        return ""


def _assemble(
    pages: Sequence[_Page],
    *,
    data: bytes,
    title: str = "",
    outline: Sequence[Bookmark] = (),
    ocr_state: OcrState = "",
) -> Parsed:
    marks = defaultdict(list)
    for bookmark in outline:
        marks[bookmark.page].append(bookmark)
    blocks: list[Block] = []
    start = 0
    path: tuple[str, ...] = ()
    for index, page in enumerate(pages):
        for low, high, heading in sections(page.text, marks[index], path):
            path = heading
            blocks += (
                Block(start + first, start + last, page=index + 1, heading=path)
                for first, last in paragraphs(page.text, low, high)
            )
        start += len(page.text) + len(_GAP)
    if not blocks:
        raise damaged(data) if all(page.failed for page in pages) else _no_text(pages, ocr_state)
    return Parsed(
        _GAP.join(page.text for page in pages),
        tuple(blocks),
        title,
        pages=len(pages),
        pages_without_text=tuple(number for number, page in enumerate(pages, 1) if page.unread),
        ocr_pages=tuple(number for number, page in enumerate(pages, 1) if page.recognised),
        ocr_state=ocr_state,
    )


def _no_text(pages: Sequence[_Page], state: OcrState) -> NoText:
    message = f"There is no text on any of the pages ({len(pages)})"
    scans = sum(page.scan for page in pages)
    if not scans:
        return NoText(
            message + ".", "If you see text in it, it is drawn: ocrmypdf --force-ocr in.pdf out.pdf"
        )
    if state == "missing":
        return NoText(f"{message}: this PDF is a scan.", ocr.REMEDY)
    return NoText(f"{message}: this PDF is a scan, and no text was recognised in it.", ocr.CHECK_THE_SCAN)


def _title(document: pdfium.PdfDocument) -> str:
    try:
        title = one_line(document.get_metadata_value("Title"))
    except UnicodeDecodeError:  # half a pair of surrogates
        return ""
    return "" if not 2 <= len(title) <= 200 or "\ufffd" in title or _NOT_A_TITLE.match(title) else title
