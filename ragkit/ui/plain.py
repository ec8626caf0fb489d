"""Where a text in Markdown has signs that its reader can do without. Pure; changes no text."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from ragkit.schema import Hit

_MARKDOWN: Final = frozenset({".md", ".markdown", ".mdx", ".rmd", ".qmd"})
# Only a link's brackets are taken, and a heading's number signs: what they enclose has signs of its own.
_SIGNS: Final = re.compile(
    r"(?P<fence>^[ \t]*(?:```|~~~).*$\n?)"
    r"|(?P<rule>^[ \t]*(?:\|?[ \t]*:?-{3,}:?[ \t]*(?:\|[ \t:|-]*)?|\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*)$\n?)"
    r"|(?P<heading>^[ \t]*#{1,6}[ \t]+)(?=(?P<title>[^\n]*)\n?)"
    r"|\\(?P<escaped>[\\`*_|#\[\]])"
    r"|(?P<tick>(?<!`)(?:`{1,2})(?!`))(?P<code>[^`\n]+)(?P=tick)(?!`)"
    r"|(?P<strong>\*\*(?=\S)|(?<=\S)\*\*)"  # not __: it stands in Python's names more often
    r"|(?<![\w*])(?P<star>\*)(?=[^\s*][^*\n]*(?<=[^\s*])\*(?![\w*]))"
    r"|(?<=[^\s*])(?P<star_end>\*)(?![\w*])"
    r"|(?<!\w)(?P<line>_)(?=[^\s_][^_\n]*(?<=[^\s_])_(?!\w))"
    r"|(?<=[^\s_])(?P<line_end>_)(?!\w)"
    r"|!?\[(?=[^\]\n]{0,200}(?P<target>\]\([^)\s]{0,2000}\)))"
    r"|(?P<bar>\|)",
    re.M,
)
_LONGEST = (
    2_000_000  # characters; a longer text is a dump, and its signs would be looked for at every page of it
)
_CELLS = "·"  # stands between two cells of a table's row


class Sign(NamedTuple):
    """A stretch that only says how a text is to be set, and what is shown in its place."""

    start: int
    end: int
    instead: str = ""


def signs(hit: Hit) -> list[Sign]:
    """Those of a passage, in order, without a heading that stands above its card already."""
    return signs_of(hit.text, hit.source, hit.heading)


def signs_of(text: str, source: str, heading: Sequence[str] = ()) -> list[Sign]:
    """The signs of headings, strong words, code, links and tables in a text, in order and apart, and its headings
    where they are the last of `heading`. None of other kinds of file than Markdown."""
    if PurePosixPath(source).suffix.lower() not in _MARKDOWN or len(text) > _LONGEST:
        return []
    found = sorted(one for one in _found(text, heading) if one.start < one.end)
    apart: list[Sign] = []
    for one in found:
        if not apart or one.start >= apart[-1].end:
            apart.append(one)
    return apart


def _found(text: str, heading: Sequence[str]) -> Iterator[Sign]:
    in_code = False
    line = _Line(0, 0, 0, -1)
    opened: dict[str, bool] = {}  # whether a sign of this kind waits for the one that ends it
    for found in _SIGNS.finditer(text):
        kind = found.lastgroup or ""
        if kind == "fence":
            in_code = not in_code
            yield Sign(*found.span())
        elif in_code:
            continue
        elif kind == "title":
            is_told = bool(heading) and found["title"].strip(" #") == heading[-1]
            stop = _next_line(text, found.end("title")) if is_told else found.end("heading")
            yield Sign(found.start(), stop)
        elif kind == "code":
            low, high = found.span("code")
            yield Sign(found.start(), low)
            yield Sign(high, found.end())
        elif kind == "escaped":
            yield Sign(found.start(), found.start() + 1)
        elif kind == "target":
            yield Sign(*found.span())
            yield Sign(*found.span("target"))
        elif kind in ("star", "line"):
            opened[kind] = True
            yield Sign(*found.span())
        elif kind in ("star_end", "line_end"):
            if opened.pop(kind.removesuffix("_end"), False):
                yield Sign(*found.span())
        elif kind == "bar":
            if found.start() >= line.end:
                line = _line_of(text, found.start())
            yield from _bar(text, found.start(), line)
        else:
            yield Sign(*found.span())


def _bar(text: str, at: int, line: _Line) -> Iterator[Sign]:
    """A bar of a table's row: the outer ones go, an inner one becomes a dot; in any other line it is a character."""
    if text[line.first] != "|" or text[line.last] != "|":
        return
    if at == line.first:
        yield Sign(line.start, at + 1 + text.startswith(" ", at + 1))
    elif at == line.last:
        yield Sign(at - (text[at - 1] == " "), at + 1)
    else:
        yield Sign(at, at + 1, _CELLS)


class _Line(NamedTuple):
    start: int
    first: int  # character that is no blank
    last: int
    end: int


def _line_of(text: str, at: int) -> _Line:
    start, found = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    end = len(text) if found < 0 else found
    line = text[start:end]
    return _Line(start, end - len(line.lstrip()), start + len(line.rstrip()) - 1, end)


def _next_line(text: str, at: int) -> int:
    """Past the blank lines that would be left behind."""
    return at + len(text[at:]) - len(text[at:].lstrip("\n"))


def without(text: str, low: int, high: int, hidden: Iterable[Sign]) -> str:
    """`text[low:high]` as it is read: without its signs, which are in order."""
    kept: list[str] = []
    for start, end, instead in hidden:
        if low < end and start < high:
            kept += [text[low : max(low, start)], instead if start >= low else ""]
            low = min(end, high)
    return "".join([*kept, text[low:high]])


def within(hidden: Sequence[Sign], low: int, high: int) -> list[Sign]:
    """The signs of a text that lie in `text[low:high]`, counted from there."""
    first = bisect_right(hidden, low, key=lambda one: one.end)
    last = bisect_left(hidden, high, key=lambda one: one.start)
    return [
        Sign(max(start, low) - low, min(end, high) - low, instead if start >= low else "")
        for start, end, instead in hidden[first:last]
    ]
