"""What lies in a folder: its files and those in its archives, their names made harmless, their contents hashed.

Looks only; it knows nothing of the library.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from ragkit import archive
from ragkit.errors import EmptyFile, FileVanished, ReadError
from ragkit.readers import supported
from ragkit.store import Root

UPLOADS = Root("uploads", "uploads", None)
ARCHIVE = ".zip"
_OPEN_IT = "Check that it is still there and that you may read it."
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the scan sees it. In an archive the date is the archive's: another one looks inside again."""

    size_bytes: int
    mtime_ns: int


@dataclass(slots=True)
class Scan:
    """What was found, by POSIX path, and the prefixes of paths that could not be looked into."""

    files: dict[str, Found] = field(default_factory=dict)
    unreadable: dict[str, ReadError] = field(default_factory=dict)

    def hides(self, path: str) -> bool:
        """Whether the path lies where the scan could not look: then it is not gone."""
        return path.startswith(tuple(self.unreadable))


def scan(folder: Path) -> Scan:
    """List the files that ragkit reads; hidden ones and links are left out, archives are looked into."""
    found = Scan()
    _walk(folder, "", found)
    return found


def _walk(folder: Path, prefix: str, found: Scan) -> None:
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        found.unreadable[prefix] = FileVanished("this folder cannot be read", _OPEN_IT)
        return
    for entry in ordered:
        path = f"{prefix}{entry.name}"
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            _walk(Path(entry.path), f"{path}/", found)
        elif is_archive(entry.name) and entry.is_file():
            _look_into(Path(entry.path), path, found)
        elif supported(entry.name) and entry.is_file():
            found.files[path] = _facts(Path(entry.path))


def _look_into(file: Path, path: str, found: Scan) -> None:
    try:
        mtime_ns = file.stat().st_mtime_ns
        members = archive.members(file)
        if not members:
            raise nothing_inside()
    except (ReadError, OSError) as error:
        found.unreadable[f"{path}/"] = error if isinstance(error, ReadError) else vanished(file.name, error)
        found.files[path] = _facts(file)  # stands in the table with what is wrong with it
        return
    for member in members:
        found.files[f"{path}/{member.path}"] = Found(member.size_bytes, mtime_ns)


def _facts(file: Path) -> Found:
    try:
        status = file.stat()
    except OSError:  # gone meanwhile, or not to be looked at: the read will say which
        return Found(-1, -1)
    return Found(status.st_size, status.st_mtime_ns)


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE)


def nothing_inside() -> EmptyFile:
    return EmptyFile(
        "There is no file in this archive that can be read.", "Unpack it and look what is in it."
    )


@contextmanager
def located(folder: Path, path: str, scratch: Path) -> Iterator[Path]:
    """The file behind a path of the scan; one in an archive is unpacked into `scratch` while it is needed.

    Raises ReadError when it is not there.
    """
    place = folder
    parts = PurePosixPath(path).parts
    for at, part in enumerate(parts):
        place = place / part
        if at + 1 < len(parts) and is_archive(part) and place.is_file():
            with unpacked(place, "/".join(parts[at + 1 :]), scratch) as file:
                yield file
            return
    yield place


@contextmanager
def unpacked(file: Path, member: str, scratch: Path) -> Iterator[Path]:
    """A member of an archive as a file, as long as it is needed."""
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        target = Path(place) / "member"
        archive.extract(file, member, target)
        yield target


def folder_root(folder: Path, taken: Sequence[Root]) -> Root:
    """The root of a folder: an id from its place, a label from its name that no other root has.

    A root of that name that came from another machine, without its folder, takes this one for it.
    """
    folder = folder.expanduser().resolve()
    id = blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    known = next((root for root in taken if root.id == id or root.folder == folder), None)
    if known is not None:
        return Root(known.id, known.label, folder)
    base = folder.name or "root"
    homeless = next(
        (root for root in taken if root.folder is None and root.id != UPLOADS.id and root.label == base), None
    )
    if homeless is not None:
        return Root(homeless.id, homeless.label, folder)
    labels = {root.label for root in taken} | {UPLOADS.label}
    label, n = base, 1
    while label in labels:
        n += 1
        label = f"{base}-{n}"
    return Root(id, label, folder)


def display_name(name: str) -> str:
    """A file's name as data: the last part, without what a screen or a path could trip over."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in _BIDI)
    stem, dot, suffix = kept.strip().rpartition(".")
    return f"{stem[:110]}{dot}{suffix[:10]}" if stem else kept.strip()[:120] or "unnamed"


def hash_file(file: Path) -> str:
    """blake2b of a file's content."""
    digest = blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def vanished(name: str, error: OSError) -> FileVanished:
    return FileVanished(f"{name} cannot be opened: {error.strerror or error}", _OPEN_IT)
