"""Bringing documents into the library: what a folder or a drop changes is queued; then each file is read,
chunked and swapped in.

One bad file never stops the others, and its old version goes on answering.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from ragkit import archive, log
from ragkit.changes import MADE_BY, Changes, compare
from ragkit.chunking import chunk
from ragkit.errors import BrokenFile, ReaderFailed, ReadError, StoreError, UsageError
from ragkit.readers import supported, unsupported
from ragkit.readers.client import ReaderProcess
from ragkit.scan import (
    UPLOADS,
    Files,
    Found,
    display_name,
    display_path,
    hash_file,
    is_archive,
    scan,
    vanished,
)
from ragkit.schema import Conflict, Document, Failure, Parsed, SyncReport
from ragkit.store import FileFacts, ManifestRow, Pending, Root, Store, TermedChunk
from ragkit.text import index_terms

logger = logging.getLogger(__name__)

OnConflict = Literal["ask", "replace", "keep_both"]
# The temporary file, and what it is called: a name, or its path in the folder that was dropped.
Upload = tuple[Path, str | PurePosixPath]
# What the user just dropped goes before what a folder or a new version of ragkit brought.
DROPPED, MIRRORED = 10, 0


@dataclass(slots=True)
class Job:
    """What a sync or a drop asked for: documents that wait, and what was done at once."""

    added: dict[int, str] = field(default_factory=dict)  # id -> source
    updated: dict[int, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    moved_from: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    unchanged: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def ids(self) -> set[int]:
        return {*self.added, *self.updated}

    def report(
        self, documents: Sequence[Document], *, cancelled: bool = False, abandoned: Collection[int] = ()
    ) -> SyncReport:
        """What became of it, by the documents that are there now; `abandoned` were not read after all."""
        wanted = self.ids.difference(abandoned)
        now = {document.id: document for document in documents if document.id in wanted}
        read = {id for id, document in now.items() if document.state in ("ready", "embedding")}
        failed = [
            Failure(document.source, document.error, document.hint, document.error_code)
            for document in now.values()
            if document.state == "failed"
        ]
        return SyncReport(
            added=tuple(source for id, source in self.added.items() if id in read),
            updated=tuple(source for id, source in self.updated.items() if id in read),
            removed=tuple(self.removed),
            moved=tuple(self.moved),
            moved_from=tuple(self.moved_from),
            unchanged=self.unchanged,
            failed=(*self.failed, *failed),
            conflicts=tuple(self.conflicts),
            chunks=sum(document.chunks for document in documents),
            seconds=round(time.monotonic() - self.started, 3),
            cancelled=cancelled,
        )


class Indexer:
    """Writes documents into a store. `writing` is held for every write, and never while a file is read."""

    def __init__(
        self,
        store: Store,
        originals: Path,
        scratch: Path,
        reader: ReaderProcess,
        writing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._store = store
        self._originals = originals
        self._files = Files(scratch)
        self._reader = reader
        self._writing = writing
        # An upload has another original now, or could not be read from its new one; true at first, because
        # whoever worked here last may have been killed before it cleared up.
        self._superseded = True

    # ── A mirrored folder ──

    def look(self, root: Root, only: str = "") -> Changes:
        """Compare a root's folder, or `only` one file of it, with its documents. Raises UsageError when the folder
        cannot be read: nothing is removed on the word of a missing drive."""
        folder = root.folder
        if folder is None or not folder.is_dir():
            raise UsageError(
                f"{folder} is not a folder that can be read",
                "Check the path; if it is on a drive, see that the drive is there.",
            )
        known = self._store.manifest(root.id)
        if only:
            known = {
                path: row
                for path, row in known.items()
                if path == only or (is_archive(only) and path.startswith(f"{only}/"))
            }
            if not known and not (folder / only).is_file():
                raise UsageError(f"{folder / only} is not there", "Check the path.")
        return compare(folder, scan(folder, only), known, self._files)

    def preview(self, root: Root, changes: Changes) -> SyncReport:
        """What the changes would do."""

        def sources(paths: Sequence[str]) -> tuple[str, ...]:
            return tuple(f"{root.label}/{path}" for path in paths)

        return SyncReport(
            added=sources(changes.added),
            updated=sources(changes.updated),
            removed=sources(list(changes.gone)),
            moved=sources(list(changes.moved)),
            moved_from=sources([changes.moved_from[path] for path in changes.moved]),
            unchanged=changes.unchanged,
            failed=tuple(_known_failures(root, changes)),
            chunks=self._store.coverage().chunks,
        )

    def take(self, root: Root, changes: Changes, priority: int) -> Job:
        """Do at once what needs no reading, and queue the rest."""
        job = Job(unchanged=changes.unchanged, failed=list(_known_failures(root, changes)))
        with self._writing():
            self._store.put_root(root)
            for path, (doc_id, facts) in changes.moved.items():
                self._store.move(doc_id, root, path, facts, index_terms(path))
                job.moved.append(f"{root.label}/{path}")
                job.moved_from.append(f"{root.label}/{changes.moved_from[path]}")
            if changes.touched:
                self._store.touch(changes.touched)
            if changes.gone:
                self._store.remove(changes.gone.values())
                job.removed += [f"{root.label}/{path}" for path in changes.gone]
            self._queue(root, [(path, "") for path in changes.added], priority, job.added)
            self._queue(root, [(path, "") for path in changes.updated], priority, job.updated)
        return job

    def _queue(
        self, root: Root, versions: Sequence[tuple[str, str]], priority: int, into: dict[int, str]
    ) -> None:
        if versions:
            ids = self._store.enqueue(root, versions, priority)
            into.update(zip(ids, (f"{root.label}/{path}" for path, _ in versions), strict=True))

    # ── Uploads ──

    def take_uploads(self, uploads: Sequence[Upload], on_conflict: OnConflict) -> Job:
        """Keep dropped files by their content and queue them.

        From here on a crash loses none of them. A name that is there with other content is a conflict,
        unless the caller decided. Archives are unpacked as folders.
        """
        job = Job()
        with self._writing():
            self._store.put_root(UPLOADS)
            known = self._store.manifest(UPLOADS.id)
            for file, display in uploads:
                name = display_name(str(display))
                try:
                    name = display_path(display) if isinstance(display, PurePosixPath) else name
                    for path, place in self._unpacked(file, name):
                        if not self._take_one(path, place, on_conflict, known, job):
                            conflict = Conflict(name, file)
                            job.conflicts += [conflict] if conflict not in job.conflicts else []
                except OSError as error:
                    job.failed.append(_failure(f"{UPLOADS.label}/{name}", vanished(name, error)))
                except ReadError as error:
                    job.failed.append(_failure(f"{UPLOADS.label}/{name}", error))
            self._drop_originals()
        return job

    def _unpacked(self, file: Path, name: str) -> Iterator[tuple[str, Path]]:
        if not is_archive(name):
            if PurePosixPath(name).suffix and not supported(PurePosixPath(name).name):
                raise unsupported(name)
            yield name, file
            return
        for member, place in self._files.members(file):
            yield f"{name}/{member}", place

    def _take_one(
        self, path: str, file: Path, on_conflict: OnConflict, known: dict[str, ManifestRow], job: Job
    ) -> bool:
        """Queue one file; False when its name has other content and nobody decided what then."""
        hash = hash_file(file)
        row = known.get(path)
        if row is not None and not row.error_code and hash not in (row.facts.hash, row.pending_hash):
            if on_conflict == "ask":
                return False
            if on_conflict == "keep_both":
                path = _free_name(path, hash, known)
                row = known.get(path)
        is_same = row is not None and not row.error_code and (row.pending_hash or row.facts.hash) == hash
        if is_same and row is not None and (row.pending or row.facts.made_by == MADE_BY):
            job.unchanged += 1
            return True
        self._keep(file, hash)
        is_new = row is None or not row.facts.made_by
        self._queue(UPLOADS, [(path, hash)], DROPPED, job.added if is_new else job.updated)
        known[path] = ManifestRow(
            row.id if row else 0, row.facts if row else _NO_FACTS, pending=True, pending_hash=hash
        )
        return True

    def _keep(self, file: Path, hash: str) -> None:
        kept = self._kept(hash)
        if kept.exists():
            return
        part = kept.with_suffix(".part")
        try:
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(file, part)
            part.replace(kept)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StoreError(
                f"{file.name} cannot be kept in {self._originals}: {error.strerror or error}",
                "Free some disk space, and check that the folder can be written to.",
            ) from error

    def _kept(self, hash: str) -> Path:
        return self._originals / hash[:2] / hash

    def _drop_originals(self) -> None:
        """Delete the kept files that no upload has any more."""
        rows = self._store.manifest(UPLOADS.id).values()
        wanted = {row.facts.hash for row in rows} | {row.pending_hash for row in rows}
        for kept in self._originals.glob("??/*"):
            if kept.name not in wanted:
                kept.unlink(missing_ok=True)

    # ── Documents that are there ──

    def take_again(self, doc_ids: Sequence[int]) -> Job:
        """Queue documents to be read again, whatever the manifest says."""
        job = Job()
        with self._writing():
            for root in self._store.roots():
                rows = [
                    (path, row) for path, row in self._store.manifest(root.id).items() if row.id in doc_ids
                ]
                versions = [
                    (path, "" if root.folder else row.pending_hash or row.facts.hash) for path, row in rows
                ]
                self._queue(root, versions, DROPPED, job.updated)
        return job

    def remove(self, doc_ids: Sequence[int]) -> Job:
        """Forget documents: text, chunks, kept original. `Store.purge` clears away vectors and traces."""
        job = Job()
        with self._writing():
            job.removed += [document.source for document in self._store.documents() if document.id in doc_ids]
            self._store.remove(doc_ids)
            self._drop_originals()
        return job

    def abandon(self, doc_ids: set[int]) -> None:
        """Let documents that still wait not be read after all."""
        with self._writing():
            self._store.unqueue(doc_ids)
            self._drop_originals()

    def rest(self) -> None:
        """Let go of what is kept open between two files, and of originals that nobody needs any more."""
        self._files.close()
        if self._superseded:
            self._superseded = False
            with self._writing():
                self._drop_originals()

    @contextmanager
    def original(self, root: Root, path: str, hash: str) -> Iterator[tuple[Path, Found]]:
        """The file of a document, for as long as it is needed, and what a scan says of it. Raises ReadError
        when it is gone."""
        with self._files.file(
            root.folder or self._originals, path if root.folder else f"{hash[:2]}/{hash}"
        ) as found:
            yield found

    # ── One file ──

    def read(self, version: Pending, root: Root, cancel: threading.Event | None = None) -> None:
        """Read, chunk and swap in one document; or note why not, and leave the old version in place.

        With `cancel` set meanwhile it goes on waiting.
        """
        started = time.monotonic()
        facts = _NO_FACTS
        self._superseded |= root.folder is None and version.hash not in ("", version.pending_hash)
        try:
            with self.original(root, version.path, version.pending_hash) as (file, found):
                try:
                    facts = FileFacts(found.size_bytes, found.mtime_ns, hash_file(file), MADE_BY)
                except OSError as error:
                    raise vanished(PurePosixPath(version.path).name, error) from error
                parsed = self._parsed(file, version, cancel)
            chunks = self._chunks(parsed, version.path)
        except ReadError as error:
            if self._reader.closed or (cancel is not None and cancel.is_set()):  # no fault of the file
                return
            logger.info("document %d failed: %s", version.id, error.code)
            # The kept original of an upload that answers stays the one that it was read from.
            told = None if root.folder is None and version.known else facts
            with self._writing():
                self._store.fail(version, told, error)
            return
        with self._writing():
            self._store.replace(version, facts, parsed, chunks, round(time.monotonic() - started, 3))

    def _parsed(self, file: Path, version: Pending, cancel: threading.Event | None) -> Parsed:
        if is_archive(version.path):  # one that the scan could not look into
            archive.members(file)
            raise BrokenFile("This archive changed while it was looked at.", "Sync once more.")
        return self._reader.read(file, name=PurePosixPath(version.path).name, cancel=cancel)

    def _chunks(self, parsed: Parsed, path: str) -> list[TermedChunk]:
        """Cut a document. What the library has, in this document or another, is not analysed again."""
        try:
            chunks = chunk(parsed)
            known = self._store.terms({one.hash for one in chunks})
            name_terms = index_terms(path)
            return [
                TermedChunk(one, known.get(one.hash) or index_terms(one.index_text), name_terms)
                for one in chunks
            ]
        except StoreError:
            raise
        except Exception as error:  # a file that trips our own code must not stop the others either
            log.failed(logger, "cutting a document into passages", error)
            raise ReaderFailed(f"The text could not be cut into passages: {type(error).__name__}.") from error


_NO_FACTS = FileFacts(0, 0, "", MADE_BY)


def _known_failures(root: Root, changes: Changes) -> Iterator[Failure]:
    for path, error in changes.unreadable.items():
        yield _failure(f"{root.label}/{path}", error)
    for path, row in changes.broken.items():
        yield Failure(f"{root.label}/{path}", row.error, row.hint, row.error_code)


def _failure(source: str, error: ReadError) -> Failure:
    return Failure(source, error.message, error.hint, error.code)


def _free_name(name: str, hash: str, known: dict[str, ManifestRow]) -> str:
    """The first "name (n).suffix" that is free, or that holds this very content already."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    if not stem:
        stem, dot, suffix = last, "", ""
    n = 2
    while (
        row := known.get(f"{folder}{slash}{stem} ({n}){dot}{suffix}")
    ) is not None and row.facts.hash != hash:
        n += 1
    return f"{folder}{slash}{stem} ({n}){dot}{suffix}"
