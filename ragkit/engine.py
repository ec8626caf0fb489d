"""One library and the way from a question to an answer. Knows no screen.

Opened in stages: the store and lexical search at once, the dense leg when its model is loaded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from filelock import FileLock, Timeout

from ragkit import embedding, index, retrieval
from ragkit.answering import Answerer
from ragkit.config import Settings
from ragkit.errors import GenerationError, LibraryBusy, ModelError, RagkitError
from ragkit.readers.client import ReaderProcess
from ragkit.schema import (
    QUOTES,
    Answer,
    Coverage,
    Document,
    Done,
    EmbeddingStatus,
    Event,
    Filters,
    Hit,
    Language,
    OnProgress,
    SyncReport,
    Turn,
    no_progress,
)
from ragkit.sqlite_store import SqliteStore
from ragkit.text import language

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.llms import LLM

logger = logging.getLogger(__name__)

_SEEDED = "seeded"  # meta: the sample documents went in once
_LOCK_WAIT_S = 30.0


class Engine:
    """`Engine.open(settings)`; use it as a context manager, or call `close`.

    Without `llm` the answers are quotes. Several threads may ask at once; writing is one at a time,
    in this process and among others.
    """

    def __init__(self, settings: Settings, llm: LLM | None, embed_model: BaseEmbedding | None) -> None:
        self.settings = settings
        self.use_model(llm)
        self._answers: list[threading.Event] = []  # the stop of every answer under way
        self._answers_changed = threading.Condition()
        self._store = SqliteStore(settings.kb / "kb.sqlite")
        self._reader = ReaderProcess(timeout_s=settings.reader_timeout_s)
        self._indexer = index.Indexer(self._store, settings.kb / "originals", self._reader)
        # The OS lets go of the lock when a process dies. thread_local off: one lock for all our threads.
        self._file_lock = FileLock(settings.kb / "lock", thread_local=False)
        self._writer = threading.RLock()
        self._embedder = embedding.wrap(embed_model) if embed_model is not None else None
        self._embedding_lock = threading.Lock()
        self.embedding = self._first_status()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def open(
        cls, settings: Settings, *, llm: LLM | None = None, embed_model: BaseEmbedding | None = None
    ) -> Self:
        """Open or make the library at `settings.kb`. Raises StoreError, LibraryTooNew, LibraryBusy."""
        engine = cls(settings, llm, embed_model)
        try:
            if index.terms_are_old(engine._store):
                with engine._writing():
                    index.refresh_terms(engine._store)
        except BaseException:
            engine.close()
            raise
        return engine

    def close(self) -> None:
        """Stop the background work and the reader, and let go of the files."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=60)
        self._reader.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── The library ──

    @property
    def profile(self) -> str:
        """What answers: "quotes", or the name of the language model."""
        return QUOTES if self._llm is None else (self._llm.metadata.model_name or type(self._llm).__name__)

    def use_model(
        self, llm: LLM | None, languages: Sequence[Language] = ("zh", "en"), *, simple: bool = False
    ) -> None:
        """Let `llm` answer from the next question on; None: quotes again. An answer under way goes on.

        Questions in a language that is not among `languages` are answered in quotes. `simple`: the model
        is one of the smallest, and gets fewer passages and a shorter prompt.
        """
        self._simple = simple
        self._llm = llm
        self._languages = frozenset(languages)

    def stop_answers(self, timeout_s: float) -> bool:
        """End the answers under way with what was said so far; False if one still goes on after the time."""
        with self._answers_changed:
            under_way = self._answers[:]
            for stop in under_way:
                stop.set()
            return self._answers_changed.wait_for(
                lambda: not any(stop in self._answers for stop in under_way), timeout_s
            )

    @contextmanager
    def _answering(self, stop: threading.Event) -> Iterator[None]:
        with self._answers_changed:
            self._answers.append(stop)
        try:
            yield
        finally:
            with self._answers_changed:
                self._answers.remove(stop)
                self._answers_changed.notify_all()

    def _llm_for(self, question: str) -> LLM | None:
        return self._llm if language(question) in self._languages else None

    def documents(self) -> list[Document]:
        return self._store.documents(self._model_key)

    def coverage(self) -> Coverage:
        return self._store.coverage(self._model_key)

    def text(self, doc_id: int) -> str:
        """The stored text of a document: what offsets count in. Raises StoreError when it is gone."""
        return self._store.text(doc_id)

    def sync(
        self,
        folder: Path,
        *,
        dry_run: bool = False,
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Make the library hold what `folder` holds now; documents of other roots stay as they are.

        Vectors come after: by the background thread, or by `embed`. Raises UsageError, StoreError.
        """
        root = index.folder_root(folder, self._store.roots())
        if dry_run:
            return self._indexer.sync_folder(root, dry_run=True, progress=progress, cancel=cancel)
        with self._writing():
            if folder.is_dir():
                self._store.put_root(root)
            report = self._indexer.sync_folder(root, progress=progress, cancel=cancel)
        self._wake.set()
        return report

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
        uploads: Sequence[tuple[Path, str]],
        *,
        on_conflict: Literal["ask", "replace", "keep_both"] = "ask",
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport:
        """Take in dropped files: (temporary file, display name). Raises LibraryBusy, StoreError."""
        with self._writing():
            report = self._indexer.add_uploads(
                uploads, on_conflict=on_conflict, progress=progress, cancel=cancel
            )
        self._wake.set()
        return report

    def remove(self, ids: Sequence[int]) -> SyncReport:
        """Forget documents and everything made of them. Files of a mirrored folder stay on the disk."""
        with self._writing():
            return self._indexer.remove(ids)

    def reread(
        self, ids: Sequence[int], *, progress: OnProgress = no_progress, cancel: threading.Event | None = None
    ) -> SyncReport:
        """Read documents again from their files."""
        with self._writing():
            report = self._indexer.reread(ids, progress=progress, cancel=cancel)
        self._wake.set()
        return report

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._writer:
            try:
                self._file_lock.acquire(timeout=_LOCK_WAIT_S)
            except Timeout as error:
                raise LibraryBusy(
                    f"another program is writing to {self.settings.kb}",
                    "Wait until it is done, then try again.",
                ) from error
            try:
                yield
            finally:
                self._file_lock.release()

    # ── Vectors ──

    @property
    def _model_key(self) -> str:
        return self._embedder.record.key if self._embedder else ""

    def _first_status(self) -> EmbeddingStatus:
        if self._embedder is not None:
            return EmbeddingStatus("ready", self._embedder.record.name)
        if self.settings.embedding == "off":
            return EmbeddingStatus("off")
        return EmbeddingStatus("waiting", embedding.BUNDLED.name if self.settings.embedding == "auto" else "")

    def load_embedding(self) -> bool:
        """Load the embedding model, unless it is there or off. False: search goes on with words alone,
        and `embedding` says why."""
        with self._embedding_lock:
            if self._embedder is None and self.embedding.state == "waiting":
                self.embedding = replace(self.embedding, state="loading")
                try:
                    self._embedder = embedding.load(self.settings.embedding, self.settings.device)
                    self.embedding = EmbeddingStatus("ready", self._embedder.record.name)
                except RagkitError as error:
                    self._embedding_failed(error)
            return self._embedder is not None

    def embed(self, *, progress: OnProgress = no_progress, cancel: threading.Event | None = None) -> int:
        """Load the model and embed what has no vector yet; give back how many chunks that were.

        The command line waits for this; the page leaves it to `start`.
        """
        if self._nothing_to_embed() or not self.load_embedding() or self._embedder is None:
            return 0
        stop = cancel or threading.Event()
        return index.backfill(
            self._store,
            self._embedder,
            progress=progress,
            cancelled=lambda: stop.is_set() or self._closed.is_set(),
        )

    def _embedding_failed(self, error: RagkitError) -> None:
        """From now on words alone are searched, and the status says why."""
        self._embedder = None
        self.embedding = replace(self.embedding, state="failed", error=error.message, hint=error.hint)

    def _nothing_to_embed(self) -> bool:
        """Told without loading the model, where its record is known: seconds for a sync that changed nothing."""
        known = self._embedder is None and self.settings.embedding == "auto"
        return known and not self._store.without_vector(embedding.BUNDLED.key)

    def start(self) -> None:
        """Load the model and keep the vectors complete from now on, in a thread of its own."""
        if self._thread is None:
            self._wake.set()
            self._thread = threading.Thread(target=self._keep_embedded, name="ragkit-vectors", daemon=True)
            self._thread.start()

    def _keep_embedded(self) -> None:
        self.load_embedding()
        while not self._closed.is_set():
            # Now and then without a call too: another process may have synced.
            self._wake.wait(timeout=20)
            self._wake.clear()
            try:
                self.embed()
            except RagkitError as error:
                logger.warning("vectors could not be made: %s", error.code)
                self._embedding_failed(error)
                return

    # ── Questions ──

    def search(self, question: str, *, limit: int = 10, filters: Filters | None = None) -> list[Hit]:
        """The passages that fit best, best first. Raises StoreError, ModelError."""
        return list(self._retrieve(question, limit, filters).hits)

    def _retrieve(self, question: str, limit: int, filters: Filters | None) -> retrieval.Retrieval:
        try:
            return retrieval.retrieve(self._store, self._embedder, question, limit=limit, filters=filters)
        except ModelError as error:
            # The question is answered by words alone rather than not at all; the page says so.
            self._embedding_failed(error)
            return retrieval.retrieve(self._store, None, question, limit=limit, filters=filters)

    def ask(
        self,
        question: str,
        *,
        history: Sequence[Turn] = (),
        documents: bool = True,
        filters: Filters | None = None,
    ) -> Answer:
        """`stream`, whole."""
        for event in self.stream(question, history=history, documents=documents, filters=filters):
            if isinstance(event, Done):
                return event.answer
        raise GenerationError("the answer ended early", "Ask again.")

    def stream(
        self,
        question: str,
        *,
        history: Sequence[Turn] = (),
        documents: bool = True,
        filters: Filters | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """Answer a question: Retrieved, then Delta by Delta, then Done with the whole Answer.

        `stop` ends it early, with what was said so far. Raises StoreError, GenerationError.
        """
        stop = stop or threading.Event()
        with self._answering(stop):  # before the model is looked at: see `stop_answers`
            llm = self._llm_for(question)
            profile = QUOTES if llm is None else self.profile
            answerer = Answerer(self.settings, self._store, llm, profile, self._retrieve, self._simple)
            if documents:
                filters = filters or Filters()
                yield from answerer.stream(question, self.coverage(), history, filters, stop)
            else:
                yield from answerer.without_documents(question, history, stop)
