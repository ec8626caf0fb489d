"""A library as one file, and back: texts, vectors, settings and kept originals, on any machine.

The file is a ZIP archive with an SQLite database in it. What comes in is not trusted: names, sizes, hashes
and the database's layout are checked before anything is put in place. Folders stay behind, because another
machine has others; a folder of the same name is taken again when it is synced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from ragkit.errors import BrokenExport, LibraryTooNew, StoreError, UsageError
from ragkit.migrations import MIGRATIONS, layout
from ragkit.scan import hash_file
from ragkit.schema import OnProgress, Progress, no_progress
from ragkit.sqlite_store import SqliteStore
from ragkit.verify import verify

FORMAT = 1
_NOTE, _DATABASE = "library.json", "kb.sqlite"
_MEMBER = re.compile(r"library\.json|kb\.sqlite|originals/([0-9a-f]{2})/\1[0-9a-f]{30}")
_BLOCK = 1 << 20
_FETCH_AGAIN = "Export the library again, or copy the file again."

Writing = Callable[[], AbstractContextManager[None]]


def export_library(
    store: SqliteStore, kb: Path, file: Path, writing: Writing, *, progress: OnProgress = no_progress
) -> None:
    """Write the library in `kb` to `file`, as it is at one moment, while it goes on being used.

    Raises StoreError, and then an older `file` is as it was.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with tempfile.TemporaryDirectory(dir=kb / "tmp") as scratch:
            copy = Path(scratch) / _DATABASE
            with writing():  # the database and the originals of one moment
                _back_up(store.file.path, copy)
                originals = _keep_hold(copy, kb / "originals", Path(scratch))
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
                target.writestr(_NOTE, json.dumps(_note(copy, len(originals)), ensure_ascii=False, indent=1))
                target.write(copy, _DATABASE)
                for done, (hash, place) in enumerate(originals.items()):
                    progress(Progress("read", done, len(originals)))
                    target.write(place, f"originals/{hash[:2]}/{hash}")
        part.replace(file)
    except OSError as error:
        raise StoreError(
            f"{file} cannot be written: {error.strerror or error}",
            "Choose another place, or free some space.",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _back_up(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
        target.execute("UPDATE root SET folder = NULL")  # nobody else's business, and nobody else has it
        target.commit()


def _keep_hold(copy: Path, originals: Path, scratch: Path) -> dict[str, Path]:
    """The originals that the copy names, under names that stay if a document is deleted meanwhile."""
    with closing(sqlite3.connect(copy)) as db:
        hashes = {
            hash
            for row in db.execute("SELECT hash, pending_hash FROM document WHERE root = 'uploads'")
            for hash in row
            if hash
        }
    held: dict[str, Path] = {}
    for hash in sorted(hashes):
        place, link = originals / hash[:2] / hash, scratch / hash
        if not place.is_file():
            continue
        try:
            os.link(place, link)
        except OSError:  # a file system without links
            shutil.copyfile(place, link)
        held[hash] = link
    return held


def _note(copy: Path, originals: int) -> dict[str, object]:
    with closing(sqlite3.connect(copy)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (documents,) = db.execute("SELECT COUNT(*) FROM document").fetchone()
        (chunks,) = db.execute("SELECT COUNT(*) FROM chunk").fetchone()
        models = [model for (model,) in db.execute("SELECT DISTINCT model FROM vector")]
    return {
        "format": FORMAT,
        "layout": version,
        "documents": documents,
        "chunks": chunks,
        "originals": originals,
        "embedding": models,
        "exported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def import_library(file: Path, kb: Path) -> None:
    """Make `file` the library in the folder `kb`, which must not hold one yet.

    Raises UsageError, BrokenExport, LibraryTooNew; and then `kb` is as it was. They name the file without its
    folder: what came through the page lies in one that its user has never heard of.
    """
    if (kb / _DATABASE).exists():
        raise UsageError(f"there is a library in {kb} already", "Choose another name or folder with --kb.")
    kb.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=kb.parent, prefix=".import-") as scratch:
        place = Path(scratch) / "kb"
        try:
            with zipfile.ZipFile(file) as source:
                _unpack(source, place)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
            raise BrokenExport(
                f"{file.name} is damaged, or no exported library: {error}", _FETCH_AGAIN
            ) from error
        except OSError as error:
            raise UsageError(
                f"{file.name} cannot be read or unpacked: {error.strerror or error}",
                "Check the file and the disk.",
            ) from error
        try:
            _check(place, file.name)
        except (BrokenExport, LibraryTooNew):
            raise
        except StoreError as error:  # of SQLite, about the place where it was unpacked
            raise BrokenExport(f"{file.name} is damaged: {error.__cause__}", _FETCH_AGAIN) from error
        if kb.is_dir():
            kb.rmdir()  # an empty one; anything else must not be touched
        place.rename(kb)


def _unpack(source: zipfile.ZipFile, place: Path) -> None:
    members = source.infolist()
    names = [member.filename for member in members]
    if _NOTE not in names or _DATABASE not in names or len(set(names)) != len(names):
        raise zipfile.BadZipFile("it does not hold a library")
    for name in names:
        if not _MEMBER.fullmatch(name):
            raise zipfile.BadZipFile(f"it holds {name!r}, which no library does")
    wanted = sum(member.file_size for member in members)
    free = shutil.disk_usage(place.parent).free
    if wanted > 0.95 * free:
        raise UsageError(
            f"the library takes {wanted / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free",
            "Free some disk space.",
        )
    note = json.loads(_read_small(source, _NOTE))
    if not isinstance(note, dict) or not isinstance(note.get("format"), int):
        raise zipfile.BadZipFile("its note says nothing of a library")
    if note["format"] > FORMAT:
        raise LibraryTooNew("this library was exported by a later ragkit", "Update ragkit, then import it.")
    for member in members:
        target = place / member.filename
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with source.open(member) as packed, target.open("wb") as unpacked:
            left = member.file_size  # as announced, and as the free space was measured against
            while block := packed.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise zipfile.BadZipFile("it unpacks to more than it says")
                unpacked.write(block)
    (place / _NOTE).unlink()


def _read_small(source: zipfile.ZipFile, name: str) -> bytes:
    with source.open(name) as packed:
        return packed.read(_BLOCK)


def _check(place: Path, name: str) -> None:
    """Refuse a database that is not laid out as ours (it could carry statements of its own), or not sound."""
    for original in (place / "originals").glob("??/*"):
        if hash_file(original) != original.name:
            raise BrokenExport(f"{name} is damaged: an original is not what it was", _FETCH_AGAIN)
    database = place / _DATABASE
    try:
        with closing(sqlite3.connect(database)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version <= len(MIGRATIONS) and layout(db) != _layout_of(version):
                raise BrokenExport(f"{name} is no library of ragkit: its tables are others", _FETCH_AGAIN)
    except sqlite3.DatabaseError as error:
        raise BrokenExport(f"{name} is damaged: {error}", _FETCH_AGAIN) from error
    store = SqliteStore(database)  # brings an older layout up to date; refuses a newer one
    try:
        with store.file.writing() as db:
            db.execute("UPDATE root SET folder = NULL")
        faults = verify(store, place / "originals")
    finally:
        store.file.truncate_log()
        store.close()
    if faults:
        raise BrokenExport(f"{name} is not sound: {faults[0]}", _FETCH_AGAIN)


def _layout_of(version: int) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                db.execute(statement)
        return layout(db)
