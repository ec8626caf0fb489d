"""The lines of a recognised page in the order in which they are read: columns, rows, paragraphs.

Pure functions over boxes; they know of no recogniser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median

_SAME_ROW = 0.5  # of the lower one's height must two boxes share
_PARAGRAPH_GAP = 0.9  # of a line's height: line spacing 1.5 leaves 0.5 between lines
_SECTION_GAP = 1.5  # of a line's height: columns end there, and what is below begins anew
_COLUMN_GAP = 0.8  # of a line's height: Chinese columns stand two characters apart, words a quarter
_COLUMN_WIDTH = 6  # heights; the cells of a table are narrower, and a table is read by its rows
_COLUMN_ROWS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of text and the upright rectangle around it; y grows downwards."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 1e-6)


def arranged(lines: Sequence[Line]) -> str:
    """The text of a page: a line for each row, an empty one between paragraphs and columns."""
    shown = [line for line in lines if line.text.strip()]
    if not shown:
        return ""
    unit = median(line.height for line in shown)
    return "\n\n".join(_column(column, unit) for column in _columns(_rows(shown), unit))


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    """Boxes side by side are one row, from the left to the right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.top + line.bottom, line.left)):
        if rows and _belongs(line, rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]


def _belongs(line: Line, row: Sequence[Line]) -> bool:
    """Beside all the others and on a level with the last: a line of the other column may reach into two rows."""
    last = row[-1]
    shared = min(last.bottom, line.bottom) - max(last.top, line.top)
    beside = all(line.left >= other.right or line.right <= other.left for other in row)
    return beside and shared >= _SAME_ROW * min(last.height, line.height)


def _columns(rows: list[list[Line]], unit: float) -> list[list[list[Line]]]:
    """Cut the rows into stretches that are read one after the other; one with columns is cut at their gap."""
    columns: list[list[list[Line]]] = []
    whole: list[list[Line]] = []  # rows that belong to no columns
    at = 0
    while at < len(rows):
        cut, end = _longest_with_gap(rows, at, unit)
        if cut is None:
            whole.append(rows[at])
            at += 1
            continue
        columns += [whole] if whole else []
        whole = []
        left = [[line for line in row if line.left < cut] for row in rows[at:end]]
        right = [[line for line in row if line.left >= cut] for row in rows[at:end]]
        for side in (left, right):
            columns += _columns([row for row in side if row], unit)
        at = end
    return columns + ([whole] if whole else [])


def _longest_with_gap(rows: list[list[Line]], start: int, unit: float) -> tuple[float | None, int]:
    """The gap between two columns of prose that begin in row `start`: where it is and in which row it ends."""
    # The lines of two columns need not stand on one level: then the first two rows hold one line each.
    first = sorted(chain(*rows[start : start + 2]), key=lambda line: line.left)
    for one, other in pairwise(first):
        low, high = one.right, other.left
        end, filled = start, []
        while end < len(rows) and (end == start or _space_above(rows, end) < _SECTION_GAP * unit):
            lefts = [line for line in rows[end] if (line.left + line.right) / 2 < (low + high) / 2]
            rights = [line for line in rows[end] if line not in lefts]
            new_low = max([low, *(line.right for line in lefts)])
            new_high = min([high, *(line.left for line in rights)])
            if new_high - new_low < _COLUMN_GAP * unit:
                break
            low, high = new_low, new_high
            filled.append((lefts, rights))
            end += 1
        sides = [[line for pair in filled for line in pair[side]] for side in (0, 1)]
        if all(len(side) >= _COLUMN_ROWS and _is_prose(side, unit) for side in sides):
            return (low + high) / 2, end
    return None, start


def _space_above(rows: list[list[Line]], at: int) -> float:
    return min(line.top for line in rows[at]) - max(line.bottom for line in rows[at - 1])


def _is_prose(side: Sequence[Line], unit: float) -> bool:
    return median(line.right - line.left for line in side) >= _COLUMN_WIDTH * unit


def _column(rows: Sequence[Sequence[Line]], unit: float) -> str:
    text = ""
    bottom = None
    for row in rows:
        top = min(line.top for line in row)
        if bottom is not None:
            text += "\n\n" if top - bottom > _PARAGRAPH_GAP * unit else "\n"
        text += " ".join(line.text.strip() for line in row)
        bottom = max(line.bottom for line in row)
    return text
