"""How fast a loaded model reads prompts, and what a further token in a forward costs it. Measured as it goes."""

from __future__ import annotations

LEAST = 128  # tokens that tell anything: fewer are read at a lower rate than a long prompt
ROW_COST = 0.1  # until it is measured
_WEIGHT = 0.5  # of the newest measure: what else runs on the machine changes


class Pace:
    """Of one model on one machine; written by one thread, read by any."""

    def __init__(self) -> None:
        self.tokens_per_s: float | None = None  # prompt tokens; None before the first were read
        self.row_cost = ROW_COST  # of a forward of one token, for each further one

    def took(self, tokens: int, seconds: float) -> None:
        """Take in that so many tokens of a prompt were read in this time; few tell nothing."""
        if tokens < LEAST or seconds <= 0:
            return
        rate = tokens / seconds
        before = self.tokens_per_s
        self.tokens_per_s = rate if before is None else before + _WEIGHT * (rate - before)

    def wait_s(self, tokens: int) -> float | None:
        """Seconds until so many tokens are read; None where nothing was measured yet."""
        return tokens / self.tokens_per_s if self.tokens_per_s else None
