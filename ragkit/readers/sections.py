"""Text with headings on lines of their own: what reStructuredText, LaTeX and Org have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ragkit.readers.base import MAX_HEADING_CHARS, Outline, one_line, paragraphs, text_of, trim, without_text
from ragkit.schema import Block, Parsed


class Heading(NamedTuple):
    """A heading, and how many lines it takes. Level 0 is the title of the document."""

    level: int
    words: str
    lines: int = 1


FindHeading = Callable[[Sequence[str], int], Heading | None]
"""Tell whether a heading begins at that line."""


def parse_sections(data: bytes, find: FindHeading) -> Parsed:
    """Decode, and cut at the headings that `find` finds; the rest are paragraphs."""
    text, encoding = text_of(data)
    lines = text.split("\n")
    outline = Outline()
    blocks: list[Block] = []
    title = first_top = ""
    top_level = 0
    number = start = at = 0  # the line, the end of the last heading, where the line begins
    while number < len(lines):
        heading = find(lines, number)
        size = sum(len(line) + 1 for line in lines[number : number + (heading.lines if heading else 1)])
        words = one_line(heading.words) if heading else ""
        if heading and 0 < len(words) <= MAX_HEADING_CHARS:
            blocks += _paragraphs(text, start, at, outline.path)
            if heading.level == 0:
                title = title or words
            elif not first_top or heading.level < top_level:
                first_top, top_level = words, heading.level
            outline.enter(heading.level, words)
            low, high = trim(text, at, min(at + size, len(text)))
            blocks.append(Block(low, high, "heading", heading=outline.path))
            start = at + size
            number += heading.lines
        else:
            size = len(lines[number]) + 1
            number += 1
        at += size
    blocks += _paragraphs(text, start, len(text), outline.path)
    if not blocks:
        raise without_text(text)
    return Parsed(text, tuple(blocks), title or first_top, encoding)


def _paragraphs(text: str, start: int, end: int, path: tuple[str, ...]) -> list[Block]:
    return [Block(low, high, heading=path) for low, high in paragraphs(text, start, min(end, len(text)))]
