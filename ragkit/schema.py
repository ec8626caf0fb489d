"""The data that travels between the rooms: frozen, plain, no behaviour beyond derived values.

Numbers, everywhere: `page` is 1-based or None; `heading` is the path of headings above the text;
`start` and `end` are half-open code points in the stored text of the document, which is exactly
the text that the user is shown; a score that was not computed is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

BlockKind = Literal["text", "heading", "table", "code"]
# queued: waits to be read for the first time; parsing: is being read; stale: its old version answers while
# a new one waits; embedding: found by words, its vectors are not all there; failed: could not be read
# (an old version, where there is one, goes on answering).
DocumentState = Literal["queued", "parsing", "stale", "embedding", "ready", "failed"]
# Why scans were left unread: rapidocr is not installed, or the time for one file was over.
OcrState = Literal["", "missing", "stopped"]
WAITING: frozenset[DocumentState] = frozenset({"queued", "parsing", "stale"})  # a version is not in yet
Language = Literal["zh", "en"]
Span = tuple[int, int]  # half-open, code points

QUOTES = "quotes"  # the profile without a language model


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a parsed document that a chunk may be cut from, but that no chunk may cross out of
    when the heading changes. A heading block's own text is the last item of its `heading`."""

    start: int
    end: int
    kind: BlockKind = "text"
    page: int | None = None
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reader makes of a file: the text that is shown, and the blocks in it, in order."""

    text: str
    blocks: tuple[Block, ...]
    title: str = ""  # as the document itself says it; never the file name
    encoding: str | None = None  # of text files, as detected
    pages: int | None = None  # pages, slides or sheets
    pages_without_text: tuple[int, ...] = ()  # 1-based: scans that nobody could read, and empty pages
    ocr_pages: tuple[int, ...] = ()  # 1-based: whose text was recognised from their picture
    ocr_state: OcrState = ""


Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the origin at the top left


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page as it looks. `boxes` has one place for each character of `text`, or is empty; None where a
    character is not drawn."""

    width: int  # pixels
    height: int
    webp: bytes
    text: str
    boxes: tuple[Box | None, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """An exact slice `text[start:end]` of a document, the unit that is indexed and cited."""

    start: int
    end: int
    page: int | None
    heading: tuple[str, ...]
    index_text: str  # cleaned slice under the document's title and headings: what is embedded
    hash: str  # blake2b of index_text: equal text is embedded once
    lead: str = ""  # the header row that index_text repeats for a later part of a table


@dataclass(frozen=True, slots=True)
class Document:
    """One row of the manifest. Its identity is (root, path); `source` is what the user reads."""

    id: int
    root: str
    path: str  # POSIX, relative to the root
    source: str  # root label + "/" + path
    state: DocumentState
    size_bytes: int
    chunks: int
    pages: int | None
    encoding: str | None
    title: str
    seconds: float
    updated_at: float  # Unix time
    error_code: str = ""
    error: str = ""
    hint: str = ""
    chars: int = 0  # of the stored text
    pages_without_text: tuple[int, ...] = ()
    ocr_pages: tuple[int, ...] = ()
    ocr_state: OcrState = ""
    embedded: int = 0  # chunks whose vector is there


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands, besides the place that it is shown from."""

    chunk_id: int
    doc_id: int
    source: str
    page: int | None
    heading: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. `lexical` is BM25, `dense` the cosine, `fused` both together, `rerank` the
    reranker's own score; None for a leg that was off or did not list it."""

    chunk_id: int
    doc_id: int
    source: str
    page: int | None
    heading: tuple[str, ...]
    start: int
    end: int
    text: str
    score: float  # what it is ranked by, 0..1
    lexical: float | None
    dense: float | None
    title: str = ""
    fused: float | None = None
    rerank: float | None = None
    lead: str = ""  # of a later part of a table: its header row
    also: tuple[Place, ...] = ()  # of a passage: where else the same is said, almost word for word


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the answer and what it rests on. `number` is the passage's place among the retrieved
    ones (1-based, never renumbered); start, end and quote are the supporting sentence in the document."""

    number: int
    doc_id: int
    source: str
    page: int | None
    heading: tuple[str, ...]
    start: int
    end: int
    quote: str
    at: Span | None = None  # the sentence in the answer's text
    words: tuple[Span, ...] = ()  # in the document: the words of the quote that the answer's sentence shares


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the library an answer could rest on."""

    documents: int  # that can be found
    chunks: int
    embedded: int  # chunks with a vector of the model in use
    waiting: int = 0  # documents that nothing can be found of yet

    @property
    def complete(self) -> bool:
        """Whether every chunk has its vector."""
        return self.embedded >= self.chunks


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer, as history. It keeps its passages, so that prompts only ever grow."""

    question: str
    answer: str
    hits: tuple[Hit, ...] = ()
    searched: str = ""  # as in Answer


@dataclass(frozen=True, slots=True)
class Answer:
    question: str
    text: str
    profile: str  # "quotes", or the name of the language model
    refused: bool = False  # nothing in the documents fits the question
    weak: bool = False  # something fits, but only loosely
    stopped: bool = False  # cut off by the user
    hits: tuple[Hit, ...] = ()
    citations: tuple[Citation, ...] = ()
    kind: Literal["documents", "small_talk", "outline", "model_only"] = "documents"
    coverage: Coverage = Coverage(0, 0, 0)
    searched: str = ""  # what was looked for, where that is not the question as it was asked
    other_language: bool = False  # the documents speak the other language, and nothing here can translate
    unsupported: tuple[Span, ...] = ()  # the sentences of `text` that no passage supports


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Event: the passages are known, before the first word of the answer."""

    hits: tuple[Hit, ...]
    coverage: Coverage
    searched: str = ""  # as in Answer
    wait_s: float | None = None  # until the first word, as far as a model's own pace tells


@dataclass(frozen=True, slots=True)
class Delta:
    """Event: the next piece of the answer's text. Citations stand in it as [n]."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """Event: the answer is whole. Always the last one."""

    answer: Answer


Event = Retrieved | Delta | Done


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed. Its old version, if there was one, still answers."""

    source: str
    message: str
    hint: str
    code: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """An upload whose name the library already has, with other content."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, or with dry_run would do."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # the new names of files that were renamed; nothing is read for them
    moved_from: tuple[str, ...] = ()  # and their old ones, in the same order
    unchanged: int = 0
    failed: tuple[Failure, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    chunks: int = 0  # in the whole library afterwards
    embedded: int = 0  # in this run
    seconds: float = 0.0
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a long job stands: `done` of `total` files (or chunks, while embedding)."""

    stage: Literal["scan", "read", "embed"]
    done: int
    total: int
    current: str = ""  # the source in hand


OnProgress = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Tell nobody: the default of every long job."""


@dataclass(frozen=True, slots=True)
class EmbeddingStatus:
    """The dense leg, as the page shows it. `error` is set when it failed."""

    state: Literal["off", "waiting", "loading", "ready", "failed"]
    name: str = ""
    languages: tuple[Language, ...] = ()  # whose words it knows
    replacement: str = ""  # the model that takes over once all its vectors are there
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class RerankStatus:
    """The reranker, as the page shows it. `error` is set when it failed; the fused order then stands."""

    state: Literal["off", "waiting", "ready", "failed"]
    name: str = ""
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What a library takes on the disk, in bytes."""

    database: int
    originals: int

    @property
    def total(self) -> int:
        return self.database + self.originals


@dataclass(frozen=True, slots=True)
class Filters:
    """Restrict retrieval to documents that meet all of it. A field left empty restricts nothing.

    A knowledge base is an Engine of its own, so it needs no filter.
    """

    documents: frozenset[int] = field(default_factory=frozenset)
    places: tuple[str, ...] = ()  # sources of files, folders or roots: any of them, and what lies below it
    types: frozenset[str] = field(default_factory=frozenset)  # endings: "pdf"; with or without the dot
    since: float | None = None  # Unix time of the file's last change, this moment included
    until: float | None = None  # and this one not
