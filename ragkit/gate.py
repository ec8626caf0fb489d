"""Whether what was found answers the question at all: yes, loosely, or no; and where the lines are drawn.

Pure decisions over two numbers of a retrieval; knows no store and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["answer", "weak", "refuse"]

# Of a library's own chunks, paired at random, so many of 100 lie further apart than what saves a question.
NEAR_PERCENTILE = 99.0
_PAIRS = 10_000
_FEWEST = 30  # vectors; the pairs of fewer say nothing
# A threshold that rests on one side only is put so far beyond the last question on that side.
_STEP = 0.02
_HIGHEST = 0.95  # above it hardly any question would be answered


@dataclass(frozen=True, slots=True)
class Fit:
    """What a retrieval tells of a question. `share`: of its information (idf), in the best passage;
    `nearest`: the best cosine, None where the dense leg was off."""

    share: float
    nearest: float | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a question stops being answered. `nearest` is a cosine; None: meaning has no say."""

    refuse: float  # a share below it is refused...
    weak: float  # ...and one below this is a weak match
    nearest: float | None = None  # ...but a passage as near as this in meaning saves it, as a weak match


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds chosen from questions that must be answered (good) and refused (bad), and how many they tell."""

    thresholds: Thresholds
    good: int = 0
    bad: int = 0
    good_kept: int = 0
    bad_refused: int = 0


def judge(fit: Fit, thresholds: Thresholds) -> Verdict:
    """Decide by words first; what is near in meaning without them is a weak match at most."""
    if fit.share >= thresholds.refuse:
        return "answer" if fit.share >= thresholds.weak else "weak"
    is_near = fit.nearest is not None and thresholds.nearest is not None and fit.nearest >= thresholds.nearest
    return "weak" if is_near else "refuse"


def near_threshold(vectors: NDArray[np.float32]) -> float | None:
    """How near a passage must be to mean more than chance does, from the vectors (n, dim) of a library alone.

    Cosines do not compare between models or collections; those of random pairs show what chance is here.
    """
    count = len(vectors)
    if count < _FEWEST:
        return None
    random = np.random.default_rng(0)  # the same library, the same threshold
    first = random.integers(count, size=_PAIRS)
    second = (first + random.integers(1, count, size=_PAIRS)) % count  # never the same one
    cosines = np.einsum("ij,ij->i", vectors[first], vectors[second])
    return float(np.percentile(cosines, NEAR_PERCENTILE))


def calibrate(good: Sequence[Fit], bad: Sequence[Fit], default: Thresholds) -> Calibration:
    """Choose the thresholds that tell most of the questions apart, and of those the nearest to the default.

    Questions of one kind alone say on which side the line is, not where: they move it no further than half
    the default downwards, and upwards to where matches stop being weak.
    """

    def told(thresholds: Thresholds) -> tuple[int, int]:
        kept = sum(judge(fit, thresholds) != "refuse" for fit in good)
        return kept, sum(judge(fit, thresholds) == "refuse" for fit in bad)

    highest = _HIGHEST if good and bad else max(default.refuse, default.weak)
    lowest = 0.0 if good and bad else default.refuse / 2
    lines = [max(lowest, min(highest, line)) for line in _lines(good, bad, default.refuse)]
    choices = [
        replace(default, refuse=line, nearest=nearest)
        for nearest in _nearest(bad, default.nearest)
        for line in {default.refuse, *lines}
    ]
    chosen = min(
        choices,
        key=lambda one: (
            -sum(told(one)),
            (one.nearest or 0.0) - (default.nearest or 0.0),
            abs(one.refuse - default.refuse),
            one.refuse,
        ),
    )
    band = default.weak - default.refuse
    chosen = replace(chosen, weak=max(default.weak, min(1.0, chosen.refuse + band)))
    return Calibration(chosen, len(good), len(bad), *told(chosen))


def _lines(good: Sequence[Fit], bad: Sequence[Fit], default: float) -> Iterator[float]:
    """Where the line could stand: between any two shares, in the middle, and a step beyond the outermost."""
    shares = sorted({fit.share for fit in (*good, *bad)})
    for low, high in pairwise(shares):
        yield default if low < default <= high else (low + high) / 2
    if shares:
        yield min(default, shares[0] - _STEP)
        yield max(default, shares[-1] + _STEP)


def _nearest(bad: Sequence[Fit], default: float | None) -> list[float | None]:
    """How near could be near enough: the default, or a step more than any question that must be refused."""
    if default is None:
        return [None]
    nearer = {fit.nearest for fit in bad if fit.nearest is not None and fit.nearest >= default}
    return [default, *(nearest + _STEP for nearest in sorted(nearer))]
