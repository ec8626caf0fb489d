"""Plain text: the decoded file as it is; its paragraphs are the blocks."""

from __future__ import annotations

from ragkit.readers.base import paragraphs, text_of, without_text
from ragkit.schema import Block, Parsed


def parse(data: bytes) -> Parsed:
    """Read a text file. Headings are not guessed: a wrong one would cut and mislabel what follows."""
    text, encoding = text_of(data)
    blocks = tuple(Block(start, end) for start, end in paragraphs(text))
    if not blocks:
        raise without_text(text)
    return Parsed(text, blocks, encoding=encoding)
