"""Plain text: the decoded file as it is; its paragraphs are the blocks."""

from __future__ import annotations

from ragkit.readers.base import check_length, decode, paragraphs, without_text
from ragkit.schema import Block, Parsed


def parse(data: bytes) -> Parsed:
    """Read a text file. Headings are not guessed: a wrong one would cut and mislabel what follows."""
    check_length(len(data) // 4)  # no encoding takes more than four bytes a character
    text, encoding = decode(data)
    check_length(len(text))
    blocks = tuple(Block(start, end) for start, end in paragraphs(text))
    if not blocks:
        raise without_text(text)
    return Parsed(text, blocks, encoding=encoding)
