"""What lies in a folder: its files and those in its archives, their names made harmless, their contents hashed.

Looks only; it knows nothing of the library.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from ragkit import archive
from ragkit.errors import EmptyFile, FileVanished, ReadError
from ragkit.readers import supported, unsupported
from ragkit.readers.zip_file import safe_path
from ragkit.store import Root

UPLOADS = Root("uploads", "uploads", None)
ARCHIVE = ".zip"
MAX_FOLDERS = 64  # in each other, above a file of a dropped folder
_OPEN_IT = "Check that it is still there and that you may read it."
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the scan sees it; -1 when it cannot be looked at. In an archive the date tells of the content too."""

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


def scan(folder: Path, only: str = "") -> Scan:
    """List the files that ragkit reads; hidden ones and links are left out, archives are looked into.

    `only` is the path of the one file to look at, whatever it is called.
    """
    found = Scan()
    if not only:
        _walk(folder, "", found)
    elif (folder / only).is_file():
        if is_archive(only):
            _look_into(folder / only, only, found)
        else:
            found.files[only] = _facts(folder / only)
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
        members = archive.members(file)
        if not members:
            raise nothing_inside()
    except ReadError as error:
        found.unreadable[f"{path}/"] = error
        found.files[path] = _facts(file)  # stands in the table with what is wrong with it
        return
    for member in members:
        found.files[f"{path}/{member.path}"] = Found(member.size_bytes, member.mtime_ns)


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


class Files:
    """Gives the files behind the paths of a scan. Members of archives are unpacked into `scratch` while they are
    needed; the archive that was used last stays open, because its members are asked for one after the other."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._lock = threading.RLock()
        self._open: tuple[Path, Found, archive.Archive] | None = None

    def close(self) -> None:
        """Let go of the archive, so that it can be deleted or replaced where the system minds."""
        with self._lock:
            if self._open is not None:
                self._open[2].close()
                self._open = None

    @contextmanager
    def file(self, folder: Path, path: str) -> Iterator[tuple[Path, Found]]:
        """The file, and what a scan says of it. Raises ReadError when it is not there."""
        holder, member = _split(folder, path)
        if not member:
            yield holder, _facts(holder)
            return
        with self._lock:  # held while the member is used: another thread must not close the archive
            opened = self._archive(holder)
            facts = next(
                (Found(one.size_bytes, one.mtime_ns) for one in opened.members if one.path == member),
                Found(-1, -1),
            )
            with self._unpacked(opened, member) as file:
                yield file, facts

    def members(self, file: Path) -> Iterator[tuple[str, Path]]:
        """Every member of an archive: its path, and the file while it is needed. Raises ReadError."""
        with archive.Archive(file) as opened:
            if not opened.members:
                raise nothing_inside()
            for member in opened.members:
                with self._unpacked(opened, member.path) as unpacked:
                    yield member.path, unpacked

    @contextmanager
    def _unpacked(self, opened: archive.Archive, member: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as place:
            target = Path(place) / "member"
            opened.extract(member, target)
            yield target

    def _archive(self, file: Path) -> archive.Archive:
        facts = _facts(file)
        if self._open is None or self._open[:2] != (file, facts):
            self.close()
            self._open = (file, facts, archive.Archive(file))
        return self._open[2]


def _split(folder: Path, path: str) -> tuple[Path, str]:
    """The file that a path leads to, and the path inside it, if it is an archive."""
    place = folder
    parts = PurePosixPath(path).parts
    for at, part in enumerate(parts):
        place = place / part
        if at + 1 < len(parts) and is_archive(part) and place.is_file():
            return place, "/".join(parts[at + 1 :])
    return place, ""


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


def file_root(place: Path, taken: Sequence[Root]) -> tuple[Root, str]:
    """The root of a folder, and ""; or the root that a single file lies in, and its path there.

    Raises ReadError for a file of a kind that nobody reads.
    """
    place = place.expanduser().resolve()
    if place.is_dir():
        return folder_root(place, taken), ""
    if place.is_file() and not is_archive(place.name) and place.suffix and not supported(place.name):
        raise unsupported(place.name)
    around = [root for root in taken if root.folder is not None and place.is_relative_to(root.folder)]
    root = max(around, key=lambda root: len(str(root.folder)), default=None)
    if root is not None and root.folder is not None and place != root.folder:
        return root, place.relative_to(root.folder).as_posix()
    return (
        (folder_root(place.parent, taken), place.name) if place.is_file() else (folder_root(place, taken), "")
    )


def display_name(name: str) -> str:
    """A file's name as data: the last part, without what a screen or a path could trip over."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in _BIDI)
    stem, dot, suffix = kept.strip().rpartition(".")
    return f"{stem[:110]}{dot}{suffix[:10]}" if stem else kept.strip()[:120] or "unnamed"


def display_path(path: PurePosixPath) -> str:
    """The place of a file in a dropped folder as data, by the rules for the names in an archive. Raises ReadError."""
    safe = safe_path(str(path))
    if safe is None or safe.count("/") > MAX_FOLDERS:
        raise ReadError("The path of this file is too long.", "Move it further up, and drop it once more.")
    folder, slash, last = safe.rpartition("/")
    return f"{folder}{slash}{display_name(last)}"


def hash_file(file: Path) -> str:
    """blake2b of a file's content."""
    digest = blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def vanished(name: str, error: OSError) -> FileVanished:
    return FileVanished(f"{name} cannot be opened: {error.strerror or error}", _OPEN_IT)
