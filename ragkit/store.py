"""What a knowledge base's memory must offer, and the records that go in and out of it.

`SqliteStore` (sqlite_store.py) is the one that is there; the protocol is the seam for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import RagkitError, StoreError
from ragkit.schema import Chunk, Coverage, Document, Filters, Hit, Parsed
from ragkit.vectors import VectorMatrix


@dataclass(frozen=True, slots=True)
class Root:
    """A place that documents come from: a folder that is mirrored, or the uploads."""

    id: str
    label: str
    folder: Path | None  # None: uploads, whose originals lie beside the store


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the manifest knows of a file, to tell whether it changed."""

    size_bytes: int
    mtime_ns: int
    hash: str  # blake2b of the content
    made_by: str  # versions of reader and chunker: another one reads the file again


class ManifestRow(NamedTuple):
    id: int
    facts: FileFacts
    error_code: str = ""  # set when the last reading failed
    error: str = ""
    hint: str = ""
    pending: bool = False  # another version waits to be read
    pending_hash: str = ""


class Pending(NamedTuple):
    """A version of a document that waits to be read, or is being read."""

    id: int
    root: str
    path: str
    pending_hash: str  # the kept original; "" for a file of a folder
    hash: str  # of the version that is known
    known: bool  # there is one that answers


class Candidate(NamedTuple):
    """A chunk that holds at least one query term: how often each, and how long it is, in terms."""

    chunk_id: int
    doc_id: int
    length: int
    counts: Mapping[str, float]


class Statistics(NamedTuple):
    """What BM25 needs of the whole library."""

    chunks: int
    mean_length: float
    holding: Mapping[str, int]  # term -> chunks that hold it


class StoredChunk(NamedTuple):
    """A chunk with what a citation needs; `text` is the exact slice."""

    id: int
    doc_id: int
    source: str
    title: str
    page: int | None
    heading: tuple[str, ...]
    start: int
    end: int
    text: str
    hash: str
    lead: str  # what index_text puts before the text: a table's header row, or nothing

    def hit(
        self,
        score: float = 1.0,
        lexical: float | None = None,
        dense: float | None = None,
        fused: float | None = None,
    ) -> Hit:
        """This chunk as a retrieved passage."""
        return Hit(
            chunk_id=self.id,
            doc_id=self.doc_id,
            source=self.source,
            page=self.page,
            heading=self.heading,
            start=self.start,
            end=self.end,
            text=self.text,
            score=score,
            lexical=lexical,
            dense=dense,
            title=self.title,
            lead=self.lead,
            fused=fused,
        )


class TermedChunk(NamedTuple):
    """A chunk ready to be stored: with its terms, and those of the file's name."""

    chunk: Chunk
    terms: Sequence[str]
    name_terms: Sequence[str]


def no_document(doc_id: int) -> StoreError:
    """The error for a document that is not there any more."""
    return StoreError(f"there is no document {doc_id} in this library", "It may have been removed meanwhile.")


class Store(Protocol):
    """What the index writes and the retrieval reads; the seam for other engines than SQLite."""

    def close(self) -> None: ...
    def reading(self) -> AbstractContextManager[object]: ...
    def meta(self, key: str) -> str | None: ...
    def put_meta(self, key: str, value: str) -> None: ...

    def roots(self) -> list[Root]: ...
    def put_root(self, root: Root) -> None: ...
    def manifest(self, root_id: str) -> dict[str, ManifestRow]: ...
    def documents(self, model: str = "") -> list[Document]: ...
    def text(self, doc_id: int) -> str: ...
    def slice(self, doc_id: int, start: int, end: int) -> str: ...
    def enqueue(self, root: Root, versions: Iterable[tuple[str, str]], priority: int) -> list[int]: ...
    def next_pending(self) -> Pending | None: ...
    def pending_among(self, doc_ids: Iterable[int]) -> set[int]: ...
    def begin(self, doc_id: int) -> bool: ...
    def unqueue(self, doc_ids: Iterable[int]) -> None: ...
    def replace(
        self,
        version: Pending,
        facts: FileFacts,
        parsed: Parsed,
        chunks: Sequence[TermedChunk],
        seconds: float,
    ) -> bool: ...
    def fail(self, version: Pending, facts: FileFacts | None, error: RagkitError) -> bool: ...
    def touch(self, facts: Iterable[tuple[int, FileFacts]]) -> None: ...
    def move(
        self, doc_id: int, root: Root, path: str, facts: FileFacts, name_terms: Sequence[str]
    ) -> None: ...
    def remove(self, doc_ids: Iterable[int]) -> None: ...
    def is_unclean(self) -> bool: ...
    def purge(self) -> None: ...
    def matching(self, filters: Filters) -> frozenset[int] | None: ...
    def candidates(
        self, terms: Sequence[str], limit: int, documents: frozenset[int] | None
    ) -> list[Candidate]: ...
    def statistics(self, terms: Sequence[str]) -> Statistics: ...
    def longer_forms(self, word: str) -> list[str]: ...
    def terms(self, hashes: Iterable[str]) -> dict[str, list[str]]: ...
    def chunks(self, ids: Sequence[int]) -> dict[int, StoredChunk]: ...
    def chunks_of(self, doc_id: int) -> list[StoredChunk]: ...
    def all_chunks(self) -> Iterator[StoredChunk]: ...
    def headings(self, doc_ids: Sequence[int]) -> dict[int, list[tuple[str, ...]]]: ...
    def put_terms(self, terms: Iterable[tuple[int, Sequence[str], Sequence[str]]], analyser: int) -> None: ...
    def cjk_share(self) -> float: ...
    def opening_chunks(self, doc_ids: Sequence[int]) -> list[StoredChunk]: ...
    def without_vector(self, model: str) -> list[tuple[str, int]]: ...
    def put_vectors(self, model: str, hashes: Sequence[str], vectors: NDArray[np.float32]) -> None: ...
    def vector_models(self) -> dict[str, int]: ...
    def keep_vectors(self, *models: str) -> None: ...
    def rename_vectors(self, old: str, new: str) -> None: ...
    def matrix(self, model: str) -> VectorMatrix: ...
    def coverage(self, model: str = "") -> Coverage: ...
