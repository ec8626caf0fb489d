"""Whether what was found answers the question at all: yes, loosely, or no.

Pure decisions over two numbers of a retrieval; knows no store and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["answer", "weak", "refuse"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a question stops being answered. `nearest` is a cosine; None: the dense leg has no say."""

    refuse: float  # a fit below it is refused...
    weak: float  # ...and one below this is a weak match
    nearest: float | None = (
        None  # ...but a passage as near as this in meaning saves a question as a weak match
    )


def judge(fit: float, nearest: float | None, thresholds: Thresholds) -> Verdict:
    """Decide by the share of the question's information that the best passage holds, and by the best cosine."""
    if fit >= thresholds.weak:
        return "answer"
    if fit >= thresholds.refuse:
        return "weak"
    is_near = nearest is not None and thresholds.nearest is not None and nearest >= thresholds.nearest
    return "weak" if is_near else "refuse"
