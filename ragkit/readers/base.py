"""What the readers share: bytes to text, text made clean, blocks with exact offsets, limits.

Nothing here knows of a file format.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from ragkit.errors import BrokenFile, FileTooLarge, NoText
from ragkit.schema import Block, BlockKind, Parsed

MAX_BYTES = 200_000_000  # of the file
MAX_CHARS = 20_000_000  # of the text in it: some forty thick books; more is a dump or a bomb
MAX_HEADING_CHARS = 200  # a longer one is a paragraph: misused heading styles, dashes below a paragraph

_NEWLINES = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")  # all that str.splitlines() takes for a line's end
# Control characters, lone surrogates, BOMs (concatenated files carry them inside) and non-characters.
_DROPPED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# ESC, BS and the separators are not counted: logs with colours are text.
_BINARY = re.compile("[\x00-\x07\x0e-\x1a]")
_BINARY_SHARE = 0.02  # random bytes hold 0.09 of these

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an Office file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.doc, .xls, .ppt)"),
    (b"{\\rtf", "an RTF file"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
)
_BLANK_LINE = re.compile(r"\n[ \t\u00a0\u3000]*\n\s*")


def looks_like(data: bytes) -> str:
    """Name the kind of file that `data` begins like, or ""."""
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")


def mislabelled(data: bytes, expected: str) -> BrokenFile:
    """The error for a file whose content is not what its name says."""
    kind = looks_like(data)
    return BrokenFile(
        f"This is not {expected}" + (f" but {kind}." if kind else ", or it is damaged."),
        "Give it the right file extension." if kind else "Open and save it again, or fetch a fresh copy.",
    )


def clean(text: str) -> str:
    r"""Normalise newlines to \n; drop what cannot be shown, keep everything else as it is."""
    return _NEWLINES.sub("\n", _DROPPED.sub("", text))


def decode(data: bytes, *, declared: str = "") -> tuple[str, str]:
    """Decode by rule and clean: BOM, what the document declares, UTF-8, GB18030; with the encoding's name.

    Never by statistics alone (8 bytes of GB18030 were once taken for cp949), never with lost bytes.
    """
    if looks_like(data):
        raise mislabelled(data, "a text file")
    bom = next((name for mark, name in _BOMS if data.startswith(mark)), "")
    for encoding in (bom,) if bom else filter(None, (declared, "utf-8", "gb18030")):
        if encoding == "gb18030" and encoding != declared and _is_damaged_utf8(data):
            break
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(_BINARY.findall(text)) > _BINARY_SHARE * len(text):
            raise BrokenFile("This is not a text file: it is full of control characters.", _SAVE_AS_UTF8)
        return clean(text), encoding
    raise BrokenFile("The text is damaged, or in an encoding that is not known here.", _SAVE_AS_UTF8)


_SAVE_AS_UTF8 = "If it is text, open it in an editor and save it as UTF-8."


def _is_damaged_utf8(data: bytes) -> bool:
    """GB18030 decodes most broken UTF-8 without complaint, into garbage: tell such a file by its whole
    three-byte sequences, which are rare in true GB18030 (1 in 100 characters)."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    whole = len(re.findall("[\u0800-\ufffc\U00010000-\U0010ffff]", text))
    return whole > broken


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
