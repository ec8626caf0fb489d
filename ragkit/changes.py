"""What a scan of a folder says against the manifest: new, changed, renamed, gone. Decides; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ragkit.chunking import CHUNKER_VERSION
from ragkit.errors import ReadError
from ragkit.readers import READERS_VERSION
from ragkit.scan import Files, Found, Scan, hash_file
from ragkit.schema import SyncReport
from ragkit.store import FileFacts, ManifestRow

MADE_BY = f"reader {READERS_VERSION}, chunker {CHUNKER_VERSION}"


@dataclass(slots=True)
class Changes:
    """What there is to do, by path; ids are those of the documents that are there."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    moved: dict[str, tuple[int, FileFacts]] = field(default_factory=dict)  # new path -> document
    moved_from: dict[str, str] = field(default_factory=dict)  # new path -> old one
    gone: dict[str, int] = field(default_factory=dict)
    touched: list[tuple[int, FileFacts]] = field(default_factory=list)
    broken: dict[str, ManifestRow] = field(default_factory=dict)  # unchanged since it could not be read
    unreadable: dict[str, ReadError] = field(default_factory=dict)  # folders that could not be looked into
    unchanged: int = 0


# More gone at once than this, and more than this share of the folder: somebody ought to look first.
MANY_GONE, MOST_GONE = 10, 0.5


def is_mostly_gone(preview: SyncReport) -> bool:
    """Whether so much of a folder is gone that it may be a mistake: a drive half mounted, a wrong command."""
    gone = len(preview.removed)
    before = preview.unchanged + len(preview.updated) + len(preview.moved) + gone
    return gone > MANY_GONE and gone > MOST_GONE * before


def compare(folder: Path, seen: Scan, known: Mapping[str, ManifestRow], files: Files) -> Changes:
    """Size and date first; where they differ, the content decides. What lies where the scan could not look
    is not gone."""
    changes = Changes(
        unreadable={path: error for path, error in seen.unreadable.items() if not _is_file(path, seen)}
    )
    for path, found in seen.files.items():
        row = known.get(path)
        if row is None or not row.facts.made_by:
            changes.added.append(path)
        elif (
            row.pending or row.facts.made_by != MADE_BY or not _same(folder, path, found, row, changes, files)
        ):
            changes.updated.append(path)
        elif row.error_code:
            changes.broken[path] = row  # still broken, and still said; reading it again would only cost time
        else:
            changes.unchanged += 1
    changes.gone = {
        path: row.id for path, row in known.items() if path not in seen.files and not seen.hides(path)
    }
    _find_moves(folder, seen, known, changes, files)
    return changes


def _is_file(prefix: str, seen: Scan) -> bool:
    """An archive stands in the scan as a file, and its reading says what is wrong with it."""
    return prefix.rstrip("/") in seen.files


def _same(folder: Path, path: str, found: Found, row: ManifestRow, changes: Changes, files: Files) -> bool:
    if (found.size_bytes, found.mtime_ns) == (row.facts.size_bytes, row.facts.mtime_ns):
        return True
    if _hash(folder, path, files) != row.facts.hash:
        return False
    facts = FileFacts(found.size_bytes, found.mtime_ns, row.facts.hash, MADE_BY)
    changes.touched.append((row.id, facts))
    return True


def _find_moves(
    folder: Path, seen: Scan, known: Mapping[str, ManifestRow], changes: Changes, files: Files
) -> None:
    """A new file with the content of one that is gone is that one under another name."""
    left = {
        path: row
        for path in changes.gone
        if not (row := known[path]).error_code and not row.pending and row.facts.made_by == MADE_BY
    }
    sizes = {row.facts.size_bytes for row in left.values()}
    for path in list(changes.added):
        found = seen.files[path]
        if path in known or found.size_bytes not in sizes:
            continue
        hash = _hash(folder, path, files)
        before = next(
            (old for old, row in left.items() if row.facts.hash == hash and _kind(old) == _kind(path)), None
        )
        if before is not None:
            facts = FileFacts(found.size_bytes, found.mtime_ns, hash, MADE_BY)
            changes.moved[path] = (left.pop(before).id, facts)
            changes.moved_from[path] = before
            changes.added.remove(path)
            del changes.gone[before]


def _kind(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _hash(folder: Path, path: str, files: Files) -> str:
    try:
        with files.file(folder, path) as (file, _):
            return hash_file(file)
    except (OSError, ReadError):
        return ""  # no content has this hash: the file is read, and the reading says what is wrong
