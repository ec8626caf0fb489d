"""JSON and JSON Lines: each value on a line behind the path of its keys, lists of flat objects as tables.

`model.layers[3].name: attention` is found by its words and read without the braces around it. Numbers stay as
they are written, repeated keys and the order of keys too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ragkit.errors import BrokenFile, FileTooLarge, TruncatedFile
from ragkit.readers.base import (
    MAX_HEADING_CHARS,
    TextBuilder,
    check_length,
    clean,
    one_line,
    text_of,
    without_text,
)
from ragkit.readers.tables import table_text
from ragkit.schema import Parsed

_BLANK = re.compile(r"[\s\x1e]*")  # RFC 7464 puts a record separator before each text
_PLAIN_KEY = re.compile(r"[\w-]+")
_SHORT = 200  # characters: a list that is shown on one line, a cell of a table
_FILLED = 0.5  # of the cells of what is shown as a table


class Object(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, so that repeated keys are kept."""


class Literal(str):
    """A number as it is written, or true, false, null: no text."""


def parse(data: bytes) -> Parsed:
    """Read a .json, .jsonl or .ndjson file; its title is the one that its top object has."""
    text, encoding = text_of(data)
    if not text.strip():
        raise without_text(text)
    values = list(documents(text, Object))
    writer = _Writer()
    writer.write(values[0] if len(values) == 1 else values)
    title = next((v for k, v in _pairs(values[0]) if k == "title" and type(v) is str), "")
    title = one_line(title)
    return writer.text.build(
        title=title if len(title) <= MAX_HEADING_CHARS and len(values) == 1 else "",
        encoding=encoding,
        hint_if_empty="Its objects and lists are all empty.",
    )


def documents(text: str, pairs: Callable[[list[tuple[str, Any]]], Any]) -> Iterator[Any]:
    """Yield the JSON values in a text, one in most files, one a line in JSON Lines. Raises ReadError."""
    decoder = json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=Literal, parse_float=Literal, parse_constant=Literal, strict=False
    )
    at = _end_of_blank(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            if _is_cut_off(error):
                raise TruncatedFile(
                    f"This JSON ends in the middle of a value, begun or missing at {place}.",
                    "Fetch or export it again.",
                ) from error
            raise BrokenFile(
                f"This JSON is damaged at {place}: {error.msg}.", "Correct it there, or export it again."
            ) from error
        except RecursionError as error:
            raise FileTooLarge(
                "This JSON is nested too deep: about a thousand levels or more.", "Flatten it, or split it."
            ) from error
        yield value
        at = _end_of_blank(text, at)


def _is_cut_off(error: json.JSONDecodeError) -> bool:
    """Whether the text ended too early: there would be no error if it went on in the right way."""
    rest = error.doc[error.pos :].rstrip()
    words = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
    is_begun = any(word.startswith(rest) for word in words) or bool(re.fullmatch(r"\.|[eE][+-]?", rest))
    is_escape = error.msg.startswith("Invalid \\") and len(rest) < len("\\u0000")
    return is_begun or is_escape or error.msg.startswith("Unterminated string")


def _end_of_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    return value if isinstance(value, Object) else ()


class _Writer:
    """Walks values without recursion and collects blocks: one for each object in a list and each value of
    the top object that has parts of its own."""

    def __init__(self) -> None:
        self.text = TextBuilder()
        self._lines: list[str] = []
        self._group = ""  # the path that they have in common
        self._chars = 0

    def write(self, root: Any) -> None:
        waiting: list[tuple[str, Any]] = [("", root)]
        while waiting:
            path, value = waiting.pop()
            if not isinstance(value, (Object, list)):
                self._line(path, _shown(value))
            elif table := _table(value):
                self._flush()
                heading = (path[:MAX_HEADING_CHARS],) if path else ()
                self.text.add(path[:MAX_HEADING_CHARS], "heading", heading=heading)
                self.text.add(table_text(table), "table", heading=heading)
            elif joined := _joined(value):
                self._line(path, joined)
            else:
                if path == "" or path.endswith("]") or not re.search(r"[.\[]", path):
                    self._flush(path)
                parts = [*_parts(path, value)]
                self._chars += sum(len(inner) for inner, _ in parts)  # paths grow with the depth
                check_length(self._chars)
                waiting += reversed(parts)
        self._flush()

    def _line(self, path: str, shown: str) -> None:
        if not path.startswith(self._group):
            self._flush()
        self._lines.append(f"{path}: {shown}" if path else shown)
        self._chars += len(self._lines[-1])
        check_length(self._chars)

    def _flush(self, group: str = "") -> None:
        self._group = group
        self.text.add("\n".join(self._lines))
        self._lines.clear()


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Object):
        for key, inner in value:
            name = one_line(key)
            if _PLAIN_KEY.fullmatch(name):
                yield f"{path}.{name}" if path else name, inner
            else:
                yield f"{path}[{json.dumps(name, ensure_ascii=False)}]", inner
    else:
        for place, inner in enumerate(value):
            yield f"{path}[{place}]", inner


def _shown(value: Any) -> str:
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    return clean(str(value))


def _joined(value: Any) -> str:
    """A list without parts of its own on one line, an empty object or list as its brackets, or ""."""
    if not value:
        return "{}" if isinstance(value, Object) else "[]"
    if isinstance(value, Object) or len(value) > _SHORT or any(map(_has_parts, value)):
        return ""
    shown = [_shown(one) for one in value]
    line = ", ".join(shown)
    return line if len(line) <= _SHORT and "\n" not in line and all(shown) else ""


def _has_parts(value: Any) -> bool:
    return isinstance(value, (Object, list))


def _table(value: Any) -> list[list[str]]:
    """The rows of a list of two or more flat objects with much the same keys and short values, or []."""
    if not isinstance(value, list) or len(value) < 2:
        return []
    columns: dict[str, int] = {}
    rows: list[dict[str, str]] = []
    filled = 0
    for one in value:
        if not isinstance(one, Object) or not one or any(_has_parts(inner) for _, inner in one):
            return []
        row = {one_line(key): _shown(inner) for key, inner in one}
        if len(row) < len(one) or any(len(cell) > _SHORT or "\n" in cell for cell in row.values()):
            return []
        for key in row:
            columns.setdefault(key, len(columns))
        rows.append(row)
        filled += len(row)
    if "" in columns or filled < _FILLED * len(columns) * len(rows):
        return []
    return [list(columns), *([one_line(row.get(key, "")) for key in columns] for row in rows)]
