"""Blocks to chunks: whole sentences, packed greedily, restarted at every heading; exact slices of the text.

Greedy packing plus a hash of what is embedded is enough for small updates: after an edit the chunks fall back
into step at the next heading, and mostly at the next paragraph.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from hashlib import blake2b
from itertools import accumulate

from ragkit.schema import Block, Chunk, Parsed, Span
from ragkit.text import is_cjk, mask, sentences

CHUNKER_VERSION = 3
"""Raise it when `chunk` or `index_text` changes: documents are then cut and embedded again."""

# 400 CJK characters, or 1,000 others: about 230 tokens of English, which together with title and headings
# stay under the 256 that all-MiniLM reads. From 150 to 400 characters recall at an equal context budget
# differs by a point or two (cmrc2018, drcd), so the larger one wins: fewer vectors.
BUDGET = 400.0
CJK_UNITS, OTHER_UNITS = 1.0, 0.4
# A paragraph or table that does not fit starts a new chunk once the one in hand is this full: the cut falls
# where the author cut, and after an edit the chunks fall back into step there. Without it a paragraph
# inserted into text without headings changed 9 of 150 chunks on the average, 92 at worst (cmrc2018).
ENOUGH = 0.4 * BUDGET
# A shorter chunk says too little to be found by its vector; its neighbour may grow by as much to take it.
TINY = 0.1 * BUDGET
# A table's header is repeated in the index text of each of its parts, and the parts are that much smaller.
# Of a longer header as many whole cells are repeated as this holds, and of a row that was cut itself those
# above the cells of the part.
MAX_HEADER = 0.5 * BUDGET

_CELL = re.compile(r"\|[ \t]*")
_CUTS = (re.compile(r"[，；：、]|[,;:](?=\s)"), re.compile(r"\s"))
# What continues the character before it: joiner, Hangul vowels and finals, skin tones, tags of flags.
_CONTINUES = re.compile("[\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_FLAG_HALVES = re.compile("[\U0001f1e6-\U0001f1ff]*$")
_LINE = re.compile("[^\n]+")
_WORD = re.compile(r"\w")

_CELL_CUTS = (_CELL, *_CUTS)


def chunk(parsed: Parsed) -> list[Chunk]:
    """Cut a document into chunks, in order, without overlap; text that is nothing but markup is left out."""
    packer = _Packer(parsed.text)
    chunks = []
    for section in _sections(parsed.blocks):
        page, heading = section[-1].page, section[-1].heading
        for start, end in packer.pack(section):
            lead = packer.table_header(_block_at(section, start), start)
            body = _plain(lead + parsed.text[start:end])
            if _WORD.search(body):
                indexed = _headed(parsed.title, heading, body)
                digest = blake2b(indexed.encode(), digest_size=16).hexdigest()
                chunks.append(Chunk(start, end, page, heading, indexed, digest, lead))
    return chunks


def index_text(title: str, heading: tuple[str, ...], text: str) -> str:
    """What is embedded and searched: title, heading path, and the text without its markup.

    Never the file name, so that a renamed file costs nothing.
    """
    return _headed(title, heading, _plain(text))


def _plain(text: str) -> str:
    return " ".join(mask(text).split())


def _headed(title: str, heading: tuple[str, ...], body: str) -> str:
    path = heading[1:] if heading[:1] == (title,) else heading
    return "\n".join(filter(None, (title, " > ".join(path), body)))


def _sections(blocks: tuple[Block, ...]) -> Iterator[list[Block]]:
    """Group the blocks between which a chunk may run on: one heading, one page."""
    section: list[Block] = []
    for block in blocks:
        if section and not _continues(section, block):
            yield section
            section = []
        section.append(block)
    if section:
        yield section


def _block_at(section: list[Block], start: int) -> Block:
    return section[bisect_right(section, start, key=lambda block: block.start) - 1]


def _continues(section: list[Block], block: Block) -> bool:
    last = section[-1]
    if block.page != last.page:
        return False
    if block.kind != "heading":
        return block.heading == last.heading
    # A heading with nothing of its own goes with the first section below it, which is about it.
    is_below = len(block.heading) > len(last.heading) and block.heading[: len(last.heading)] == last.heading
    return is_below and all(above.kind == "heading" for above in section)


class _Packer:
    """Cuts the sections of one text; knows what its characters weigh."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._weights = {char: CJK_UNITS if is_cjk(char) else OTHER_UNITS for char in set(text)}
        self._cells: dict[int, int] = {}  # by the start of a row's later part: the column that it begins in
        # By the start of a table: where its header ends and what of it is repeated weighs at most; where its
        # header's cells begin.
        self._headers: dict[int, tuple[int, float]] = {}
        self._header_cells: dict[int, list[int]] = {}

    def pack(self, section: list[Block]) -> list[Span]:
        """Cut a section into the spans of its chunks."""
        spans: list[Span] = []
        for start, end in self._fill(section):
            if spans:
                first, last = spans[-1]
                is_tiny = min(self._units(first, last), self._units(start, end)) < TINY
                room = BUDGET + TINY - self._header_units(_block_at(section, first), first)
                if is_tiny and self._units(first, end) <= room:
                    spans[-1] = (first, end)
                    continue
            spans.append((start, end))
        return spans

    def table_header(self, block: Block, start: int) -> str:
        """The header above a part of a table that begins at `start`, or "" where there is none to repeat."""
        low, end = self._header(block, start)
        if low == end:
            return ""
        if cell := self._cells.get(start, 0):
            if block.start not in self._header_cells:
                bars = _CELL.finditer(self._text, block.start, end)
                self._header_cells[block.start] = [block.start, *(bar.end() for bar in bars)]
            starts = self._header_cells[block.start]
            low = starts[cell] if cell < len(starts) else low
        return self._text[low : self._cut(low, end, MAX_HEADER, _CELL_CUTS)] + "\n"

    def _header(self, block: Block, start: int) -> Span:
        """The first line of a table that `start` lies below of; an empty span otherwise."""
        if block.kind != "table":
            return start, start
        if block.start not in self._headers:
            found = self._text.find("\n", block.start, block.end)
            end = block.end if found < 0 else found
            fits = self._cut(block.start, end, MAX_HEADER) == end
            self._headers[block.start] = end, self._units(block.start, end) if fits else MAX_HEADER
        end, _ = self._headers[block.start]
        return (block.start, end) if start > end else (start, start)

    def _header_units(self, block: Block, start: int) -> float:
        """The most that the header of a part beginning at `start` weighs."""
        low, end = self._header(block, start)
        return self._headers[block.start][1] if low < end else 0.0

    def _units(self, start: int, end: int) -> float:
        piece = self._text[start:end]
        return OTHER_UNITS * len(piece) if piece.isascii() else sum(map(self._weights.__getitem__, piece))

    def _fill(self, section: list[Block]) -> Iterator[Span]:
        start = end = section[0].start
        used = 0.0
        for block in section:
            if used >= ENOUGH and used + self._units(end, block.end) > BUDGET:
                yield start, end
                used = 0.0
            for low, high in self._pieces(block):
                if used and used + self._units(end, high) > BUDGET:
                    yield start, end
                    used = 0.0
                if not used:
                    start = end = low
                    used = self._header_units(block, low)
                used += self._units(end, high)
                end = high
        if used:
            yield start, end

    def _pieces(self, block: Block) -> Iterator[Span]:
        """Yield what is kept whole: sentences; lines of tables and listings; of a long one its parts."""
        if block.kind == "text":
            spans = sentences(self._text, block.start, block.end)
        elif block.kind == "heading":
            spans = [(block.start, block.end)]
        else:
            spans = [self._trim(*line.span()) for line in _LINE.finditer(self._text, block.start, block.end)]
        if block.kind == "table":
            yield from self._table_pieces(block, spans)
            return
        for start, end in spans:
            while (stop := self._cut(start, end, BUDGET)) < end:
                yield self._trim(start, stop)
                start, end = self._trim(stop, end)
            if start < end:
                yield start, end

    def _table_pieces(self, block: Block, rows: list[Span]) -> Iterator[Span]:
        """Yield rows, and cut those that leave no room for the header at the border of a cell."""
        bars = self._text.count("|", *rows[0])
        room = BUDGET
        for row, (start, end) in enumerate(rows):
            if row == 1:
                room = BUDGET - self._header_units(block, start)
            is_aligned: bool | None = None
            cell = 0
            while (stop := self._cut(start, end, room, _CELL_CUTS)) < end:
                yield self._trim(start, stop)
                if is_aligned is None:  # a bar inside a cell would count as a border
                    is_aligned = row > 0 and self._text.count("|", start, end) == bars
                last = start
                start, end = self._trim(stop, end)
                cell += self._text.count("|", last, start)
                if is_aligned:
                    self._cells[start] = cell
            if start < end:
                yield start, end

    def _cut(self, start: int, end: int, room: float, cuts: tuple[re.Pattern[str], ...] = _CUTS) -> int:
        """Find the end of what fits into `room`: `end`, else after one of the best marks in the second half
        of it, else anywhere but inside a cluster that is read as one character."""
        if end - start <= room / CJK_UNITS:
            return end
        text = self._text
        # The lightest text that fills a chunk; to weigh more of a line of megabytes at every cut takes for ever.
        window = text[start : min(end, start + int(room / OTHER_UNITS) + 1)]
        fits = bisect_right(list(accumulate(map(self._weights.__getitem__, window))), room)
        if start + fits == end:
            return end
        stop = start + max(1, fits)
        middle = (start + stop) // 2
        for marks in cuts:
            for cut in reversed([found.end() for found in marks.finditer(text, middle, stop)]):
                if not _inside_cluster(text, cut):
                    return cut
        return next((cut for cut in range(stop, middle, -1) if not _inside_cluster(text, cut)), stop)

    def _trim(self, start: int, end: int) -> Span:
        """Leave out white space at the ends; without a copy, for a line may have megabytes."""
        text = self._text
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        return start, end


def _inside_cluster(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # two halves make a flag
        halves = _FLAG_HALVES.search(text[max(0, at - 64) : at])
        return halves is not None and len(halves[0]) % 2 == 1
    return before == "\u200d" or _CONTINUES.match(after) is not None or unicodedata.category(after)[0] == "M"
