"""What the readers share: bytes to text, text made clean, blocks with exact offsets, limits.

Nothing here knows of a file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragkit.errors import EmptyFile, FileTooLarge, NoText
from ragkit.readers.encodings import known, to_text
from ragkit.readers.kinds import looks_like as looks_like
from ragkit.readers.kinds import mislabelled as mislabelled
from ragkit.schema import Block, BlockKind, Parsed

MAX_BYTES = 200_000_000  # of the file
MAX_CHARS = 20_000_000  # of the text in it: some forty thick books; more is a dump or a bomb
MAX_HEADING_CHARS = 200  # a longer one is a paragraph: misused heading styles, dashes below a paragraph

_NEWLINES = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")  # all that str.splitlines() takes for a line's end
# Control characters, lone surrogates, BOMs (concatenated files carry them inside) and non-characters.
_DROPPED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_BLANK_LINE = re.compile(r"\n[ \t\u00a0\u3000]*\n\s*")


def clean(text: str) -> str:
    r"""Normalise newlines to \n; drop what cannot be shown, keep everything else as it is."""
    return _NEWLINES.sub("\n", _DROPPED.sub("", text))


def clean_places(text: str) -> list[int]:
    """The place in `text` of every character of `clean(text)`."""
    kept = [at for at, char in enumerate(text) if not _DROPPED.match(char)]
    stripped = "".join(text[at] for at in kept)
    places: list[int] = []
    at = 0
    for newline in _NEWLINES.finditer(stripped):
        places += kept[at : newline.start() + 1]
        at = newline.end()
    return places + kept[at:]


def decode(data: bytes, *, declared: str = "") -> tuple[str, str]:
    """Decode by the rules of `encodings.to_text` and clean; with the encoding's name.

    `declared` is what the document says that its encoding is, in the document's own words.
    """
    if looks_like(data):
        raise mislabelled(data, "a text file")
    text, encoding = to_text(data, known(declared))
    return clean(text), encoding


def text_of(data: bytes, *, declared: str = "") -> tuple[str, str]:
    """`decode` a file that is text as a whole, and refuse one that is too long, before it is decoded where that shows."""
    check_length(len(data) // 4)  # no encoding takes more than four bytes a character
    text, encoding = decode(data, declared=declared)
    check_length(len(text))
    return text, encoding


def without_text(text: str, hint: str = "") -> EmptyFile | NoText:
    """The error for a document that gave no block: white space alone, or content without words."""
    if text.strip():
        return NoText("There is no text in this file.", hint or "Check that it is the right one.")
    return EmptyFile(
        "There is no text in this file, only white space.", hint or "Check that it is the right one."
    )


def paragraphs(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the spans between blank lines, trimmed."""
    stop = len(text) if end is None else end
    at = start
    while at < stop:
        gap = _BLANK_LINE.search(text, at, stop)
        low, high = trim(text, at, gap.start() if gap else stop)
        if low < high:
            yield low, high
        at = gap.end() if gap else stop


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Narrow a span to leave out white space at its ends; an empty span if there is nothing else."""
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return start, max(start, end - (len(inner) - len(inner.rstrip())))


def one_line(text: str) -> str:
    """Clean text on a single line, for titles, headings and table cells."""
    return " ".join(clean(text).split())


class Outline:
    """The path of headings above the current place."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        self._stack.append((level, heading))

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(heading for _, heading in self._stack)


class TextBuilder:
    """Builds the text of a document out of its blocks and remembers exactly where each one lies."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []

    def add(
        self,
        text: str,
        kind: BlockKind = "text",
        *,
        heading: tuple[str, ...] = (),
        page: int | None = None,
        gap: str = "\n\n",
    ) -> bool:
        """Append a block after `gap`; blank text is passed over. Tell whether there was text."""
        block = clean(text).strip("\n").rstrip()
        if not block.strip():
            return False
        if self._parts:
            self._parts.append(gap)
            self._length += len(gap)
        start, self._length = self._length, self._length + len(block)
        check_length(self._length)
        self._parts.append(block)
        self._blocks.append(Block(start, self._length, kind, page, heading))
        return True

    def build(self, *, title: str = "", encoding: str | None = None, hint_if_empty: str = "") -> Parsed:
        """Return the document; without a single block that is NoText."""
        if not self._blocks:
            raise NoText("There is no text in this file.", hint_if_empty)
        return Parsed("".join(self._parts), tuple(self._blocks), title, encoding)


def check_length(chars: int) -> None:
    """Refuse text that is longer than MAX_CHARS."""
    if chars > MAX_CHARS:
        raise FileTooLarge(
            f"The file holds more than {MAX_CHARS // 1_000_000} million characters of text.",
            "Split it into smaller files.",
        )
