"""The reranker of one library: a LlamaIndex node postprocessor that puts the best chunks into its own order.

What fails here leaves the fused order, and the status says so.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ragkit import models
from ragkit.config import Settings
from ragkit.errors import ModelError
from ragkit.schema import Hit, RerankStatus

if TYPE_CHECKING:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

logger = logging.getLogger(__name__)

DEFAULT = "BAAI/bge-reranker-v2-m3"  # multilingual, Apache-2.0; LlamaIndex's own default knows no Chinese


class Reranker:
    """`order` is the hook that retrieval calls. The model is loaded at the first question. Thread-safe.

    The setting `rerank`: "auto" takes the default model where it is on this machine and a GPU is there, "off"
    none, else a model's folder or name. Nothing is ever downloaded.
    """

    def __init__(self, settings: Settings, given: BaseNodePostprocessor | None = None) -> None:
        self._settings = settings
        self._given = given
        self._lock = threading.Lock()
        wanted = DEFAULT if settings.rerank == "auto" else settings.rerank
        if given is not None:
            self.status = RerankStatus("ready", type(given).__name__)
        elif settings.rerank == "off":
            self.status = RerankStatus("off")
        else:
            self.status = RerankStatus("waiting", wanted)

    def load(self) -> bool:
        """Load the model, unless it is there or off. False: the fused order stands, and `status` says why."""
        with self._lock:
            if self.status.state == "waiting":
                try:
                    self._given = load(self._settings)
                    self.status = RerankStatus("ready" if self._given else "off", self.status.name)
                except ModelError as error:
                    self._fail(error)
            return self.status.state == "ready"

    def order(self, question: str, hits: Sequence[Hit]) -> Sequence[Hit]:
        """The same chunks in the reranker's order, with its figures; as they were when it is off or fails."""
        if not self.load() or self._given is None:
            return hits
        try:
            return reranked(self._given, question, hits)
        except Exception as error:  # noqa: BLE001  # whatever a caller's model raises, the question is answered
            logger.warning("the reranker %s failed: %s", self.status.name, type(error).__name__)
            self._fail(
                ModelError(
                    f"the reranker {self.status.name} failed: {type(error).__name__}: {error}",
                    "Search goes on without it. Restart ragkit, or set RAGKIT_RERANK=off.",
                )
            )
            return hits

    def _fail(self, error: ModelError) -> None:
        self._given = None
        self.status = RerankStatus("failed", self.status.name, error.message, error.hint)


def reranked(given: BaseNodePostprocessor, question: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits in the order that `given` puts them into; those that it leaves out come after.

    Scores that are no shares go through the logistic function, so that `score` stays within 0..1.
    """
    from llama_index.core.schema import QueryBundle

    from ragkit.nodes import scored

    nodes = given.postprocess_nodes([scored(hit, headed=True) for hit in hits], QueryBundle(question))
    figures = {node.node.node_id: float(node.score) for node in nodes if node.score is not None}
    if not all(map(math.isfinite, figures.values())):
        raise ValueError("a score is no number")
    shares = all(0 <= figure <= 1 for figure in figures.values())
    by_id = {str(hit.chunk_id): hit for hit in hits}
    first = [
        replace(by_id[id], rerank=figure, score=round(figure if shares else _logistic(figure), 6))
        for id, figure in figures.items()
        if id in by_id
    ]
    first.sort(key=lambda hit: -(hit.rerank or 0.0))
    least = first[-1].score if first else 1.0
    rest = [hit for hit in hits if str(hit.chunk_id) not in figures]
    return first + [replace(hit, score=round(least * hit.score, 6)) for hit in rest]


def load(settings: Settings) -> BaseNodePostprocessor | None:
    """Load the model that the settings name; None where "auto" finds nothing to run. Raises ModelError."""
    automatic = settings.rerank == "auto"
    name = DEFAULT if automatic else settings.rerank
    if automatic and settings.device == "cpu":
        return None
    folder = models.find_local(name, settings.data_dir)
    if folder is None or folder.is_file():
        if automatic:
            return None
        raise ModelError(
            f"there is no reranker {name} on this machine",
            f"Run: python -m ragkit download {name}  Or set RAGKIT_RERANK to a folder, or to off.",
        )
    import torch

    if automatic and not torch.cuda.is_available():
        return None  # 0.6 billion weights over 30 passages: seconds a question on a CPU
    try:
        from llama_index.core.postprocessor import SentenceTransformerRerank

        # Its own defaults are traps: an English model for another task, two passages, remote code.
        return SentenceTransformerRerank(
            model=str(folder.resolve()),
            top_n=1 << 30,
            device=None if settings.device == "auto" else settings.device,
            trust_remote_code=False,
        )
    except Exception as error:
        raise ModelError(
            f"the reranker in {folder} cannot be loaded: {type(error).__name__}: {error}",
            "Search goes on without it. Download it again, or set RAGKIT_RERANK=off.",
        ) from error


def _logistic(figure: float) -> float:
    return 1 / (1 + math.exp(-figure)) if figure > -700 else 0.0
