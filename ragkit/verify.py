"""Check a library against its own rules: slices, hashes, terms, vectors, originals, nothing left over.

Reads only, but for FTS5's own check, which SQLite counts as a write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ragkit.chunking import index_text
from ragkit.errors import StoreError
from ragkit.scan import UPLOADS, hash_file
from ragkit.sqlite_store import SqliteStore
from ragkit.text import ANALYSER_VERSION, index_terms

# What no document has: each query gives the names of the rows that are left over.
_ORPHANS = {
    "text without a document": "SELECT hash FROM text WHERE hash NOT IN (SELECT text_hash FROM document "
    "WHERE text_hash IS NOT NULL)",
    "vector without a chunk": "SELECT DISTINCT hash FROM vector WHERE hash NOT IN (SELECT hash FROM chunk)",
    "terms without a chunk": "SELECT rowid FROM chunk_term WHERE rowid NOT IN (SELECT id FROM chunk)",
    "chunk without terms": "SELECT id FROM chunk WHERE id NOT IN (SELECT rowid FROM chunk_term)",
}


def verify(store: SqliteStore, originals: Path, model: str = "") -> list[str]:
    """Every fault that is found, in words; [] for a sound library. `model`: whose vectors must all be there."""
    return [
        *_database(store),
        *_orphans(store),
        *_texts(store),
        *_chunks(store),
        *_vectors(store, model),
        *_originals(store, originals),
    ]


def _database(store: SqliteStore) -> Iterator[str]:
    for (told,) in store.file.rows("PRAGMA integrity_check"):
        if told != "ok":
            yield f"SQLite: {told}"
    for row in store.file.rows("PRAGMA foreign_key_check"):
        yield f"SQLite: row {row[1]} of {row[0]} refers to nothing"
    try:
        store.file.rows("INSERT INTO chunk_term (chunk_term) VALUES ('integrity-check')")
    except StoreError as error:
        yield f"full-text index: {error.message}"


def _orphans(store: SqliteStore) -> Iterator[str]:
    for what, query in _ORPHANS.items():
        rows = store.file.rows(query)
        if rows:
            yield f"{what}: {len(rows)} (for example {rows[0][0]})"


def _texts(store: SqliteStore) -> Iterator[str]:
    for (hash,) in store.file.rows("SELECT hash FROM text"):
        ((text,),) = store.file.rows("SELECT text FROM text WHERE hash = ?", hash)
        if blake2b(text.encode(), digest_size=16).hexdigest() != hash:
            yield f"text {hash} is not what it was when it was stored"


def _chunks(store: SqliteStore) -> Iterator[str]:
    lengths = dict(store.file.rows("SELECT id, chars FROM document"))
    terms_are_current = store.meta("analyser") == str(ANALYSER_VERSION)
    for chunk in store.all_chunks():
        where = f"{chunk.source}, chunk {chunk.id}"
        if not 0 <= chunk.start < chunk.end <= lengths[chunk.doc_id]:
            yield f"{where}: {chunk.start} to {chunk.end} is no place in its text"
            continue
        text = index_text(chunk.title, chunk.heading, chunk.lead + chunk.text)
        if blake2b(text.encode(), digest_size=16).hexdigest() != chunk.hash:
            yield f"{where}: is not the slice that it was made of"
        if terms_are_current:
            rows = store.file.rows("SELECT body FROM chunk_term WHERE rowid = ?", chunk.id)
            if rows and rows[0][0] != " ".join(index_terms(text)):
                yield f"{where}: its terms are not those of its text"


def _vectors(store: SqliteStore, model: str) -> Iterator[str]:
    missing = len(store.without_vector(model)) if model else 0
    if missing:
        yield f"chunks without a vector: {missing}"
    for name in store.vector_models():
        record = json.loads(name) if name.startswith("{") else {}
        short = record.get("name", name)
        ((least, most),) = store.file.rows(
            "SELECT min(length(data)), max(length(data)) FROM vector WHERE model = ?", name
        )
        if least != most or least % 4:
            yield f"vectors of {short} differ in length: {least} to {most} bytes"
            continue
        for id, data in store.file.rows("SELECT id, data FROM vector WHERE model = ?", name):
            norm = float(np.linalg.norm(np.frombuffer(data, "<f4")))
            if not abs(norm - 1) < 1e-3 and record.get("normalise", True):
                yield f"vector {id} of {short} has length {norm:.3f}, not 1"


def _originals(store: SqliteStore, originals: Path) -> Iterator[str]:
    wanted: dict[str, str] = {}
    for path, row in store.manifest(UPLOADS.id).items():
        wanted |= {hash: path for hash in (row.facts.hash, row.pending_hash) if hash}
    for hash, path in wanted.items():
        file = originals / hash[:2] / hash
        if not file.is_file():
            yield f"{UPLOADS.label}/{path}: its original is missing"
        elif hash_file(file) != hash:
            yield f"{UPLOADS.label}/{path}: its original is not what it was when it was added"
    for file in originals.glob("??/*"):
        if file.name not in wanted:
            yield f"a kept original that no document has: {file.name}"
