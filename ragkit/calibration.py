"""The gate of one library: the user's own good and bad questions, and the thresholds that follow from them.

Kept in the library itself, so that they travel with it. Ranks nothing: how questions fit it is told.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np

from ragkit.config import Settings
from ragkit.dense import Dense
from ragkit.errors import UsageError
from ragkit.gate import Calibration, Fit, Thresholds, Verdict, calibrate, judge, near_threshold
from ragkit.store import Store

_KEY = "gate"  # meta: the questions and what was chosen by them, as JSON
_GROWN = 0.2  # a library that has so much more or less than when it was calibrated has other weights by now


@dataclass(frozen=True, slots=True)
class MarkedQuestion:
    """A question that the user wants answered (`good`) or refused, and what becomes of it now."""

    question: str
    good: bool
    fit: Fit
    verdict: Verdict

    @property
    def told(self) -> bool:
        """Whether the gate does what the user wants."""
        return self.good == (self.verdict != "refuse")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the library keeps of it, and how the library stood then."""

    questions: dict[str, bool] = field(default_factory=dict)  # -> whether it is a good one
    calibration: Calibration | None = None
    chunks: int = 0
    embedding: str = ""

    def asked(self, good: bool) -> list[str]:
        return [question for question, kind in self.questions.items() if kind == good]

    @classmethod
    def read(cls, text: str) -> Kept:
        """Read it back. Nothing, if that is not ours: a library may come from anywhere."""
        try:
            kept = cls(**json.loads(text))
            questions = {str(question): bool(good) for question, good in kept.questions.items()}
            if kept.calibration is None:
                return replace(kept, questions=questions)
            chosen = dict(cast("dict[str, Any]", kept.calibration))
            limits = {name: None if one is None else float(one) for name, one in chosen["thresholds"].items()}
            chosen["thresholds"] = Thresholds(**cast("dict[str, Any]", limits))
            return replace(kept, questions=questions, calibration=Calibration(**chosen))
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


class Gate:
    """`fit(question)` says how well the library's passages fit; `writing` is held for every change."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        dense: Dense,
        fit: Callable[[str], Fit],
        writing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.use_default(settings)
        self._store = store
        self._dense = dense
        self._fit = fit
        self._writing = writing
        self._lock = threading.Lock()
        self._near: tuple[object, float | None] = (
            None,
            None,
        )  # the vectors it was taken from, and the cosine

    def use_default(self, settings: Settings) -> None:
        """What holds where no question is marked."""
        self._default = Thresholds(settings.gate, max(settings.gate, settings.gate_weak))

    def judge(self, fit: Fit) -> Verdict:
        """What becomes of a question that fits so well."""
        return judge(fit, self.thresholds())

    def thresholds(self) -> Thresholds:
        """The thresholds in force: the calibrated ones, or else the default."""
        calibration = self.calibration()
        default = self._base()
        if calibration is None:
            return default
        nearest = [one for one in (calibration.thresholds.nearest, default.nearest) if one is not None]
        # A default that fell since, because the library changed, must not open what was closed by a question.
        return replace(calibration.thresholds, nearest=max(nearest) if default.nearest is not None else None)

    def calibration(self) -> Calibration | None:
        """What was chosen by the user's questions; None while there are none."""
        return self._kept().calibration

    def stale(self) -> bool:
        """Whether the library has changed so much since that `calibrate` may choose otherwise."""
        kept, chunks = self._kept(), self._store.coverage().chunks
        has_changed = abs(chunks - kept.chunks) > _GROWN * kept.chunks or kept.embedding != self._dense.key
        return kept.calibration is not None and has_changed

    def questions(self) -> list[MarkedQuestion]:
        """The user's questions, the good ones first, each as it stands now. Raises StoreError."""
        thresholds, kept = self.thresholds(), self._kept()
        return [
            MarkedQuestion(question, good, fit, judge(fit, thresholds))
            for good in (True, False)
            for question in kept.asked(good)
            for fit in [self._fit(question)]
        ]

    def mark(self, question: str, *, good: bool) -> Calibration | None:
        """Note that a question must be answered (`good`), or refused, and calibrate. Raises UsageError."""
        question = " ".join(question.split())
        if not question:
            raise UsageError("the question is empty", "Name one that is to be answered, or refused.")
        self._change(lambda kept: replace(kept, questions=kept.questions | {question: good}))
        return self.calibrate()

    def unmark(self, question: str) -> Calibration | None:
        """Forget a question, and calibrate by the others. Raises UsageError when it is not one of them."""
        question = " ".join(question.split())
        if question not in self._kept().questions:
            raise UsageError(
                f"{question!r} is no question that this library is calibrated by",
                "python -m ragkit calibrate  lists them.",
            )
        self._change(
            lambda kept: replace(
                kept, questions={one: good for one, good in kept.questions.items() if one != question}
            )
        )
        return self.calibrate()

    def reset(self) -> None:
        """Forget all questions: the default is in force again."""
        self._change(lambda _: Kept())

    def calibrate(self) -> Calibration | None:
        """Choose the thresholds anew, by how the questions fit the library as it is now. Raises StoreError."""
        kept = self._kept()
        good, bad = ([self._fit(question) for question in kept.asked(kind)] for kind in (True, False))
        chosen = calibrate(good, bad, self._base()) if good or bad else None
        chunks, embedding = self._store.coverage().chunks, self._dense.key
        self._change(lambda now: replace(now, calibration=chosen, chunks=chunks, embedding=embedding))
        return chosen

    def _base(self) -> Thresholds:
        return replace(self._default, nearest=self._near_threshold())

    def _near_threshold(self) -> float | None:
        """Taken from the vectors in memory, and again when they have changed."""
        answering = self._dense.answering
        if answering is None:
            return None
        matrix = self._store.matrix(answering.record.key)
        with self._lock:
            if self._near[0] is not matrix:
                self._near = (matrix, near_threshold(matrix.vectors[np.unique(matrix.rows)]))
            return self._near[1]

    def _kept(self) -> Kept:
        return Kept.read(self._store.meta(_KEY) or "{}")

    def _change(self, change: Callable[[Kept], Kept]) -> None:
        with self._writing():
            self._store.put_meta(_KEY, json.dumps(asdict(change(self._kept()))))
