"""CSV and its relatives: the separator is told from the content; the rows are the lines of one table."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from itertools import islice

from ragkit.readers.base import MAX_CHARS, TextBuilder, text_of, without_text
from ragkit.readers.tables import table_text
from ragkit.schema import Parsed

_SEPARATORS = "\t;,|"  # the first of equals: a comma stands in numbers and in prose, a tab does not
_SAMPLE_CHARS = 65_536
_SAMPLE_ROWS = 200
_SEPARATOR_LINE = re.compile(r"\s*sep=([,;\t|:])\n", re.I)  # for Excel, which does not show it


def parse(data: bytes) -> Parsed:
    """Read a .csv or .tsv. Where its quotes do not close, they are taken for ordinary characters."""
    text, encoding = text_of(data)
    if not text.strip():
        raise without_text(text)
    told = _SEPARATOR_LINE.match(text)
    if told:
        text, separator = text[told.end() :], told[1]
    else:
        separator = _separator(text)
    rows = _rows(text, separator)
    builder = TextBuilder()
    builder.add(table_text(rows), "table")
    return builder.build(
        encoding=encoding, hint_if_empty="There are separators in it, but all cells are empty."
    )


def _rows(text: str, separator: str) -> list[list[str]]:
    csv.field_size_limit(MAX_CHARS)
    # A line that an open quotation mark would swallow; `clean` leaves no such character in the text.
    reader = csv.reader(io.StringIO(f"{text}\n\0", newline=""), delimiter=separator, skipinitialspace=True)
    rows = [[" ".join(cell.split()) for cell in row] for row in reader]
    if rows.pop() != ["\0"]:
        plain = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=csv.QUOTE_NONE)
        rows = [[" ".join(cell.split()) for cell in row] for row in plain]
    return rows


def _separator(text: str) -> str:
    """The separator that cuts most of the first rows into one number of cells, more than one."""
    sample = text[:_SAMPLE_CHARS]
    if len(sample) < len(text):  # the last line is cut
        sample = sample[: sample.rfind("\n") + 1] or sample
    return max(_SEPARATORS, key=lambda separator: _agreement(sample, separator))


def _agreement(sample: str, separator: str) -> tuple[float, int, int]:
    """The share of rows with the commonest number of cells unless that is one, the number of cells in the
    header, and the commonest number."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator, skipinitialspace=True)
    rows = list(islice(reader, _SAMPLE_ROWS))
    lengths = [len(row) for row in rows if any(row)] or [len(row) for row in rows] or [1]
    cells, agreeing = max(Counter(lengths).items(), key=lambda item: (item[1], item[0]))
    return agreeing / len(lengths) if cells > 1 else 0.0, lengths[0], cells
