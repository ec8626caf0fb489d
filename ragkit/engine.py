"""One library and the way from a question to an answer. Knows no screen.

Opened in stages: the store and lexical search at once, the dense leg when its model is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ragkit import answering, dense, embedding, explain, passages, retrieval, understanding
from ragkit.answering import Answerer
from ragkit.calibration import Gate
from ragkit.config import Settings
from ragkit.dense import Dense
from ragkit.embedding_records import ModelRecord
from ragkit.errors import GenerationError, ModelError
from ragkit.explain import Explanation
from ragkit.gate import Fit, Verdict
from ragkit.library import Library
from ragkit.rerank import Reranker
from ragkit.schema import QUOTES, Answer, Done, Event, Filters, Hit, Language, RerankStatus, Turn
from ragkit.text import language

if TYPE_CHECKING:
    import numpy as np
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.llms import LLM
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from numpy.typing import NDArray


class Engine(Library):
    """`Engine.open(settings)`; use it as a context manager, or call `close`.

    Without `llm` the answers are quotes. Several threads may ask at once; writing is one at a time,
    in this process and among others.
    """

    def __init__(
        self,
        settings: Settings,
        llm: LLM | None,
        embed_model: BaseEmbedding | None,
        reranker: BaseNodePostprocessor | None = None,
    ) -> None:
        self.use_model(llm)
        self._reranker = Reranker(settings, reranker)
        self._answers: list[threading.Event] = []  # the stop of every answer under way
        self._answers_changed = threading.Condition()
        super().__init__(
            settings, Dense(settings, embedding.wrap(embed_model) if embed_model is not None else None)
        )
        self.gate = Gate(settings, self._store, self._dense, self._fit, self._writing)

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        llm: LLM | None = None,
        embed_model: BaseEmbedding | None = None,
        reranker: BaseNodePostprocessor | None = None,
    ) -> Self:
        """Open or make the library at `settings.kb`. Raises StoreError, LibraryTooNew, LibraryBusy."""
        return cls(settings, llm, embed_model, reranker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def profile(self) -> str:
        """What answers: "quotes", or the name of the language model."""
        return QUOTES if self._llm is None else (self._llm.metadata.model_name or type(self._llm).__name__)

    @property
    def reranking(self) -> RerankStatus:
        """How the reranker stands. It is loaded at the first question."""
        return self._reranker.status

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

    def use_settings(self, settings: Settings) -> None:
        """Answer by these from the next question on: passages and their budget, thresholds, how a model writes.
        The library, its models and its folders stay as they were opened."""
        self.settings = settings
        self.gate.use_default(settings)

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

    def forget(self, conversation: str) -> None:
        """Let the model drop what it has read of a conversation that is over."""
        answering.forget(self._llm, conversation)

    def _llm_for(self, question: str) -> LLM | None:
        return self._llm if language(question) in self._languages else None

    # ── Questions ──

    def embedding_reads(self, question: str) -> bool:
        """Whether it is worth loading the embedding model for `question`: not for a language that it does not
        know, nor without vectors, nor when it is there."""
        return self._dense.would_read(question, self._store)

    def without_vector(self, record: ModelRecord) -> int:
        """How many passages have no vector of an embedding model, which need not be loaded."""
        return dense.without_vector(self._store, record)

    def holds(self, filters: Filters) -> bool:
        """Whether any document meets `filters`; without a filter always."""
        wanted = self._store.matching(filters)
        return wanted is None or bool(wanted)

    def search(self, question: str, *, limit: int = 10, filters: Filters | None = None) -> list[Hit]:
        """The passages that fit best, best first. Raises StoreError, ModelError."""
        return list(self._retrieve(question, limit, filters).hits)

    def rank(self, question: str, *, limit: int = 10, legs: retrieval.Legs = "hybrid") -> retrieval.Retrieval:
        """What `search` finds, and how well it fits, by one leg alone if need be. Raises StoreError, ModelError."""
        return self._retrieve(question, limit, None, legs)

    def _fit(self, question: str) -> Fit:
        return self._retrieve(question, self.settings.passages, None).fits

    def explain(self, question: str, *, filters: Filters | None = None) -> Explanation:
        """Why the answer to a question would be what it is; no model that writes is asked.
        Raises StoreError."""

        def look(question: str) -> tuple[retrieval.Retrieval, Verdict]:
            found = self._retrieve(question, self.settings.passages, filters)
            return found, self.gate.judge(found.fits)

        found = understanding.find(question, (), look, None, self.spoken, self._store.longer_forms)
        chosen = passages.of_settings(found.retrieval.ranked, self.settings, self._store.slice)
        return explain.explain(question, found, chosen, self.gate.thresholds())

    def _retrieve(
        self, question: str, limit: int, filters: Filters | None, legs: retrieval.Legs = "hybrid"
    ) -> retrieval.Retrieval:
        def found(embedder: embedding.Embedder | None) -> retrieval.Retrieval:
            order = None if self.reranking.state in ("off", "failed") else self._reranker.order
            return retrieval.retrieve(
                self._store, embedder, question, limit=limit, filters=filters, rerank=order, legs=legs
            )

        try:
            return found(self._dense.answering)
        except ModelError as error:
            # The question is answered by words alone rather than not at all; the page says so.
            self._dense.fail(error)
            return found(None)

    def spoken(self) -> dict[Language, float]:
        """The share of the documents' text that is in each language."""
        chinese = self._store.cjk_share()
        return {"zh": chinese, "en": 1 - chinese}

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """Unit vectors; None where the model that answers does not read these texts."""
        embedder = self._dense.answering
        if embedder is None or embedder.unknown_share("\n".join(texts)) > embedding.UNKNOWN_LIMIT:
            return None
        try:
            return embedding.unit(embedder.embed(texts))
        except ModelError as error:
            self._dense.fail(error)
            return None

    def ask(
        self,
        question: str,
        *,
        history: Sequence[Turn] = (),
        documents: bool = True,
        filters: Filters | None = None,
        conversation: str = "",
    ) -> Answer:
        """`stream`, whole."""
        for event in self.stream(
            question, history=history, documents=documents, filters=filters, conversation=conversation
        ):
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
        conversation: str = "",
    ) -> Iterator[Event]:
        """Answer a question: Retrieved, then Delta by Delta, then Done with the whole Answer.

        `stop` ends it early, with what was said so far. With `conversation`, a random key of its own, a model in this
        process keeps what it has read of it until `forget`. Raises StoreError, GenerationError.
        """
        stop = stop or threading.Event()
        with self._answering(stop):  # before the model is looked at: see `stop_answers`
            llm = self._llm_for(question)
            profile = QUOTES if llm is None else self.profile
            answerer = Answerer(
                self.settings,
                self._store,
                llm,
                profile,
                self._retrieve,
                self.gate.judge,
                self.spoken,
                self._simple,
                self._embed,
                conversation,
            )
            if documents:
                filters = filters or Filters()
                yield from answerer.stream(question, self.coverage(), history, filters, stop)
            else:
                yield from answerer.without_documents(question, history, stop)
