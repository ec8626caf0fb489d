"""Which rows of the table of documents a visitor sees: filtered, sorted, a page at a time. Pure."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ragkit.schema import Document

ROWS: Final = 100  # a page: the table is painted anew every second while a large library is being indexed

_KEYS: Final[dict[str, Callable[[Document], Any]]] = {
    "name": lambda row: _folded(row.source),
    "state": lambda row: row.state,
    "chunks": lambda row: row.chunks,
    "pages": lambda row: row.pages or 0,
    "size": lambda row: row.size_bytes,
    "seconds": lambda row: row.seconds,
}


@dataclass(frozen=True, slots=True)
class View:
    """How one visitor looks at the table. Without `sort` what failed stands first, then the newest."""

    words: str = ""
    sort: str = ""
    descending: bool = False
    page: int = 1  # 1-based

    def sorted_by(self, column: str) -> View:
        """After a click on a column's head: upwards, downwards, then as it was."""
        if column not in _KEYS:
            return self
        if self.sort != column:
            return replace(self, sort=column, descending=False, page=1)
        return replace(self, sort="" if self.descending else column, descending=not self.descending, page=1)

    def filtered_by(self, words: str) -> View:
        return replace(self, words=words[:200], page=1)

    def turned_to(self, page: str) -> View:
        return replace(self, page=int(page)) if page.isdecimal() and len(page) < 7 else self


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[Document]
    number: int
    pages: int
    found: int  # rows that pass the filter


def page_of(rows: Sequence[Document], view: View) -> Page:
    """The rows to show. Every word of the filter must stand in a row's source, whatever its case and width."""
    words = _folded(view.words).split()
    found = [row for row in rows if all(word in _folded(row.source) for word in words)] if words else rows
    if view.sort:
        found = sorted(found, key=lambda row: row.source)
        found.sort(key=_KEYS[view.sort], reverse=view.descending)
    else:
        found = sorted(found, key=lambda row: (row.state != "failed", -row.updated_at, row.source))
    pages = max(1, math.ceil(len(found) / ROWS))
    number = min(max(1, view.page), pages)
    return Page(found[ROWS * (number - 1) : ROWS * number], number, pages, len(found))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
