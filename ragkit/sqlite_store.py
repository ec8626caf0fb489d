"""The knowledge base's memory in one SQLite file: manifest, texts, chunks, terms and vectors.

A document changes in one transaction, so whoever reads, in this process or another, sees its old
version or its new one. The store knows nothing of files, parsers or models.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from ragkit.errors import RagkitError
from ragkit.schema import Document, Parsed
from ragkit.sqlite_file import SqliteFile
from ragkit.sqlite_search import EMBEDDED, SqliteSearch
from ragkit.store import FileFacts, ManifestRow, Pending, Root, TermedChunk, no_document

_TRACES = "traces"  # meta: "1" while something that was deleted may still be found in the files
_STATE = (
    "CASE WHEN d.pending = 'parsing' THEN 'parsing' "
    "WHEN d.pending != '' THEN iif(d.text_hash IS NULL, 'queued', 'stale') "
    "WHEN d.error_code != '' THEN 'failed' "
    "WHEN ?1 != '' AND d.embedded < d.chunks THEN 'embedding' ELSE 'ready' END"
)


class SqliteStore(SqliteSearch):
    """`Store` in one file; see `SqliteFile` for connections and transactions."""

    def __init__(self, file: Path) -> None:
        """Open `file`, making or migrating it. Raises StoreError, LibraryTooNew."""
        super().__init__(SqliteFile(file))
        self._documents: dict[str, tuple[int, list[Document]]] = {}  # model -> generation, documents

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
            _put_meta(db, key, value)

    # ── Manifest ──

    def roots(self) -> list[Root]:
        rows = self.file.rows("SELECT id, label, folder FROM root ORDER BY label")
        return [Root(id, label, Path(folder) if folder else None) for id, label, folder in rows]

    def put_root(self, root: Root) -> None:
        if (
            root in self.roots()
        ):  # a write would tell memory that it is stale, at every sync of a quiet folder
            return
        folder = None if root.folder is None else str(root.folder)
        with self.file.writing() as db:
            db.execute(
                "INSERT INTO root VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET label = excluded.label, "
                "folder = excluded.folder",
                (root.id, root.label, folder),
            )

    def manifest(self, root_id: str) -> dict[str, ManifestRow]:
        rows = self.file.rows(
            "SELECT path, id, size_bytes, mtime_ns, hash, made_by, error_code, error, hint, pending != '', "
            "pending_hash FROM document WHERE root = ?",
            root_id,
        )
        return {row[0]: ManifestRow(row[1], FileFacts(*row[2:6]), *row[6:]) for row in rows}

    def documents(self, model: str = "") -> list[Document]:
        """All documents, by source; `model` is the embedding model whose vectors are counted."""
        with self.reading():
            return self._listed(model)

    def _listed(self, model: str) -> list[Document]:
        generation = self.file.generation()
        known = self._documents.get(model)
        if known is None or known[0] != generation:
            count = "(SELECT COUNT(*) FROM chunk c WHERE c.doc_id = d.id"
            # To look for the vector of each chunk takes most of the time, and they are mostly all there.
            embedded = f"{count})" if self.coverage(model).complete else f"{count} AND {EMBEDDED})"
            rows = self.file.rows(
                # In the order of Document's fields.
                f"SELECT d.id, d.root, d.path, r.label || '/' || d.path, {_STATE}, "
                "d.size_bytes, d.chunks, d.pages, d.encoding, d.title, d.seconds, d.updated_at, d.error_code, "
                "d.error, d.hint, d.chars, d.pages_without_text, d.ocr_pages, d.ocr_state, d.embedded "
                f"FROM (SELECT *, {count}) AS chunks, {embedded} AS embedded FROM document d) d "
                "JOIN root r ON r.id = d.root ORDER BY r.label, d.path",
                model,
            )
            found = [
                Document(*(*row[:16], tuple(json.loads(row[16])), tuple(json.loads(row[17])), *row[18:]))
                for row in rows
            ]
            known = self._documents[model] = (generation, found)
        return list(known[1])

    def text(self, doc_id: int) -> str:
        rows = self.file.rows(
            "SELECT t.text FROM document d JOIN text t ON t.hash = d.text_hash WHERE d.id = ?", doc_id
        )
        if not rows:
            raise no_document(doc_id)
        return str(rows[0][0])

    def slice(self, doc_id: int, start: int, end: int) -> str:
        """`text(doc_id)[start:end]`, without the rest of it; "" when the document is gone."""
        rows = self.file.rows(
            "SELECT substr(t.text, ? + 1, ?) FROM document d JOIN text t ON t.hash = d.text_hash WHERE d.id = ?",
            start,
            end - start,
            doc_id,
        )
        return str(rows[0][0]) if rows else ""

    # ── The queue: versions that are not in yet ──

    def enqueue(self, root: Root, versions: Iterable[tuple[str, str]], priority: int) -> list[int]:
        """Note that the documents at these paths are to be read: (path, hash of the kept original, or "").

        Gives back their ids, in order. What answers so far goes on answering.
        """
        with self.file.writing() as db:
            return [
                int(id)
                for path, hash in versions
                for (id,) in db.execute(
                    "INSERT INTO document (root, path, size_bytes, mtime_ns, hash, made_by, updated_at, error_code, "
                    "error, hint, pending, pending_hash, priority) VALUES (?, ?, 0, 0, '', '', ?, '', '', '', 'queued', ?, ?) "
                    "ON CONFLICT (root, path) DO UPDATE SET pending = 'queued', pending_hash = excluded.pending_hash, "
                    "priority = max(priority * (pending != ''), excluded.priority) RETURNING id",
                    (root.id, path, time.time(), hash, priority),
                ).fetchall()
            ]

    def next_pending(self) -> Pending | None:
        """The document to read next: the most urgent, then the one that waits longest."""
        rows = self.file.rows(
            "SELECT id, root, path, pending_hash, hash, text_hash IS NOT NULL FROM document "
            "WHERE pending != '' ORDER BY priority DESC, id LIMIT 1"
        )
        return Pending._make((*rows[0][:5], bool(rows[0][5]))) if rows else None

    def pending_among(self, doc_ids: Iterable[int]) -> set[int]:
        """Those of these documents that still wait to be read."""
        rows = self.file.rows(
            "SELECT id FROM document WHERE pending != '' AND id IN (SELECT value FROM json_each(?))",
            json.dumps(list(doc_ids)),
        )
        return {id for (id,) in rows}

    def begin(self, doc_id: int) -> bool:
        """Note that a document is being read now; False when it is gone or waits no more."""
        with self.file.writing() as db:
            changed = db.execute(
                "UPDATE document SET pending = 'parsing' WHERE id = ? AND pending != ''", (doc_id,)
            )
            return changed.rowcount > 0

    def unqueue(self, doc_ids: Iterable[int]) -> None:
        """Let documents not be read after all: those that nothing is known of go, the others stay as they are."""
        ids = json.dumps(list(doc_ids))
        waiting = "pending != '' AND id IN (SELECT value FROM json_each(?))"
        with self.file.writing() as db:
            db.execute(
                f"DELETE FROM document WHERE {waiting} AND text_hash IS NULL AND error_code = ''", (ids,)
            )
            db.execute(f"UPDATE document SET pending = '', pending_hash = '' WHERE {waiting}", (ids,))

    # ── Documents, each in one transaction ──

    def replace(
        self,
        version: Pending,
        facts: FileFacts,
        parsed: Parsed,
        chunks: Sequence[TermedChunk],
        seconds: float,
    ) -> bool:
        """Swap in the new version of a document. False when it was removed meanwhile: then nothing is written.

        Chunks that the old version had too stay what they are, and only move.
        """
        with self.file.writing() as db:
            row = db.execute("SELECT text_hash FROM document WHERE id = ?", (version.id,)).fetchone()
            if row is None:
                return False
            _update(
                db,
                version,
                facts,
                text_hash=_put_text(db, parsed.text),
                title=parsed.title,
                pages=parsed.pages,
                encoding=parsed.encoding,
                chars=len(parsed.text),
                pages_without_text=json.dumps(parsed.pages_without_text),
                ocr_pages=json.dumps(parsed.ocr_pages),
                ocr_state=parsed.ocr_state,
                seconds=seconds,
                error_code="",
                error="",
                hint="",
            )
            _swap_chunks(db, version.id, chunks)
            _drop_text(db, row[0])
        return True

    def fail(self, version: Pending, facts: FileFacts | None, error: RagkitError) -> bool:
        """Note why a file could not be read; without `facts` those of the version that answers stay.
        That one goes on answering."""
        with self.file.writing() as db:
            return _update(db, version, facts, error_code=error.code, error=error.message, hint=error.hint)

    def touch(self, facts: Iterable[tuple[int, FileFacts]]) -> None:
        """Note that files have another date and still the same content."""
        with self.file.writing() as db:
            db.executemany(
                "UPDATE document SET size_bytes = ?, mtime_ns = ? WHERE id = ?",
                ((fact.size_bytes, fact.mtime_ns, doc_id) for doc_id, fact in facts),
            )

    def move(self, doc_id: int, root: Root, path: str, facts: FileFacts, name_terms: Sequence[str]) -> None:
        """Give a document another path. Text, chunks and vectors stay as they are."""
        with self.file.writing() as db:
            db.execute(
                "UPDATE document SET root = ?, path = ?, mtime_ns = ? WHERE id = ?",
                (root.id, path, facts.mtime_ns, doc_id),
            )
            db.execute(
                "UPDATE chunk_term SET name = ? WHERE rowid IN (SELECT id FROM chunk WHERE doc_id = ?)",
                (" ".join(name_terms), doc_id),
            )

    def remove(self, doc_ids: Iterable[int]) -> None:
        """Forget documents, and the texts that no other one shares; `purge` finishes it."""
        with self.file.writing() as db:
            for doc_id in doc_ids:
                row = db.execute("SELECT text_hash FROM document WHERE id = ?", (doc_id,)).fetchone()
                _drop_chunks(db, doc_id)
                db.execute("DELETE FROM document WHERE id = ?", (doc_id,))
                _drop_text(db, row and row[0])
            _put_meta(db, _TRACES, "1")

    def is_unclean(self) -> bool:
        """Whether there is something for `purge` to do."""
        orphan = "SELECT EXISTS (SELECT 1 FROM vector WHERE hash NOT IN (SELECT hash FROM chunk))"
        return self.meta(_TRACES) == "1" or bool(self.file.rows(orphan)[0][0])

    def purge(self) -> None:
        """Forget the vectors of texts that are in no document any more. After a removal leave no trace: terms
        lie in the full-text index, and pages in the log, until somebody clears them away."""
        with self.file.writing() as db:
            db.execute("DELETE FROM vector WHERE hash NOT IN (SELECT hash FROM chunk)")
            traces = self.meta(_TRACES) == "1"
            if traces:
                db.execute("INSERT INTO chunk_term (chunk_term) VALUES ('optimize')")
        if traces and self.file.truncate_log():
            self.put_meta(_TRACES, "0")

    def put_terms(self, terms: Iterable[tuple[int, Sequence[str], Sequence[str]]], analyser: int) -> None:
        """Put in new terms for all chunks (id, terms, terms of the name), as a later analyser makes them."""
        with self.file.writing() as db:
            db.execute("DELETE FROM chunk_term")
            for chunk_id, body, name in terms:
                _put_terms(db, chunk_id, body, name)
                db.execute("UPDATE chunk SET length = ? WHERE id = ?", (len(body), chunk_id))
            db.execute("UPDATE meta SET value = ? WHERE key = 'analyser'", (analyser,))


def _put_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
    )


def _update(db: sqlite3.Connection, version: Pending, facts: FileFacts | None, **columns: object) -> bool:
    """Change one row of the manifest; what was queued meanwhile goes on waiting. False: there is no such row."""
    columns |= (asdict(facts) if facts else {}) | {"updated_at": time.time()}
    changes = ", ".join(f"{name} = ?" for name in columns)
    # Not "parsing" any more: it was put into the queue again while it was read.
    done = "pending = 'parsing' AND pending_hash = ?"
    changed = db.execute(
        f"UPDATE document SET {changes}, pending = iif({done}, '', pending), "
        f"pending_hash = iif({done}, '', pending_hash) WHERE id = ?",
        (*columns.values(), version.pending_hash, version.pending_hash, version.id),
    )
    return changed.rowcount > 0


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


def _swap_chunks(db: sqlite3.Connection, doc_id: int, chunks: Sequence[TermedChunk]) -> None:
    """Make these the chunks of a document: the rows of those that it has stay, with their terms."""
    known: dict[tuple[object, ...], deque[tuple[int, int, int]]] = {}
    for id, start, end, *kind in db.execute(
        "SELECT id, start, end, page, heading, hash, lead FROM chunk WHERE doc_id = ? ORDER BY start",
        (doc_id,),
    ):
        known.setdefault(tuple(kind), deque()).append((id, start, end))
    for chunk, terms, name_terms in chunks:
        kind = [chunk.page, json.dumps(chunk.heading, ensure_ascii=False), chunk.hash, chunk.lead]
        if same := known.get(tuple(kind)):
            id, *place = same.popleft()
            if place != [chunk.start, chunk.end]:
                db.execute("UPDATE chunk SET start = ?, end = ? WHERE id = ?", (chunk.start, chunk.end, id))
            continue
        id = db.execute(
            "INSERT INTO chunk (doc_id, start, end, page, heading, hash, lead, length) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (doc_id, chunk.start, chunk.end, *kind, len(terms)),
        ).lastrowid
        _put_terms(db, int(id or 0), terms, name_terms)
    gone = [(id,) for left in known.values() for id, _, _ in left]
    db.executemany("DELETE FROM chunk_term WHERE rowid = ?", gone)
    db.executemany("DELETE FROM chunk WHERE id = ?", gone)


def _drop_chunks(db: sqlite3.Connection, doc_id: int) -> None:
    db.execute("DELETE FROM chunk_term WHERE rowid IN (SELECT id FROM chunk WHERE doc_id = ?)", (doc_id,))
    db.execute("DELETE FROM chunk WHERE doc_id = ?", (doc_id,))


def _drop_text(db: sqlite3.Connection, hash: str | None) -> None:
    """Delete a text, unless a document still has it."""
    db.execute(
        "DELETE FROM text WHERE hash = ? AND NOT EXISTS (SELECT 1 FROM document WHERE text_hash = ?)",
        (hash, hash),
    )
