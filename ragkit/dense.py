"""The dense leg of one library: the model that answers, and the one that takes over once its vectors are whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ragkit import embedding
from ragkit.config import Settings
from ragkit.embedding import Embedder
from ragkit.embedding_records import ModelRecord
from ragkit.errors import RagkitError
from ragkit.schema import EmbeddingStatus
from ragkit.store import Store

_WHERE, _IN_USE = "embedding_where", "embedding"  # meta: the model that answers: its place, its record


def without_vector(store: Store, record: ModelRecord) -> int:
    """How many passages have no vector of a model; `record` may lack the revision of its weights."""
    found = store.coverage(next(filter(record.is_kind_of, store.vector_models()), ""))
    return found.chunks - found.embedded


def model_in_use(store: Store) -> str:
    """The record whose vectors are whole, as the library notes it; "" before the first time."""
    return store.meta(_IN_USE) or ""


class Dense:
    """Which embedding model answers, and which one new vectors are made with. Thread-safe.

    They are the same, but for the time after a change of model: the old vectors then answer until the new
    ones are all there. Nothing is parsed again for it.
    """

    def __init__(self, settings: Settings, embedder: Embedder | None) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._where = settings.embedding if embedder is None else ""
        self._few = False
        self.answering = embedder
        self.next: Embedder | None = None
        if embedder is not None:
            self.status = _ready(embedder)
        elif settings.embedding == "off":
            self.status = EmbeddingStatus("off")
        else:
            name = embedding.BUNDLED.name if settings.embedding == "auto" else ""
            self.status = EmbeddingStatus("waiting", name)

    @property
    def key(self) -> str:
        """The record whose vectors answer; "" when none do."""
        answering = self.answering
        return answering.record.key if answering else ""

    def kept(self, store: Store) -> str:
        """The same, and before the model is loaded the one whose vectors lie on the disk."""
        if self.status.state not in ("waiting", "loading"):
            return self.key
        there, noted = store.vector_models(), model_in_use(store)
        return noted if noted in there else max(there, key=there.__getitem__, default="")

    @property
    def target(self) -> Embedder | None:
        """The model that new vectors are made with."""
        return self.next or self.answering

    def load(self, store: Store, *, few: bool = False) -> bool:
        """Load the model, unless it is there or off. False: words alone are searched, and `status` says why.

        `few`: it is for questions, not for all the passages of a library.
        """
        with self._lock:
            self._few = few
            if self.status.state == "waiting":
                self.status = replace(self.status, state="loading")
                try:
                    self._begin(self._load(self._where), store)
                except RagkitError as error:
                    if not self._stay(error, store):
                        self.fail(error)
            return self.answering is not None

    def would_read(self, question: str, store: Store) -> bool:
        """Whether loading the model could change what is found for `question`. Imports no torch."""
        if self.status.state != "waiting":
            return False
        before = store.meta(_WHERE)
        if not store.vector_models() or not question.strip():
            return False
        if before not in (None, self._where):  # another model answers until this one takes over
            return True
        try:
            return embedding.can_read(self._where, question, self._settings.data_dir)
        except RagkitError:  # `load` says why
            return True

    def change(self, where: str, store: Store, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Let another model take over: "auto", a folder or a name; "off" for none. False: it was cancelled while the
        model was loaded. Then, and where it raises ModelError, nothing has changed.

        Of a model that was given up the vectors stay, to go on with, until a third one is taken.
        """
        wanted = None if where == "off" else self._load(where)
        with self._lock:
            if cancelled():
                return False
            self._where = where
            if wanted is None:
                self.answering = self.next = None
                self.status = EmbeddingStatus("off")
                return True
            self._begin(wanted, store)
            if self.next is not None:
                store.keep_vectors(self.key, self.next.record.key)
            return True

    def fail(self, error: RagkitError) -> None:
        """From now on words alone are searched, and the status says why."""
        self.answering = self.next = None
        self.status = replace(
            self.status, state="failed", replacement="", error=error.message, hint=error.hint
        )

    def settle(self, store: Store) -> None:
        """All vectors of the target are there: it answers from now on. Where it takes over those of others go."""
        with self._lock:
            target = self.target
            if target is None:
                return
            self.answering, self.next = target, None
            # What kept the model from loading that was asked for is still so.
            self.status = replace(_ready(target), error=self.status.error, hint=self.status.hint)
            takes_over = model_in_use(store) != target.record.key
            for name, value in ((_IN_USE, target.record.key), (_WHERE, self._where)):
                if store.meta(name) != value:
                    store.put_meta(name, value)
            if takes_over:
                store.keep_vectors(target.record.key)

    def nothing_to_embed(self, store: Store) -> bool:
        """Told without loading the model, which takes seconds: a sync that changed nothing should not."""
        if self.status.state != "waiting":
            return False
        try:
            _, record = embedding.find(self._where, self._settings.data_dir)
        except RagkitError:
            return False
        others = store.vector_models().keys() - {record.key}
        return not store.without_vector(record.key) and (not others or model_in_use(store) == record.key)

    def _load(self, where: str) -> Embedder:
        return embedding.load(where, self._settings.device, self._settings.data_dir, few=self._few)

    def _begin(self, wanted: Embedder, store: Store) -> None:
        """Let `wanted` answer, or take over from the model whose vectors are there."""
        for key in store.vector_models():
            if key != wanted.record.key and wanted.record.same_vectors(
                key
            ):  # an earlier ragkit said less of it
                store.rename_vectors(key, wanted.record.key)
        before = self.answering or self._before(wanted.record.key, store)
        if before is None or before.record.key == wanted.record.key:
            self.answering, self.next = wanted, None
            self.status = _ready(wanted)
        else:
            self.answering, self.next = before, wanted
            self.status = replace(_ready(before), replacement=wanted.record.label)

    def _stay(self, error: RagkitError, store: Store) -> bool:
        """Let the model go on answering whose vectors are there, when the one asked for cannot be loaded."""
        before, where = self._before("", store), store.meta(_WHERE) or "auto"
        if before is None:
            return False
        self._where = where
        self.answering, self.next = before, None
        self.status = replace(_ready(before), error=error.message, hint=error.hint)
        return True

    def _before(self, wanted: str, store: Store) -> Embedder | None:
        """The model that answered when the library was last open, if its record is not `wanted` and it still loads."""
        models = store.vector_models()
        key, where = store.meta(_IN_USE), store.meta(_WHERE)
        if not key and embedding.BUNDLED.key in models:  # a library from before this was noted
            key, where = embedding.BUNDLED.key, "auto"
        if key == wanted or key not in models or not where:
            return None
        try:
            before = self._load(where)
        except RagkitError:  # it is gone: the new one answers as far as its vectors go, and the page says so
            return None
        return before if before.record.key == key else None


def _ready(answering: Embedder) -> EmbeddingStatus:
    return EmbeddingStatus("ready", answering.record.label, answering.languages)
