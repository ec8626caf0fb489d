"""The bookmarks of a PDF as headings. They name pages; where one stands on its page its words tell."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import pypdfium2 as pdfium

from ragkit.readers.base import MAX_HEADING_CHARS, Outline, one_line

logging.getLogger("pypdfium2").setLevel(
    logging.ERROR
)  # it warns of cycles and depth, which are expected here

_MAX_BOOKMARKS = 5_000  # of a dictionary with one for each word nobody needs any
_MAX_LEVELS = 6
_MAX_BACKWARDS = 0.1  # of the bookmarks may point back; with more their pages are wrong
_SEARCHED_CHARS = 20_000  # of a page
_NUMBER = r"[^\S\n]*(?:[\dIVXivx.()（）第一二三四五六七八九十章节节篇部、:： \t]{1,16}|Chapter \d+:? )?"


@dataclass(frozen=True, slots=True)
class Bookmark:
    page: int  # 0-based
    title: str
    path: tuple[str, ...]


def bookmarks(document: pdfium.PdfDocument) -> list[Bookmark]:
    """The usable bookmarks in the order of their pages, or none at all if most of them are wrong."""
    outline = Outline()
    found = []
    entries = list(islice(document.get_toc(max_depth=_MAX_LEVELS), _MAX_BOOKMARKS + 1))
    if len(entries) > _MAX_BOOKMARKS:
        return []
    for entry in entries:
        try:
            title = one_line(entry.get_title())
        except UnicodeDecodeError:
            continue
        if not title or len(title) > MAX_HEADING_CHARS:
            continue
        outline.enter(entry.level, title)
        target = entry.get_dest()
        page = target.get_index() if target else None
        if page is not None and page < len(document):
            found.append(Bookmark(page, title, outline.path))
    return _in_order(found, len(document))


def _in_order(found: list[Bookmark], pages: int) -> list[Bookmark]:
    backwards = sum(after.page < before.page for before, after in pairwise(found))
    if backwards > _MAX_BACKWARDS * len(found):
        return []
    if pages > 1 and len(found) > 2 and len({bookmark.page for bookmark in found}) == 1:
        return []  # some programs let all of them point to the first page
    kept: list[Bookmark] = []
    for bookmark in found:
        if not kept or bookmark.page >= kept[-1].page:
            kept.append(bookmark)
    return kept


def sections(
    text: str, here: Sequence[Bookmark], before: tuple[str, ...]
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Cut a page where the titles of its bookmarks stand: start, end and heading path of each piece.

    A title that is not on the page counts from where the one before it begins.
    """
    start, path = 0, before
    for bookmark in here:
        match = _line_of(bookmark.title).search(text, start, start + _SEARCHED_CHARS)
        if match and match.start() > start:
            yield start, match.start(), path
            start = match.start()
        path = bookmark.path
    yield start, len(text), path


def _line_of(title: str) -> re.Pattern[str]:
    """A line that begins with the title, after a number perhaps; with other spaces, or over two lines."""
    words = r"\s*".join(map(re.escape, "".join(title.split())))
    return re.compile(f"^{_NUMBER}{words}", re.M)
