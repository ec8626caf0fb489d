"""A passage in its document: the page of a PDF with the passage's lines marked, else the text around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragkit.errors import ReadError
from ragkit.library import Library
from ragkit.schema import Box, Document, PageImage, Span

WINDOW_CHARS = 4000  # of a document without pages are shown at a time
PAGE_WIDTH = 1100  # pixels: text of ten points is sharp on a screen of twice the usual density

_BLANK_LINE = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class View:
    """One page of a document, or one window of its text; `number` of `count`, 1-based.

    `text` is the stored text from `start` on that is shown where there is no `image`; `spans` are the marked
    places in it. `marks` are the marked lines on the image.
    """

    document: Document
    number: int
    count: int
    start: int
    text: str
    spans: tuple[Span, ...]
    image: PageImage | None = None
    marks: tuple[Box, ...] = ()
    trouble: str = ""  # why a page could not be drawn: the code of the error


def view(
    library: Library, document: Document, spans: Sequence[Span], page: int | None, number: int | None = None
) -> View:
    """A passage, by the `spans` to mark and its `page`, in its document; or page (or window) `number` of that.

    A page that cannot be drawn is shown as text. Raises StoreError when the document is gone.
    """
    text = library.text(document.id)
    wanted = number or page
    trouble = ""
    if wanted and document.path.lower().endswith(".pdf"):
        wanted = min(max(1, wanted), document.pages or 1)
        try:
            return page_view(
                document, text, spans, wanted, library.draw_page(document.id, wanted, PAGE_WIDTH)
            )
        except ReadError as error:
            trouble, number = error.code, None
    chunks = library.chunks(document.id)
    breaks = [after.start for before, after in pairwise(chunks) if before.page != after.page]
    return text_view(document, text, spans, number, breaks, trouble)


def windows(text: str, breaks: Iterable[int] = ()) -> list[Span]:
    """Cut a text into stretches of at most WINDOW_CHARS, at `breaks` (slides, sheets), else between paragraphs,
    else anywhere. They cover the text; never empty."""
    edges = sorted({0, len(text), *(at for at in breaks if 0 < at < len(text))})
    cut: list[Span] = []
    for low, high in pairwise(edges):
        while high - low > WINDOW_CHARS:
            gaps = [gap.end() for gap in _BLANK_LINE.finditer(text, low + 1, low + WINDOW_CHARS)]
            lines = text.rfind("\n", low + 1, low + WINDOW_CHARS) + 1
            stop = gaps[-1] if gaps else lines or low + WINDOW_CHARS
            cut.append((low, stop))
            low = stop
        cut.append((low, high))
    return cut or [(0, len(text))]


def text_view(
    document: Document,
    text: str,
    spans: Sequence[Span],
    number: int | None,
    breaks: Iterable[int] = (),
    trouble: str = "",
) -> View:
    """The window `number`, or the one in which the first span begins."""
    cut = windows(text, breaks)
    if number is None:
        number = sum(start <= spans[0][0] for start, _ in cut)
    number = min(max(1, number), len(cut))
    low, high = cut[number - 1]
    inside = ((max(low, start) - low, min(high, end) - low) for start, end in spans)
    marked = tuple((start, end) for start, end in inside if start < end)
    return View(document, number, len(cut), low, text[low:high], marked, trouble=trouble)


def page_view(document: Document, text: str, spans: Sequence[Span], number: int, image: PageImage) -> View:
    """Page `number` of a PDF. Nothing is marked where the file says something else than the stored text:
    it changed since, or the page was recognised from its picture."""
    near = max(0, spans[0][0] - len(image.text))
    at = text.find(image.text, near) if image.text.strip() else -1
    marks: list[Box] = []
    if at >= 0 and image.boxes:
        for start, end in spans:
            marks += lines(image.boxes[max(0, start - at) : max(0, end - at)])
    return View(document, number, document.pages or 1, max(at, 0), image.text, (), image, tuple(marks))


def lines(boxes: Sequence[Box | None]) -> tuple[Box, ...]:
    """Join the boxes of characters that follow one another on a line, across or down the page."""
    joined: list[Box] = []
    for box in boxes:
        if box is None:
            continue
        if joined and _follows(joined[-1], box):
            last = joined[-1]
            joined[-1] = (
                min(last[0], box[0]),
                min(last[1], box[1]),
                max(last[2], box[2]),
                max(last[3], box[3]),
            )
        else:
            joined.append(box)
    return tuple(joined)


def _follows(line: Box, box: Box) -> bool:
    height, width = min(line[3] - line[1], box[3] - box[1]), min(line[2] - line[0], box[2] - box[0])
    across = min(line[3], box[3]) - max(line[1], box[1]) > height / 2 and box[0] - line[2] < 2 * height
    down = min(line[2], box[2]) - max(line[0], box[0]) > width / 2 and abs(box[1] - line[3]) < height / 4
    return (across and box[2] > line[0]) or (down and height >= width)
