"""The knowledge bases under data/library: which there are, a new one, one that goes. Opens none of them."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ragkit.config import libraries
from ragkit.errors import LibraryBusy, StoreError, UsageError
from ragkit.locks import ProcessLock

MAX_NAME: Final = 60
_GONE: Final = ".deleted-"
# What some system takes for more than a name: separators, wildcards, a leading dot or a trailing one, a device.
_NO_NAME: Final = re.compile(r'[\x00-\x1f/\\:*?"<>|]|^[.~-]|[. ]$')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shelved:
    """A knowledge base. `id` is all that the browser knows of its folder; `documents` is None if it cannot be read."""

    id: str
    name: str
    folder: Path
    documents: int | None
    size_bytes: int


def listed(data_dir: Path, also: Path) -> list[Shelved]:
    """Those under `data_dir`, by name, and the one at `also`, wherever that lies."""
    folders = {folder.resolve(): None for folder in libraries(data_dir)} | {also.resolve(): None}
    return sorted(map(_look, folders), key=lambda one: one.name.casefold())


def place_of(name: str, data_dir: Path) -> Path:
    """The folder of a new knowledge base. Raises UsageError for what is no name, or one that is taken."""
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or _NO_NAME.search(name) or _DEVICE.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a knowledge base",
            f"Letters, digits, blanks, - and _ make a name, up to {MAX_NAME} characters.",
        )
    if name.casefold() in {folder.name.casefold() for folder in (data_dir / "library").glob("*/")}:
        raise UsageError(f"there is a knowledge base {name!r} already", "Choose another name.")
    return data_dir / "library" / name


def free_place(name: str, data_dir: Path) -> Path:
    """The folder of a new knowledge base that should be called `name`, or nearly so."""
    plain = re.sub(r"[^\w -]+", " ", name).strip(" -")[: MAX_NAME - 5].strip() or "library"
    for wish in (plain, *(f"{plain} {number}" for number in range(2, 1000))):
        try:
            return place_of(wish, data_dir)
        except UsageError:
            continue
    raise UsageError(f"there are too many knowledge bases called {plain!r}", "Delete some of them.")


def delete(folder: Path, data_dir: Path) -> None:
    """Delete a knowledge base with everything that was made of its documents. Raises UsageError, StoreError."""
    if folder.resolve() not in {one.resolve() for one in libraries(data_dir)}:
        raise UsageError(f"{folder} is no knowledge base under {data_dir}", "Delete its folder yourself.")
    gone = folder.with_name(f"{_GONE}{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    with ProcessLock(folder / "lock").trying(0) as mine:
        if not mine:
            raise LibraryBusy(
                f"another program is writing to {folder}", "Wait until it is done, then try again."
            )
    try:
        folder.rename(gone)  # in one step: a crash leaves no half of it
        shutil.rmtree(gone)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be deleted: {error.strerror or error}", "Close what uses it."
        ) from error


def find(shelf: Iterable[Shelved], id: str) -> Shelved | None:
    return next((one for one in shelf if one.id == id), None)


def _look(folder: Path) -> Shelved:
    file = folder / "kb.sqlite"
    id = hashlib.blake2b(str(folder).encode(), digest_size=6).hexdigest()
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)) as db:
            (documents,) = db.execute("SELECT COUNT(*) FROM document").fetchone()
    except sqlite3.Error:
        documents = None
    size = sum(part.stat().st_size for part in (*folder.glob("kb.sqlite*"), *folder.glob("originals/??/*")))
    return Shelved(id, folder.name, folder, documents, size)
