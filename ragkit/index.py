"""Keeping the library in step with files: scan, compare, read, chunk, swap; then the vectors.

One bad file never stops the others, and its old version goes on answering.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from ragkit.chunking import CHUNKER_VERSION, chunk, index_text
from ragkit.embedding import Embedder
from ragkit.errors import FileVanished, ReadError, UsageError
from ragkit.readers import READERS_VERSION, supported
from ragkit.readers.client import ReaderProcess
from ragkit.schema import Conflict, Failure, OnProgress, Progress, SyncReport, no_progress
from ragkit.store import FileFacts, ManifestRow, Root, Store, StoredChunk, TermedChunk
from ragkit.text import ANALYSER_VERSION, analyse

logger = logging.getLogger(__name__)

MADE_BY = f"reader {READERS_VERSION}, chunker {CHUNKER_VERSION}"
UPLOADS = Root("uploads", "uploads", None)
_OPEN_IT = "Check that it is still there and that you may read it."
SLICE = 512  # chunks embedded between two commits, sorted by length


@dataclass(slots=True)
class _Run:
    """One sync while it goes: what was done so far, and whether to go on."""

    progress: OnProgress
    cancel: threading.Event
    started: float = field(default_factory=time.monotonic)
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    unchanged: int = 0

    def report(self, chunks: int, embedded: int = 0) -> SyncReport:
        return SyncReport(
            added=tuple(self.added),
            updated=tuple(self.updated),
            removed=tuple(self.removed),
            unchanged=self.unchanged,
            failed=tuple(self.failed),
            conflicts=tuple(self.conflicts),
            chunks=chunks,
            embedded=embedded,
            seconds=round(time.monotonic() - self.started, 3),
            cancelled=self.cancel.is_set(),
        )


class Indexer:
    """Writes documents into a store. The caller sees to it that only one writes at a time."""

    def __init__(self, store: Store, originals: Path, reader: ReaderProcess) -> None:
        self._store = store
        self._originals = originals
        self._reader = reader

    # ── A mirrored folder ──

    def sync_folder(
        self,
        root: Root,
        *,
        dry_run: bool = False,
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Make the root's documents what its folder holds. Raises UsageError when it cannot be read:
        nothing is removed on the word of a missing drive."""
        run = _Run(progress, cancel or threading.Event())
        folder = root.folder
        if folder is None or not folder.is_dir():
            raise UsageError(
                f"{folder} is not a folder that can be read",
                "Check the path; if it is on a drive, see that the drive is there.",
            )
        known = self._store.manifest(root.id)
        run.progress(Progress("scan", 0, 0))
        unreadable: list[str] = []
        found = dict(_walk(folder, "", unreadable))
        for path in unreadable:
            run.failed.append(
                _failure(f"{root.label}/{path}", FileVanished("this folder cannot be read", _OPEN_IT))
            )
        changed = [
            path
            for path in found
            if not self._is_unchanged(root, path, found[path], known.get(path), run, dry_run)
        ]
        for done, path in enumerate(changed):
            if run.cancel.is_set():
                break
            run.progress(Progress("read", done, len(changed), f"{root.label}/{path}"))
            if dry_run:
                (run.updated if path in known else run.added).append(f"{root.label}/{path}")
            else:
                self._read(root, path, found[path], known.get(path), run)
        if not run.cancel.is_set():
            # What stands in a folder that could not be read is not gone.
            gone = [path for path in known if path not in found and not path.startswith(tuple(unreadable))]
            run.removed += [f"{root.label}/{path}" for path in gone]
            if gone and not dry_run:
                self._store.remove([known[path].id for path in gone])
        if (run.updated or run.removed) and not dry_run:
            self._store.purge_vectors()
        return run.report(self._store.coverage().chunks)

    def _is_unchanged(
        self, root: Root, path: str, file: Path, row: ManifestRow | None, run: _Run, dry_run: bool
    ) -> bool:
        """Size and date first; where they differ, the content decides, and the new date is noted."""
        if row is None or row.facts.made_by != MADE_BY:
            return False
        try:
            status = file.stat()
        except OSError:
            return False  # the read will say what is wrong
        if (status.st_size, status.st_mtime_ns) != (row.facts.size_bytes, row.facts.mtime_ns):
            try:
                if _hash(file) != row.facts.hash:
                    return False
            except OSError:
                return False
            if not dry_run:
                facts = FileFacts(status.st_size, status.st_mtime_ns, row.facts.hash, MADE_BY)
                self._store.touch(row.id, facts)
        if row.error_code:
            # Still broken, and still said; reading it again would only cost time.
            run.failed.append(Failure(f"{root.label}/{path}", row.error, row.hint, row.error_code))
        else:
            run.unchanged += 1
        return True

    # ── Uploads ──

    def add_uploads(
        self,
        uploads: Sequence[tuple[Path, str]],
        *,
        on_conflict: str = "ask",
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Take in files that a user dropped: (temporary file, display name). The originals are kept by
        their content. A name that is there with other content is a conflict, unless the caller decided."""
        run = _Run(progress, cancel or threading.Event())
        self._store.put_root(UPLOADS)
        known = self._store.manifest(UPLOADS.id)
        for done, (file, display) in enumerate(uploads):
            if run.cancel.is_set():
                break
            name = display_name(display)
            run.progress(Progress("read", done, len(uploads), f"{UPLOADS.label}/{name}"))
            try:
                hash = _hash(file)
            except OSError as error:
                run.failed.append(_failure(f"{UPLOADS.label}/{name}", _vanished(file, error)))
                continue
            row = known.get(name)
            if row is not None and row.facts.hash != hash and not row.error_code:
                if on_conflict == "ask":
                    run.conflicts.append(Conflict(name, file))
                    continue
                if on_conflict == "keep_both":
                    name = _free_name(name, hash, known)
                    row = known.get(name)
            if (
                row is not None
                and row.facts.hash == hash
                and not row.error_code
                and row.facts.made_by == MADE_BY
            ):
                run.unchanged += 1
                continue
            self._read(UPLOADS, name, self._keep(file, hash), row, run)
            known = self._store.manifest(UPLOADS.id)
        self._drop_originals()
        return run.report(self._store.coverage().chunks)

    def reread(
        self,
        doc_ids: Sequence[int],
        *,
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Read documents again, whatever the manifest says."""
        run = _Run(progress, cancel or threading.Event())
        wanted = set(doc_ids)
        rows = [
            (root, path, row)
            for root in self._store.roots()
            for path, row in self._store.manifest(root.id).items()
            if row.id in wanted
        ]
        for done, (root, path, row) in enumerate(rows):
            if run.cancel.is_set():
                break
            run.progress(Progress("read", done, len(rows), f"{root.label}/{path}"))
            self._read(root, path, self.original(root, path, row.facts), row, run)
        self._store.purge_vectors()
        return run.report(self._store.coverage().chunks)

    def remove(self, doc_ids: Sequence[int]) -> SyncReport:
        """Forget documents with everything of them: text, terms, vectors, kept original."""
        run = _Run(no_progress, threading.Event())
        run.removed += [document.source for document in self._store.documents() if document.id in doc_ids]
        self._store.remove(doc_ids)
        self._store.purge_vectors()
        self._drop_originals()
        return run.report(self._store.coverage().chunks)

    def original(self, root: Root, path: str, facts: FileFacts) -> Path:
        """Where the file of a document lies."""
        if root.folder is not None:
            return root.folder / path
        return self._originals / facts.hash[:2] / facts.hash

    def _keep(self, file: Path, hash: str) -> Path:
        kept = self._originals / hash[:2] / hash
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = kept.with_suffix(".part")
            shutil.copyfile(file, part)
            part.replace(kept)
        return kept

    def _drop_originals(self) -> None:
        """Delete the kept files that no upload has any more."""
        wanted = {row.facts.hash for row in self._store.manifest(UPLOADS.id).values()}
        for kept in self._originals.glob("??/*"):
            if kept.name not in wanted:
                kept.unlink(missing_ok=True)

    # ── One file ──

    def _read(self, root: Root, path: str, file: Path, row: ManifestRow | None, run: _Run) -> None:
        """Read, chunk and swap in one document; or note why not, and leave the old version in place."""
        source = f"{root.label}/{path}"
        started = time.monotonic()
        facts = FileFacts(0, 0, "", MADE_BY)
        try:
            try:
                status = file.stat()
                facts = FileFacts(status.st_size, status.st_mtime_ns, _hash(file), MADE_BY)
            except OSError as error:
                raise _vanished(file, error) from error
            parsed = self._reader.read(file, name=PurePosixPath(path).name)
        except ReadError as error:
            logger.info("document %s failed: %s", row.id if row else "(new)", error.code)
            self._store.fail(root, path, facts, error)
            run.failed.append(_failure(source, error))
            return
        name_terms = [token.term for token in analyse(path)]
        chunks = [
            TermedChunk(one, [token.term for token in analyse(one.index_text)], name_terms)
            for one in chunk(parsed)
        ]
        self._store.replace(root, path, facts, parsed, chunks, round(time.monotonic() - started, 3))
        (run.added if row is None else run.updated).append(source)


def backfill(
    store: Store,
    embedder: Embedder,
    *,
    progress: OnProgress = no_progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Embed the chunks that have no vector of this model yet, and count them. Stops soon after
    `cancelled` says so; what is done by then is kept."""
    missing = store.without_vector(embedder.record.key)
    done = 0
    for at in range(0, len(missing), SLICE):
        chunk_ids = {chunk_id: hash for hash, chunk_id in missing[at : at + SLICE]}
        stored = store.chunks(list(chunk_ids))
        # By length, so that no short text is padded to a long neighbour.
        texts = sorted(
            ((_index_text(c), c.hash) for c in stored.values()),
            key=lambda item: len(item[0]),
        )
        progress(Progress("embed", at, len(missing)))
        vectors = embedder.embed([text for text, _ in texts], cancelled=cancelled)
        hashes = [hash for _, hash in texts[: len(vectors)]]
        if hashes:
            store.put_vectors(embedder.record.key, hashes, vectors)
            done += len(hashes)
        if cancelled():
            break
    return done


def terms_are_old(store: Store) -> bool:
    """Whether an earlier analyser made the terms."""
    return store.meta("analyser") != str(ANALYSER_VERSION)


def refresh_terms(store: Store) -> None:
    """Make all terms anew; nothing is parsed or embedded for it."""
    logger.info("terms are made anew by analyser %d", ANALYSER_VERSION)
    store.put_terms(
        (
            (
                c.id,
                [token.term for token in analyse(_index_text(c))],
                [token.term for token in analyse(c.source.partition("/")[2])],
            )
            for c in list(store.all_chunks())
        ),
        ANALYSER_VERSION,
    )


def _index_text(stored: StoredChunk) -> str:
    return index_text(stored.title, stored.heading, stored.lead + stored.text)


def folder_root(folder: Path, taken: Sequence[Root]) -> Root:
    """The root of a folder: an id from its place, a label from its name that no other root has."""
    folder = folder.expanduser().resolve()
    id = blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    labels = {root.label for root in taken if root.id != id}
    known = next((root for root in taken if root.id == id), None)
    base = known.label if known else (folder.name or "root")
    label, n = base, 1
    while label in labels or (known is None and label == UPLOADS.label):
        n += 1
        label = f"{base}-{n}"
    return Root(id, label, folder)


def display_name(name: str) -> str:
    """A file's name as data: the last part, without what a screen or a path could trip over."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(
        c
        for c in last
        if c.isprintable() and c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
    stem, dot, suffix = kept.strip().rpartition(".")
    return f"{stem[:110]}{dot}{suffix[:10]}" if stem else kept.strip()[:120] or "unnamed"


def _free_name(name: str, hash: str, known: dict[str, ManifestRow]) -> str:
    """The first "name (n).suffix" that is free, or that holds this very content already."""
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    n = 2
    while (row := known.get(f"{stem} ({n}){dot}{suffix}")) is not None and row.facts.hash != hash:
        n += 1
    return f"{stem} ({n}){dot}{suffix}"


def _walk(folder: Path, prefix: str, unreadable: list[str]) -> Iterator[tuple[str, Path]]:
    """The files that ragkit reads, with their POSIX path; hidden ones and links left out. The folders
    that cannot be opened are added to `unreadable`, as prefixes of paths."""
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        unreadable.append(prefix)
        return
    for entry in ordered:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", unreadable)
        elif entry.is_file() and supported(entry.name):
            yield f"{prefix}{entry.name}", Path(entry.path)


def _hash(file: Path) -> str:
    digest = blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _vanished(file: Path, error: OSError) -> FileVanished:
    return FileVanished(f"{file.name} cannot be opened: {error.strerror}", _OPEN_IT)


def _failure(source: str, error: ReadError) -> Failure:
    return Failure(source, error.message, error.hint, error.code)
