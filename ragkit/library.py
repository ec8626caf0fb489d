"""One library kept in step with its files: the queue is read, vectors are made, by whoever has time.

Several threads and processes may work on one library. Each file is read, and each slice embedded, by one
of them at a time; what one of them leaves behind, the next one that opens the library goes on with.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ragkit import backfill, index, log
from ragkit.config import Settings, scratch_folder
from ragkit.dense import Dense, model_in_use
from ragkit.errors import LibraryBusy, ModelError, StoreError
from ragkit.index import Job, OnConflict, Upload
from ragkit.locks import ProcessLock
from ragkit.portable import export_library
from ragkit.readers.client import ReaderProcess
from ragkit.scan import file_root
from ragkit.schema import (
    WAITING,
    Coverage,
    DiskUse,
    Document,
    EmbeddingStatus,
    OnProgress,
    PageImage,
    Parsed,
    Progress,
    SyncReport,
    no_progress,
)
from ragkit.sqlite_store import SqliteStore
from ragkit.store import Root, StoredChunk, no_document
from ragkit.verify import verify

logger = logging.getLogger(__name__)

_SEEDED = "seeded"  # meta: the sample documents went in once
_LOCK_WAIT_S = 30.0
_STEP_S = 0.2  # how often a waiting job looks whether to stop
_LOOK_AGAIN_S = 20.0  # now and then without a call too: another process may have left work behind


class Library:
    """The documents of one knowledge base. Writing is one at a time, in this process and among others."""

    def __init__(self, settings: Settings, dense: Dense) -> None:
        self.settings = settings
        self._store = SqliteStore(settings.kb / "kb.sqlite")
        self._dense = dense
        self._reader = ReaderProcess(timeout_s=settings.reader_timeout_s)
        self._viewer = ReaderProcess(
            timeout_s=settings.reader_timeout_s
        )  # a page need not wait for a long file
        self._write_lock = ProcessLock(settings.kb / "lock")
        self._read_lock = ProcessLock(settings.kb / "reading.lock")
        self._embed_lock = ProcessLock(settings.kb / "embedding.lock")
        scratch = scratch_folder(settings.kb / "tmp")
        self._indexer = index.Indexer(
            self._store, settings.kb / "originals", scratch, self._reader, self._writing
        )
        self._wake = threading.Event()
        self._going_on = threading.Event()  # not set: paused
        self._going_on.set()
        self._embeds = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        with self._write_lock.trying(0) as mine:
            if mine:  # else whoever writes clears up
                self._indexer.rest()
        if backfill.terms_are_old(self._store):
            with self._writing():
                backfill.refresh_terms(self._store)

    def close(self) -> None:
        """Stop the background work and the reader, and let go of the files."""
        self._closed.set()
        self._wake.set()
        self._reader.close()
        self._viewer.close()
        if self._thread is not None:
            self._thread.join(timeout=60)
        self._store.close()

    # ── What is there ──

    def documents(self) -> list[Document]:
        return self._store.documents(self._dense.kept(self._store))

    def coverage(self) -> Coverage:
        """What an answer can rest on now."""
        return self._store.coverage(self._dense.key)

    def kept_coverage(self) -> Coverage:
        """What an answer can rest on once the embedding model is loaded."""
        return self._store.coverage(self._dense.kept(self._store))

    def roots(self) -> list[Root]:
        """The mirrored folders, and the uploads once there were any."""
        return self._store.roots()

    def text(self, doc_id: int) -> str:
        """The stored text of a document: what offsets count in. Raises StoreError when it is gone."""
        return self._store.text(doc_id)

    def chunks(self, doc_id: int) -> list[StoredChunk]:
        """The chunks of a document, in order."""
        return self._store.chunks_of(doc_id)

    def parse(self, doc_id: int) -> Parsed:
        """Read a document's file once more, only to look at it. Raises ReadError, StoreError."""
        with self.original(doc_id) as file:
            return self._reader.read(file, name=PurePosixPath(self.document(doc_id).path).name)

    def draw_page(self, doc_id: int, number: int, width: int) -> PageImage:
        """Page `number` (1-based) of a PDF as it looks, `width` pixels wide. Raises ReadError, StoreError."""
        with self.original(doc_id) as file:
            return self._viewer.draw_page(file, number, width)

    @contextmanager
    def original(self, doc_id: int) -> Iterator[Path]:
        """The file that a document was read from, for as long as it is needed. Raises ReadError, StoreError."""
        document = self.document(doc_id)
        row = self._store.manifest(document.root)[document.path]
        with self._indexer.original(self._root(document.root), document.path, row.facts.hash) as (file, _):
            yield file

    def document(self, doc_id: int) -> Document:
        """One document. Raises StoreError when it is gone."""
        for document in self.documents():
            if document.id == doc_id:
                return document
        raise no_document(doc_id)

    def disk_use(self) -> DiskUse:
        kb = self.settings.kb
        return DiskUse(
            database=sum(file.stat().st_size for file in kb.glob("kb.sqlite*")),
            originals=sum(file.stat().st_size for file in (kb / "originals").glob("??/*")),
        )

    # ── Changing it ──

    def sync(
        self,
        folder: Path,
        *,
        dry_run: bool = False,
        keep_gone: bool = False,
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Make the library hold what `folder` holds now; documents of other roots stay as they are. A single file
        is synced in the mirrored folder that it lies in, or alone.

        `dry_run` only tells what would change; `keep_gone` forgets nothing. Vectors come after: by the
        background thread, or by `embed`. Raises UsageError, StoreError.
        """
        started = time.monotonic()
        root, only = file_root(folder, self._store.roots())
        progress(Progress("scan", 0, 0))
        changes = self._indexer.look(root, only)
        if keep_gone:
            changes.gone.clear()
        if dry_run:
            return self._indexer.preview(root, changes)
        job = self._indexer.take(root, changes, index.MIRRORED)
        job.started = started
        return self._do(job, progress, cancel)

    def seed(
        self, folder: Path, *, progress: OnProgress = no_progress, cancel: threading.Event | None = None
    ) -> SyncReport:
        """Put the sample documents in, once in the life of a library: one that was deleted stays away."""
        if self._store.meta(_SEEDED):
            return SyncReport(chunks=self.coverage().chunks)
        report = self.sync(folder, progress=progress, cancel=cancel)
        if not report.cancelled:
            self._store.put_meta(_SEEDED, "1")
        return report

    def add(
        self,
        uploads: Sequence[Upload],
        *,
        on_conflict: OnConflict = "ask",
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Take in dropped files: see `index.Upload`. Raises LibraryBusy, StoreError."""
        return self._do(self._indexer.take_uploads(uploads, on_conflict), progress, cancel)

    def export(self, file: Path, *, progress: OnProgress = no_progress) -> None:
        """Write the whole library to one file that another machine can open, while this one goes on using it.

        Raises StoreError, LibraryBusy.
        """
        export_library(self._store, self.settings.kb, file, self._writing, progress=progress)

    def verify(self) -> list[str]:
        """Every fault of the library, in words. Nothing is queued or missing when this is empty."""
        waiting = [d.source for d in self.documents() if d.state in WAITING]
        told = [f"documents that wait to be read: {len(waiting)}"] if waiting else []
        return told + verify(self._store, self.settings.kb / "originals", model_in_use(self._store))

    def remove(self, ids: Sequence[int]) -> SyncReport:
        """Forget documents and everything made of them. Files of a mirrored folder stay on the disk.

        The last traces in the library's files go now, or soon by the background thread: in a library of 100,000
        chunks that takes seconds.
        """
        job = self._indexer.remove(ids)
        if self._thread is None:
            self._clear_up()
        self._wake.set()
        return job.report(self.documents())

    def reread(
        self, ids: Sequence[int], *, progress: OnProgress = no_progress, cancel: threading.Event | None = None
    ) -> SyncReport:
        """Read documents again from their files."""
        return self._do(self._indexer.take_again(ids), progress, cancel)

    def _do(self, job: Job, progress: OnProgress, cancel: threading.Event | None) -> SyncReport:
        """Work on the queue until everything of this job is done, and say what came of it."""
        cancel = cancel or threading.Event()
        left = job.ids
        while left and not cancel.is_set() and not self._closed.is_set():
            left = self._read_next(left, len(job.ids), progress, cancel)
        cancelled = cancel.is_set()
        if cancelled:
            self._indexer.abandon(left)
        self._clear_up()
        self._wake.set()
        return job.report(self.documents(), cancelled=cancelled, abandoned=left)

    def _read_next(
        self, left: set[int], total: int, progress: OnProgress, cancel: threading.Event | None = None
    ) -> set[int]:
        """Read one file of the queue, whoever put it there; give back what of `left` still waits."""
        if not self._going_on.wait(_STEP_S):
            return left
        with self._read_lock.trying(_STEP_S) as mine:
            version = self._store.next_pending() if mine else None
            if version is None or version.id not in left:
                left = self._store.pending_among(left)
                progress(Progress("read", total - len(left), total))
            if version is None or not left:
                return left
            root = self._root(version.root)
            if version.id in left:
                progress(Progress("read", total - len(left), total, f"{root.label}/{version.path}"))
            if cancel is not None and cancel.is_set():
                return left
            with self._writing():
                begun = self._store.begin(version.id)
            if begun:  # else it was removed meanwhile
                self._indexer.read(version, root, cancel if version.id in left else None)
            return left - {version.id}

    def _clear_up(self) -> None:
        """Forget what belongs to no document any more, unless one that waits may have use for it."""
        self._indexer.rest()
        if (self.paused or self._store.next_pending() is None) and self._store.is_unclean():
            with self._writing():
                self._store.purge()

    def _root(self, id: str) -> Root:
        return next(root for root in self._store.roots() if root.id == id)

    def is_waiting(self) -> bool:
        """Whether documents wait to be read."""
        return self._store.next_pending() is not None

    def abandon(self) -> None:
        """Let nothing that waits be read: what is not known yet goes, what is known stays as it is."""
        self._indexer.abandon({d.id for d in self.documents() if d.state in WAITING})

    # ── In the background ──

    def pause(self) -> None:
        """Read and embed nothing more, once the file in hand is done, until `resume`."""
        self._going_on.clear()

    def resume(self) -> None:
        self._going_on.set()
        self._wake.set()

    @property
    def paused(self) -> bool:
        return not self._going_on.is_set()

    def start(self, *, embed: bool = True) -> None:
        """Read what waits, then load the embedding model and keep the vectors complete, in a thread of its own.
        Without `embed` it only reads, until a call with it."""
        if embed:
            self._embeds.set()
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_up, name="ragkit-library", daemon=True)
            self._thread.start()

    def _keep_up(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(timeout=_LOOK_AGAIN_S)
            self._wake.clear()
            try:
                while not self._closed.is_set() and self._going_on.is_set() and self._one_step():
                    pass
                self._clear_up()
            except ModelError as error:
                logger.warning("vectors could not be made: %s", error.code)
                self._dense.fail(error)
            except StoreError as error:  # no room, or somebody else writes: what waits stays in the queue
                logger.warning("the library could not be written: %s", error.code)
            except Exception as error:  # noqa: BLE001  # the thread's edge: without it nothing would be read any more
                log.failed(logger, "keeping the library in step", error)

    def _one_step(self) -> bool:
        """Read one file that waits, else embed one slice; False when there is nothing to do."""
        waiting = self._store.next_pending()
        if waiting is not None:
            self._read_next({waiting.id}, 1, no_progress)
            return True
        embeds = self._embeds.is_set() and self.load_embedding()
        return embeds and self._embed_next(lambda: self._closed.is_set() or self.paused)

    # ── Vectors ──

    @property
    def embedding(self) -> EmbeddingStatus:
        """How the dense leg stands."""
        return self._dense.status

    def load_embedding(self, *, few: bool = False) -> bool:
        """Load the embedding model, unless it is there or off; for a `few` questions in less time. False: search goes
        on with words alone, and `embedding` says why."""
        return self._dense.load(self._store, few=few)

    def change_embedding(self, where: str, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Take another embedding model: "auto", a folder or a name; "off" for none. The old vectors answer until
        the new ones are whole; they are made by the background thread, or by `embed`. False: it was cancelled.
        Raises ModelError."""
        changed = self._dense.change(where, self._store, cancelled)
        self._wake.set()
        return changed

    def embedding_coverage(self) -> Coverage:
        """How far the vectors are of the model that takes over, or else of the one that answers."""
        target = self._dense.target
        return self._store.coverage(target.record.key if target else "")

    def embed(self, *, progress: OnProgress = no_progress, cancel: threading.Event | None = None) -> int:
        """Load the model and embed what has no vector yet; give back how many chunks that were.

        The command line waits for this; the page leaves it to `start`. Raises ModelError, StoreError.
        """
        if self._dense.nothing_to_embed(self._store) or not self.load_embedding():
            return 0
        stop = cancel or threading.Event()
        before = self.embedding_coverage().embedded

        def stopped() -> bool:
            return stop.is_set() or self._closed.is_set()

        while not stopped() and self._embed_next(stopped):
            coverage = self.embedding_coverage()
            progress(Progress("embed", coverage.embedded, coverage.chunks))
        return max(0, self.embedding_coverage().embedded - before)

    def _embed_next(self, stopped: Callable[[], bool]) -> bool:
        """Embed one slice; False when all vectors are there, or there is no model to make them with."""
        with self._embed_lock.trying(_STEP_S) as mine:
            if not mine:  # another thread or process is at it
                return True
            embedder = self._dense.target
            if embedder is None:
                return False
            missing = self._store.without_vector(embedder.record.key)
            if missing:
                backfill.embed_slice(self._store, embedder, missing, cancelled=stopped)
                return True
            with self._writing():
                self._dense.settle(self._store)
            return False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._write_lock.trying(_LOCK_WAIT_S) as mine:
            if not mine:
                raise LibraryBusy(
                    f"another program is writing to {self.settings.kb}",
                    "Wait until it is done, then try again.",
                )
            yield
