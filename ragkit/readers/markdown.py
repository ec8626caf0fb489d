"""Markdown: the decoded file as it is, scanned line by line for headings, fences, tables and paragraphs.

A scanner of our own, because a Markdown parser gives trees and HTML, not places in the source.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from ragkit.readers.base import MAX_HEADING_CHARS, Outline, text_of, trim, without_text
from ragkit.schema import Block, BlockKind, Parsed

_FRONT_MATTER = re.compile(
    r"---[ \t]*\n(?=\s*(?:#[^\n]*\n\s*)*[\w-]+[ \t]*:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S
)
_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+?)[ \t]*$", re.M | re.I)
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_HTML_HEADING = re.compile(r"[ \t]*<h([1-6])\b[^>]*>(.*)</h\1>[ \t]*$", re.I)
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
# Inside lists and quotations too, at any depth: a "# comment" in such a listing is no heading.
_FENCE = re.compile(r"(?:[ \t>]|[-*+][ \t]|\d{1,9}[.)][ \t])*(`{3,}|~{3,})(.*)$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_DELIMITER_ROW = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_COMMENT = re.compile(r"[ \t]*<!--.*?-->", re.S)
_LIST_OR_QUOTE = re.compile(r"[ \t]*(?:>|[-*+][ \t]|\d{1,9}[.)][ \t])")


class _Line(NamedTuple):
    start: int
    end: int  # before its newline
    text: str


def parse(data: bytes) -> Parsed:
    """Read a Markdown file; its title is the front matter's, else the first top heading's."""
    text, encoding = text_of(data)
    front = _FRONT_MATTER.match(text)
    scanner = Scanner(text, front.end() if front else 0)
    blocks = tuple(scanner.blocks())
    if not blocks:
        raise without_text(text)
    named = _TITLE.search(front[1]) if front else None
    title = plain_heading(named[1].strip("\"'")) if named else ""
    return Parsed(text, blocks, title or scanner.first_top_heading, encoding)


class Scanner:
    """Finds the blocks of `text` from `start` on, under the headings that `outline` stands at."""

    def __init__(self, text: str, start: int = 0, *, outline: Outline | None = None) -> None:
        self._text = text
        self._at = start
        self._outline = outline or Outline()
        self.first_top_heading = ""

    def blocks(self) -> Iterator[Block]:
        text = self._text
        while self._at < len(text):
            if comment := _COMMENT.match(text, self._at):
                self._at = comment.end()
                continue
            line = self._take()
            if not line.text.strip() or _RULE.match(line.text):
                continue
            if fence := _opening_fence(line.text):
                yield from self._block(line.start, self._fence_end(fence, line.end), "code")
            elif heading := _ATX.match(line.text):
                yield from self._heading(line.start, line.end, len(heading[1]), heading[2] or "")
            elif heading := _HTML_HEADING.match(line.text):
                yield from self._heading(line.start, line.end, int(heading[1]), heading[2])
            elif self._is_table(line):
                yield from self._block(line.start, self._table_end(), "table")
            else:
                yield from self._paragraph(line)

    def _line_at(self, at: int) -> _Line:
        end = self._text.find("\n", at)
        end = len(self._text) if end < 0 else end
        return _Line(at, end, self._text[at:end])

    def _take(self) -> _Line:
        line = self._line_at(self._at)
        self._at = line.end + 1
        return line

    def _block(self, start: int, end: int, kind: BlockKind) -> Iterator[Block]:
        start, end = trim(self._text, start, end)
        if start < end:
            yield Block(start, end, kind, heading=self._outline.path)

    def _heading(self, start: int, end: int, level: int, raw: str) -> Iterator[Block]:
        words = plain_heading(raw) if len(raw) <= 10 * MAX_HEADING_CHARS else ""
        if not words:  # a logo or a badge alone heads nothing
            yield from self._block(start, end, "text")
            return
        if level == 1:
            self.first_top_heading = self.first_top_heading or words
        self._outline.enter(level, words)
        yield from self._block(start, end, "heading")

    def _fence_end(self, fence: str, end: int) -> int:
        """Take lines to the closing fence, or to the end of the document, as CommonMark does."""
        closing = re.compile(rf"[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
        while self._at < len(self._text):
            line = self._take()
            end = line.end
            if closing.match(line.text):
                break
        return end

    def _is_table(self, line: _Line) -> bool:
        if "|" not in line.text or self._at >= len(self._text):
            return False
        below = self._line_at(self._at).text
        return "|" in below and _DELIMITER_ROW.match(below) is not None

    def _table_end(self) -> int:
        end = self._take().end  # the delimiter row
        while self._at < len(self._text):
            line = self._line_at(self._at)
            if not line.text.strip() or "|" not in line.text or self._interrupts(line):
                break
            end = self._take().end
        return end

    def _paragraph(self, first: _Line) -> Iterator[Block]:
        """Take lines to a blank one or to the start of something else; an underlined one is a heading."""
        end = first.end
        while self._at < len(self._text):
            line = self._line_at(self._at)
            underline = _SETEXT.match(line.text)
            if (
                underline
                and end - first.start <= MAX_HEADING_CHARS
                and not _LIST_OR_QUOTE.match(first.text)
                and plain_heading(self._text[first.start : end])
            ):
                self._take()
                level = 1 if underline[1][0] == "=" else 2
                yield from self._heading(first.start, line.end, level, self._text[first.start : end])
                return
            if not line.text.strip() or self._interrupts(line) or self._starts_table(line):
                break
            end = self._take().end
        yield from self._block(first.start, end, "text")

    def _starts_table(self, line: _Line) -> bool:
        after = min(line.end + 1, len(self._text))
        below = self._line_at(after).text
        return "|" in line.text and "|" in below and _DELIMITER_ROW.match(below) is not None

    def _interrupts(self, line: _Line) -> bool:
        return bool(
            _ATX.match(line.text)
            or _HTML_HEADING.match(line.text)
            or _RULE.match(line.text)
            or _opening_fence(line.text)
            or _COMMENT.match(self._text, line.start)
        )


def _opening_fence(line: str) -> str:
    """The fence that `line` opens, or "": after backticks, `a` means code within a line."""
    fence = _FENCE.match(line)
    return "" if fence is None or (fence[1][0] == "`" and "`" in fence[2]) else fence[1]


_HEADING_MARKUP = (
    (re.compile(r"[ \t]+#+[ \t]*$|^#+[ \t]*$"), ""),  # closing #s
    (re.compile(r"\{[#.:][^{}]*\}[ \t]*$"), ""),  # {#anchor}
    (re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])"), ""),  # images, and with them badges
    (re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])"), r"\1"),
    (re.compile(r"<(https?://[^<>\s]+)>"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->"), ""),
    (re.compile(r"(`+)(.+?)\1"), r"\2"),
    # Emphasis; "2 * 3" and snake_case stay.
    (re.compile(r"(?<!\\)\*+(?=\S)|(?<=[^\s\\])\*+|~~|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)"), ""),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def plain_heading(raw: str) -> str:
    """The words of a heading without their markup; emoji are words."""
    for pattern, words in _HEADING_MARKUP:
        raw = pattern.sub(words, raw)
    return " ".join(html.unescape(raw).split())
