"""Rows of cells to the text of a table block: one line a row, "a | b | c", its header first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ragkit.readers.base import check_length

BETWEEN = " | "


def table_text(rows: Iterable[Sequence[str]]) -> str:
    """Join rows of one-line cells; blank rows, and empty cells at the end of a row, are left out.

    Columns that are empty in every row are dropped, too. Raises FileTooLarge before it builds such a text.
    """
    kept: list[Sequence[str]] = []
    used: set[int] = set()
    cells = 0
    for row in rows:
        filled = [column for column, cell in enumerate(row) if cell]
        if filled:
            used.update(filled)
            kept.append(row[: filled[-1] + 1])
            cells += len(kept[-1])
            check_length(cells)
    columns = sorted(used)
    lines = []
    chars = 0
    for row in kept:
        lines.append(BETWEEN.join([row[column] for column in columns if column < len(row)]))
        chars += len(lines[-1]) + 1
        check_length(chars)
    return "\n".join(lines).lstrip()  # a chunk begins with something that is seen
