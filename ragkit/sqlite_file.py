"""One SQLite file: a connection for each thread, reading and writing transactions, errors made ours."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

from ragkit.errors import StoreError
from ragkit.migrations import migrate


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly; the built-in class cannot."""


class SqliteFile:
    """Opens the file at `path`, making or migrating it. Raises StoreError, LibraryTooNew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        # Weak: the connection of a thread that ended is closed with it, not kept until the end.
        self._connections: WeakSet[_Connection] = WeakSet()
        self._lock = threading.Lock()
        with _ours(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            migrate(self._connection)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in list(self._connections):
                connection.close()
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # check_same_thread is off for close() alone; no two threads use one connection.
            connection = sqlite3.connect(
                self.path, isolation_level=None, timeout=30, check_same_thread=False, factory=_Connection
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
            connection.execute("PRAGMA trusted_schema = OFF")  # the file may have come from elsewhere
            self._local.connection = connection
            with self._lock:
                self._connections.add(connection)
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the file for all reads inside, whoever writes meanwhile. May be nested."""
        with _ours(self.path):
            db = self._connection
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.rollback()  # nothing was written: the same as a commit, and it cannot fail half-way

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it, or nothing. Raises the generation, so that memory knows it is stale."""
        with _ours(self.path):
            db = self._connection
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of one query."""
        with _ours(self.path):
            return self._connection.execute(sql, values).fetchall()

    def truncate_log(self) -> bool:
        """Write the log into the file and empty it; False when somebody reads, and it has to be done later."""
        return bool(self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0)

    def generation(self) -> int:
        """A number that every write raises, in any process."""
        return int(self.rows("SELECT value FROM meta WHERE key = 'generation'")[0][0])


@contextmanager
def _ours(file: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into StoreError at this border."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _store_error(file, error) from error
    except OSError as error:
        raise StoreError(
            f"cannot use {file}: {error}", "Check that the folder exists and can be written to."
        ) from error


def _store_error(file: Path, error: sqlite3.DatabaseError) -> StoreError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreError(f"{file} is locked by another program", "Close what has it open, then try again.")
    if "full" in text:
        return StoreError(f"no room left to write {file}", "Free some disk space, then try again.")
    if "not a database" in text or "malformed" in text:
        return StoreError(
            f"{file} is damaged: {text}",
            "Move the file away and sync again: it is built anew from the documents.",
        )
    return StoreError(f"{file}: {text}", "Check that the folder can be written to.")
