"""The reading half of the store: terms, chunks and vectors, as retrieval wants them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.schema import Coverage, Filters
from ragkit.sqlite_file import SqliteFile
from ragkit.store import Candidate, Statistics, StoredChunk
from ragkit.text import cjk_share
from ragkit.vectors import VectorMatrix, VectorTable

_SAMPLE = 200  # chunks
_CHINESE = 0.3  # of the letters of a chunk: Chinese texts about software hold many English names
NAME_WEIGHT = 0.5  # a word of the file's name, beside one of its text
EMBEDDED = (
    "EXISTS (SELECT 1 FROM vector v WHERE v.hash = c.hash AND v.model = ?1)"  # a chunk c; parameter: model
)

_SOURCE = "(r.label || '/' || d.path)"
# What waits to be read for the first time has no date of its own yet.
_CHANGED = "iif(d.mtime_ns > 0, d.mtime_ns / 1e9, d.updated_at)"


class SqliteSearch:
    """What is searched of a library in one file; `SqliteStore` adds what is written."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._statistics = (-1, 0, 0.0)  # generation, chunks, mean length
        self._cjk = (-1, 0.0)  # generation, share
        self._coverage: dict[str, tuple[int, Coverage]] = {}  # model -> generation, coverage
        self._vectors: dict[str, VectorTable] = {}

    # ── Lexical ──

    def matching(self, filters: Filters) -> frozenset[int] | None:
        """The documents that meet `filters`; None for all of them, so that no filter costs nothing."""
        if filters == Filters():
            return None
        conditions = {
            "d.id IN (SELECT value FROM json_each(?))": sorted(filters.documents),
            f"EXISTS (SELECT 1 FROM json_each(?) WHERE {_SOURCE} = value "
            f"OR substr({_SOURCE}, 1, length(value) + 1) = value || '/')": [
                place.rstrip("/") for place in filters.places
            ],
            "EXISTS (SELECT 1 FROM json_each(?) WHERE lower(substr(d.path, -length(value))) = value)": [
                f".{ending.lstrip('.').lower()}" for ending in sorted(filters.types)
            ],
            f"{_CHANGED} >= json_extract(?, '$[0]')": [] if filters.since is None else [filters.since],
            f"{_CHANGED} < json_extract(?, '$[0]')": [] if filters.until is None else [filters.until],
        }
        given = {condition: json.dumps(wanted) for condition, wanted in conditions.items() if wanted}
        rows = self.file.rows(
            f"SELECT d.id FROM document d JOIN root r ON r.id = d.root WHERE {' AND '.join(given)}",
            *given.values(),
        )
        return frozenset(id for (id,) in rows)

    def candidates(
        self, terms: Sequence[str], limit: int, documents: frozenset[int] | None = None
    ) -> list[Candidate]:
        """The chunks that match best by FTS5's own score, which ties in small libraries: so only a choice."""
        wanted = {term: f" {term} " for term in terms}
        if not wanted:
            return []
        match = " OR ".join(f'"{term}"' for term in sorted(wanted))
        within = (
            "AND c.doc_id IN (SELECT value FROM json_each(?))"
            if documents is not None
            else "AND ? IS NOT NULL"
        )
        rows = self.file.rows(
            "SELECT c.id, c.doc_id, c.length, f.body, f.name FROM chunk_term f JOIN chunk c ON c.id = f.rowid "
            f"WHERE chunk_term MATCH ? {within} ORDER BY f.rank LIMIT ?",
            match,
            json.dumps(sorted(documents or ())),
            limit,
        )
        found = []
        for chunk_id, doc_id, length, body, name in rows:
            # Two spaces, because count() does not let matches share one. Three times faster than a loop over
            # the terms of 200 passages.
            in_body, in_name = (f" {text.replace(' ', '  ')} " for text in (body, name))
            counts = {
                term: count
                for term, padded in wanted.items()
                if (count := in_body.count(padded) + NAME_WEIGHT * in_name.count(padded))
            }
            found.append(Candidate(chunk_id, doc_id, length, counts))
        return found

    def terms(self, hashes: Iterable[str]) -> dict[str, list[str]]:
        """The terms of the chunks of these hashes, as far as any document has them."""
        rows = self.file.rows(
            "SELECT c.hash, f.body FROM (SELECT hash, MIN(id) AS id FROM chunk "
            "WHERE hash IN (SELECT value FROM json_each(?)) GROUP BY hash) c JOIN chunk_term f ON f.rowid = c.id",
            json.dumps(list(hashes)),
        )
        return {hash: body.split(" ") for hash, body in rows if body}

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

    def longer_forms(self, word: str) -> list[str]:
        """What the library says with one more character inside a word of two: 年假 -> 年休假; the most
        frequent first."""
        first, last = word[0], word[1]
        begun = self.file.rows(
            "SELECT term FROM chunk_vocabulary WHERE term > ?1 AND term < ?1 || char(0x10ffff) AND length(term) = 2",
            first,
        )
        ends = {inner + last: inner for inner in (term[1] for (term,) in begun)}
        there = self.file.rows(
            "SELECT term FROM chunk_vocabulary WHERE term IN (SELECT value FROM json_each(?))",
            json.dumps(sorted(ends), ensure_ascii=False),
        )
        count = "SELECT COUNT(*) FROM chunk_term WHERE chunk_term MATCH ?"
        held: list[tuple[int, str]] = []
        for (end,) in there:
            inner = ends[end]  # as in index_terms: each pair of characters, and each character between
            ((chunks,),) = self.file.rows(count, f'"{first}{inner} {inner} {end}"')
            held += [(-chunks, first + inner + last)] * bool(chunks)
        return [form for _, form in sorted(held)]

    def chunks(self, ids: Sequence[int]) -> dict[int, StoredChunk]:
        """The chunks of these ids; one that is gone meanwhile is left out."""
        return {chunk.id: chunk for chunk in self._chunks("c.id IN (SELECT value FROM json_each(?))", ids)}

    def cjk_share(self) -> float:
        """The share of the chunks that are mostly in Chinese, of a sample spread over the library."""
        generation = self.file.generation()
        if self._cjk[0] != generation:
            (count,) = self.file.rows("SELECT COUNT(*) FROM chunk")[0]
            step = max(1, count // _SAMPLE)
            ids = [id for (id,) in self.file.rows("SELECT id FROM chunk ORDER BY id")][::step][:_SAMPLE]
            shares = [cjk_share(chunk.text) > _CHINESE for chunk in self.chunks(ids).values()]
            self._cjk = (generation, sum(shares) / max(1, len(shares)))
        return self._cjk[1]

    def opening_chunks(self, doc_ids: Sequence[int]) -> list[StoredChunk]:
        """The first chunk of each document, in the order of the manifest."""
        first = "SELECT id, MIN(start) FROM chunk WHERE doc_id IN (SELECT value FROM json_each(?)) GROUP BY doc_id"
        return self._chunks(f"c.id IN (SELECT id FROM ({first}))", doc_ids)

    def all_chunks(self) -> Iterator[StoredChunk]:
        """Every chunk, document by document."""
        for (doc_id,) in self.file.rows("SELECT id FROM document ORDER BY id"):
            yield from self.chunks_of(doc_id)

    def chunks_of(self, doc_id: int) -> list[StoredChunk]:
        """The chunks of a document, in order."""
        return self._chunks("c.doc_id IN (SELECT value FROM json_each(?))", [doc_id])

    def headings(self, doc_ids: Sequence[int]) -> dict[int, list[tuple[str, ...]]]:
        """The heading paths of each document, in order, each once."""
        rows = self.file.rows(
            "SELECT doc_id, heading FROM chunk WHERE doc_id IN (SELECT value FROM json_each(?)) ORDER BY start",
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
            "ORDER BY r.label, d.path, c.start",
            json.dumps(list(ids)),
        )
        return [StoredChunk._make((*row[:5], tuple(json.loads(row[5])), *row[6:])) for row in rows]

    # ── Vectors ──

    def without_vector(self, model: str) -> list[tuple[str, int]]:
        """The chunk hashes that `model` has not embedded yet, each with one chunk id that has it; what came
        last stands first, because that is what the user waits for."""
        rows = self.file.rows(
            "SELECT c.hash, MAX(c.id) FROM chunk c LEFT JOIN vector v ON v.hash = c.hash AND v.model = ? "
            "WHERE v.id IS NULL GROUP BY c.hash ORDER BY MAX(c.id) DESC",
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

    def vector_models(self) -> dict[str, int]:
        """The models that vectors are there of, with how many."""
        return dict(self.file.rows("SELECT model, COUNT(*) FROM vector GROUP BY model"))

    def keep_vectors(self, *models: str) -> None:
        """Forget the vectors of all models but these."""
        if self.vector_models().keys() <= set(models):
            return
        with self.file.writing() as db:
            db.execute(
                "DELETE FROM vector WHERE model NOT IN (SELECT value FROM json_each(?))",
                (json.dumps(models),),
            )
        with self._lock:
            self._vectors = {key: table for key, table in self._vectors.items() if key in models}

    def rename_vectors(self, old: str, new: str) -> None:
        """Take the vectors of `old` for those of `new`: the same vectors under a record that says more."""
        with self.file.writing() as db:
            db.execute("UPDATE OR REPLACE vector SET model = ? WHERE model = ?", (new, old))
            db.execute("UPDATE meta SET value = ? WHERE key = 'embedding' AND value = ?", (new, old))

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
            ((*counts,),) = self.file.rows(  # in the order of Coverage's fields
                "SELECT (SELECT COUNT(DISTINCT doc_id) FROM chunk), (SELECT COUNT(*) FROM chunk), "
                f"(SELECT COUNT(*) FROM chunk c WHERE {EMBEDDED}), "
                "(SELECT COUNT(*) FROM document WHERE pending != '' AND text_hash IS NULL)",
                model,
            )
            known = self._coverage[model] = (generation, Coverage(*counts))
        return known[1]
