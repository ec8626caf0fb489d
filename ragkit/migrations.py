"""The layout of a library's SQLite file, and how an older one is brought up to date."""

from __future__ import annotations

import sqlite3

from ragkit.errors import LibraryTooNew
from ragkit.text import ANALYSER_VERSION

# Each entry is run once, in order, in one transaction; PRAGMA user_version counts them. Never change
# one that was released: add another.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('generation', 0)",  # raised by every write: tells memory that it is stale
        f"INSERT INTO meta VALUES ('analyser', {ANALYSER_VERSION})",
        "CREATE TABLE root (id TEXT PRIMARY KEY, label TEXT NOT NULL UNIQUE, folder TEXT) WITHOUT ROWID",
        "CREATE TABLE text (hash TEXT PRIMARY KEY, text TEXT NOT NULL)",
        """CREATE TABLE document (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            root TEXT NOT NULL REFERENCES root (id),
            path TEXT NOT NULL,
            size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, hash TEXT NOT NULL, made_by TEXT NOT NULL,
            text_hash TEXT REFERENCES text (hash),
            title TEXT NOT NULL DEFAULT '', pages INTEGER, encoding TEXT,
            seconds REAL NOT NULL DEFAULT 0, updated_at REAL NOT NULL,
            error_code TEXT NOT NULL, error TEXT NOT NULL, hint TEXT NOT NULL,
            UNIQUE (root, path))""",
        "CREATE INDEX document_text ON document (text_hash)",
        # AUTOINCREMENT: the id of a chunk that is gone never comes back as another one.
        """CREATE TABLE chunk (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            doc_id INTEGER NOT NULL REFERENCES document (id),
            start INTEGER NOT NULL, end INTEGER NOT NULL, page INTEGER, heading TEXT NOT NULL,
            hash TEXT NOT NULL, length INTEGER NOT NULL, lead TEXT NOT NULL)""",
        "CREATE INDEX chunk_doc ON chunk (doc_id)",
        "CREATE INDEX chunk_hash ON chunk (hash)",
        # The terms are made by ragkit.text; "ascii" leaves them as they are, whatever the script.
        "CREATE VIRTUAL TABLE chunk_term USING fts5 (body, name, tokenize = 'ascii')",
        "CREATE VIRTUAL TABLE chunk_vocabulary USING fts5vocab (chunk_term, row)",
        """CREATE TABLE vector (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            model TEXT NOT NULL, hash TEXT NOT NULL, data BLOB NOT NULL,
            UNIQUE (hash, model))""",
    ),
    (
        # A version that is not in yet: "" none, "queued", or "parsing" (after a crash the same as queued).
        "ALTER TABLE document ADD COLUMN pending TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE document ADD COLUMN pending_hash TEXT NOT NULL DEFAULT ''",  # the kept original it is read from
        "ALTER TABLE document ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX document_pending ON document (priority DESC, id) WHERE pending != ''",
        "ALTER TABLE document ADD COLUMN chars INTEGER NOT NULL DEFAULT 0",
        "UPDATE document SET chars = COALESCE((SELECT length(text) FROM text WHERE hash = text_hash), 0)",
        "ALTER TABLE document ADD COLUMN pages_without_text TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE document ADD COLUMN ocr_pages TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE document ADD COLUMN ocr_state TEXT NOT NULL DEFAULT ''",
    ),
)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to the newest layout. Raises LibraryTooNew for one of a later ragkit."""
    newest = len(MIGRATIONS)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise LibraryTooNew(
            f"this library has layout {version}, and this ragkit knows layouts up to {newest}",
            "Update ragkit, or choose another library with --kb.",
        )
    if version == newest:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()  # another process may have been first
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {newest}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def layout(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Tables, indices and whatever else the file defines, to compare with what it should define. The tables
    inside the full-text index are left out: they are SQLite's business, and differ with its version."""
    return db.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master "
        "WHERE NOT (type = 'table' AND name GLOB 'chunk_term_*') ORDER BY type, name"
    ).fetchall()
