"""The knowledge base's memory in one SQLite file: manifest, texts, chunks, terms and vectors.

A document changes in one transaction, so whoever reads, in this process or another, sees its old
version or its new one. The store knows nothing of files, parsers or models.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import RagkitError, StoreError
from ragkit.schema import Coverage, Document, Parsed
from ragkit.sqlite_file import SqliteFile
from ragkit.store import Candidate, FileFacts, ManifestRow, Root, Statistics, StoredChunk, TermedChunk
from ragkit.vectors import VectorMatrix, VectorTable

NAME_WEIGHT = 0.5  # a word of the file's name, beside one of its text


class SqliteStore:
    """`Store` in one file; see `SqliteFile` for connections and transactions."""

    def __init__(self, file: Path) -> None:
        """Open `file`, making or migrating it. Raises StoreError, LibraryTooNew."""
        self.file = SqliteFile(file)
        self._lock = threading.Lock()
        self._statistics = (-1, 0, 0.0)  # generation, chunks, mean length
        self._coverage: dict[str, tuple[int, Coverage]] = {}  # model -> generation, coverage
        self._vectors: dict[str, VectorTable] = {}

    def close(self) -> None:
        self.file.close()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """One state of the library for several reads."""
        return self.file.reading()

    # ── Meta ──

    def meta(self, key: str) -> str | None:
        row = self.file.rows("SELECT value FROM meta WHERE key = ?", key)
        return None if not row else str(row[0][0])

    def put_meta(self, key: str, value: str) -> None:
        with self.file.writing() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (key, value),
            )

    # ── Manifest ──

    def roots(self) -> list[Root]:
        rows = self.file.rows("SELECT id, label, folder FROM root ORDER BY label")
        return [Root(id, label, Path(folder) if folder else None) for id, label, folder in rows]

    def put_root(self, root: Root) -> None:
        folder = None if root.folder is None else str(root.folder)
        with self.file.writing() as db:
            db.execute(
                "INSERT INTO root VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET label = excluded.label, "
                "folder = excluded.folder",
                (root.id, root.label, folder),
            )

    def manifest(self, root_id: str) -> dict[str, ManifestRow]:
        rows = self.file.rows(
            "SELECT path, id, size_bytes, mtime_ns, hash, made_by, error_code, error, hint "
            "FROM document WHERE root = ?",
            root_id,
        )
        return {row[0]: ManifestRow(row[1], FileFacts(*row[2:6]), *row[6:]) for row in rows}

    def documents(self, model: str = "") -> list[Document]:
        rows = self.file.rows(
            # In the order of Document's fields.
            "SELECT d.id, d.root, d.path, r.label || '/' || d.path, iif(d.error_code = '', 'ready', 'failed'), "
            "d.size_bytes, COUNT(c.id), d.pages, d.encoding, d.title, d.seconds, d.updated_at, d.error_code, "
            "d.error, d.hint, COUNT(v.id) FROM document d JOIN root r ON r.id = d.root "
            "LEFT JOIN chunk c ON c.doc_id = d.id LEFT JOIN vector v ON v.hash = c.hash AND v.model = ? "
            "GROUP BY d.id ORDER BY r.label, d.path",
            model,
        )
        return [Document(*row) for row in rows]

    def text(self, doc_id: int) -> str:
        rows = self.file.rows(
            "SELECT t.text FROM document d JOIN text t ON t.hash = d.text_hash WHERE d.id = ?", doc_id
        )
        if not rows:
            raise StoreError(
                f"there is no document {doc_id} in this library", "It may have been removed meanwhile."
            )
        return str(rows[0][0])

    # ── Documents, each in one transaction ──

    def replace(
        self,
        root: Root,
        path: str,
        facts: FileFacts,
        parsed: Parsed,
        chunks: Sequence[TermedChunk],
        seconds: float,
    ) -> int:
        """Swap in the new version of a document, and give back its id."""
        with self.file.writing() as db:
            before = _text_hash(db, root.id, path)
            doc_id = _put_document(
                db,
                root.id,
                path,
                facts,
                text_hash=_put_text(db, parsed.text),
                title=parsed.title,
                pages=parsed.pages,
                encoding=parsed.encoding,
                seconds=seconds,
                error_code="",
                error="",
                hint="",
            )
            _drop_chunks(db, doc_id)
            for chunk, terms, name_terms in chunks:
                chunk_id = db.execute(
                    "INSERT INTO chunk (doc_id, start, end, page, heading, hash, length, lead) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        doc_id,
                        chunk.start,
                        chunk.end,
                        chunk.page,
                        json.dumps(chunk.heading, ensure_ascii=False),
                        chunk.hash,
                        len(terms),
                        chunk.lead,
                    ),
                ).lastrowid
                _put_terms(db, int(chunk_id or 0), terms, name_terms)
            _drop_text(db, before)
        return doc_id

    def fail(self, root: Root, path: str, facts: FileFacts, error: RagkitError) -> None:
        """Note why a file could not be read. The version that answers so far goes on answering."""
        with self.file.writing() as db:
            _put_document(
                db, root.id, path, facts, error_code=error.code, error=error.message, hint=error.hint
            )

    def touch(self, doc_id: int, facts: FileFacts) -> None:
        """Note that a file has another date and still the same content."""
        with self.file.writing() as db:
            db.execute(
                "UPDATE document SET size_bytes = ?, mtime_ns = ? WHERE id = ?",
                (facts.size_bytes, facts.mtime_ns, doc_id),
            )

    def remove(self, doc_ids: Iterable[int]) -> None:
        """Forget documents, and the texts that no other one shares."""
        with self.file.writing() as db:
            for doc_id in doc_ids:
                row = db.execute("SELECT text_hash FROM document WHERE id = ?", (doc_id,)).fetchone()
                _drop_chunks(db, doc_id)
                db.execute("DELETE FROM document WHERE id = ?", (doc_id,))
                _drop_text(db, row and row[0])

    def purge_vectors(self) -> None:
        """Forget the vectors of texts that are in no document any more."""
        with self.file.writing() as db:
            db.execute("DELETE FROM vector WHERE hash NOT IN (SELECT hash FROM chunk)")

    def put_terms(self, terms: Iterable[tuple[int, Sequence[str], Sequence[str]]], analyser: int) -> None:
        """Put in new terms for all chunks (id, terms, terms of the name), as a later analyser makes them."""
        with self.file.writing() as db:
            db.execute("DELETE FROM chunk_term")
            for chunk_id, body, name in terms:
                _put_terms(db, chunk_id, body, name)
                db.execute("UPDATE chunk SET length = ? WHERE id = ?", (len(body), chunk_id))
            db.execute("UPDATE meta SET value = ? WHERE key = 'analyser'", (analyser,))

    # ── Lexical ──

    def candidates(self, terms: Sequence[str], limit: int, documents: frozenset[int]) -> list[Candidate]:
        """The chunks that match best by FTS5's own score, which ties in small libraries: so only a choice."""
        wanted = set(terms)
        if not wanted:
            return []
        match = " OR ".join(f'"{term}"' for term in sorted(wanted))
        within = "AND c.doc_id IN (SELECT value FROM json_each(?))" if documents else "AND ? IS NOT NULL"
        rows = self.file.rows(
            "SELECT c.id, c.doc_id, c.length, f.body, f.name FROM chunk_term f JOIN chunk c ON c.id = f.rowid "
            f"WHERE chunk_term MATCH ? {within} ORDER BY f.rank LIMIT ?",
            match,
            json.dumps(sorted(documents)),
            limit,
        )
        found = []
        for chunk_id, doc_id, length, body, name in rows:
            counts: dict[str, float] = {}
            for text, weight in ((body, 1.0), (name, NAME_WEIGHT)):
                for term in text.split(" "):
                    if term in wanted:
                        counts[term] = counts.get(term, 0.0) + weight
            found.append(Candidate(chunk_id, doc_id, length, counts))
        return found

    def statistics(self, terms: Sequence[str]) -> Statistics:
        generation = self.file.generation()
        if self._statistics[0] != generation:
            ((count, mean),) = self.file.rows("SELECT COUNT(*), COALESCE(AVG(length), 0) FROM chunk")
            self._statistics = (generation, count, mean)
        rows = self.file.rows(
            "SELECT term, doc FROM chunk_vocabulary WHERE term IN (SELECT value FROM json_each(?))",
            json.dumps(sorted(set(terms)), ensure_ascii=False),
        )
        return Statistics(self._statistics[1], self._statistics[2], dict(rows))

    def chunks(self, ids: Sequence[int]) -> dict[int, StoredChunk]:
        """The chunks of these ids; one that is gone meanwhile is left out."""
        return {chunk.id: chunk for chunk in self._chunks("c.id IN (SELECT value FROM json_each(?))", ids)}

    def opening_chunks(self, doc_ids: Sequence[int]) -> list[StoredChunk]:
        """The first chunk of each document, in the order of the manifest."""
        first = "SELECT MIN(id) FROM chunk WHERE doc_id IN (SELECT value FROM json_each(?)) GROUP BY doc_id"
        return self._chunks(f"c.id IN ({first})", doc_ids)

    def all_chunks(self) -> Iterator[StoredChunk]:
        """Every chunk, document by document."""
        for (doc_id,) in self.file.rows("SELECT id FROM document ORDER BY id"):
            yield from self._chunks("c.doc_id IN (SELECT value FROM json_each(?))", [doc_id])

    def headings(self, doc_ids: Sequence[int]) -> dict[int, list[tuple[str, ...]]]:
        """The heading paths of each document, in order, each once."""
        rows = self.file.rows(
            "SELECT doc_id, heading FROM chunk WHERE doc_id IN (SELECT value FROM json_each(?)) ORDER BY id",
            json.dumps(list(doc_ids)),
        )
        paths: dict[int, list[tuple[str, ...]]] = {doc_id: [] for doc_id in doc_ids}
        for doc_id, heading in rows:
            path = tuple(json.loads(heading))
            if path and path not in paths[doc_id]:
                paths[doc_id].append(path)
        return paths

    def _chunks(self, where: str, ids: Sequence[int]) -> list[StoredChunk]:
        rows = self.file.rows(
            "SELECT c.id, c.doc_id, r.label || '/' || d.path, d.title, c.page, c.heading, c.start, c.end, "
            "substr(t.text, c.start + 1, c.end - c.start), c.hash, c.lead FROM chunk c JOIN document d ON d.id = c.doc_id "
            f"JOIN root r ON r.id = d.root JOIN text t ON t.hash = d.text_hash WHERE {where} "
            "ORDER BY r.label, d.path, c.id",
            json.dumps(list(ids)),
        )
        return [StoredChunk._make((*row[:5], tuple(json.loads(row[5])), *row[6:])) for row in rows]

    # ── Vectors ──

    def without_vector(self, model: str) -> list[tuple[str, int]]:
        """The chunk hashes that `model` has not embedded yet, each with one chunk id that has it."""
        rows = self.file.rows(
            "SELECT c.hash, MIN(c.id) FROM chunk c LEFT JOIN vector v ON v.hash = c.hash AND v.model = ? "
            "WHERE v.id IS NULL GROUP BY c.hash ORDER BY MIN(c.id)",
            model,
        )
        return [(hash, chunk_id) for hash, chunk_id in rows]

    def put_vectors(self, model: str, hashes: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep `vectors` (len(hashes), dim) of `model`; hashes that no chunk has any more are passed over."""
        with self.file.writing() as db:
            for hash, vector in zip(hashes, vectors, strict=True):
                db.execute(
                    "INSERT OR IGNORE INTO vector (model, hash, data) "
                    "SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM chunk WHERE hash = ?)",
                    (model, hash, np.ascontiguousarray(vector, dtype="<f4").tobytes(), hash),
                )

    def matrix(self, model: str) -> VectorMatrix:
        """The vectors of `model` in memory, brought up to date when anything was written since."""
        with self._lock:
            table = self._vectors.setdefault(model, VectorTable(model))
        with self.file.reading() as db:
            return table.refresh(db, self.file.generation())

    def coverage(self, model: str = "") -> Coverage:
        generation = self.file.generation()
        known = self._coverage.get(model)
        if known is None or known[0] != generation:
            ((documents, chunks, embedded),) = self.file.rows(
                "SELECT COUNT(DISTINCT c.doc_id), COUNT(*), COUNT(v.id) FROM chunk c "
                "LEFT JOIN vector v ON v.hash = c.hash AND v.model = ?",
                model,
            )
            known = self._coverage[model] = (generation, Coverage(documents, chunks, embedded))
        return known[1]


def _put_document(db: sqlite3.Connection, root: str, path: str, facts: FileFacts, **columns: object) -> int:
    """Insert or update one row of the manifest; columns that are not named keep their value."""
    columns |= asdict(facts) | {"updated_at": time.time()}
    names = ", ".join(columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    (doc_id,) = db.execute(
        f"INSERT INTO document (root, path, {names}) VALUES (?, ?{', ?' * len(columns)}) "
        f"ON CONFLICT (root, path) DO UPDATE SET {changes} RETURNING id",
        (root, path, *columns.values()),
    ).fetchone()
    return int(doc_id)


def _put_text(db: sqlite3.Connection, text: str) -> str:
    hash = blake2b(text.encode(), digest_size=16).hexdigest()
    db.execute("INSERT OR IGNORE INTO text VALUES (?, ?)", (hash, text))
    return hash


def _put_terms(
    db: sqlite3.Connection, chunk_id: int, terms: Sequence[str], name_terms: Sequence[str]
) -> None:
    db.execute(
        "INSERT INTO chunk_term (rowid, body, name) VALUES (?, ?, ?)",
        (chunk_id, " ".join(terms), " ".join(name_terms)),
    )


def _drop_chunks(db: sqlite3.Connection, doc_id: int) -> None:
    db.execute("DELETE FROM chunk_term WHERE rowid IN (SELECT id FROM chunk WHERE doc_id = ?)", (doc_id,))
    db.execute("DELETE FROM chunk WHERE doc_id = ?", (doc_id,))


def _text_hash(db: sqlite3.Connection, root: str, path: str) -> str | None:
    row = db.execute("SELECT text_hash FROM document WHERE root = ? AND path = ?", (root, path)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _drop_text(db: sqlite3.Connection, hash: str | None) -> None:
    """Delete a text, unless a document still has it."""
    db.execute(
        "DELETE FROM text WHERE hash = ? AND NOT EXISTS (SELECT 1 FROM document WHERE text_hash = ?)",
        (hash, hash),
    )
