"""What probably comes next in an answer: where its last tokens stood before, what followed them there.

Answers about documents copy passages. Several guessed tokens are checked by one forward, which reads the weights
once, as a forward of one token does. Pure, and a function of the tokens alone: the same answer, the same guesses.
"""

from __future__ import annotations

from collections.abc import Sequence

SIZES = (4, 3, 2)  # tokens that must have stood before in the same order; the longest first
MOST = 12  # guessed at once: on a CPU the kernels for few rows end at 16
# A guess that is right one time in two is worth a try; each look weighs so much against those before it.
_PRIOR, _WEIGHT = 0.5, 0.15
_GAIN = 1.05  # tokens for the time of one, from which on guesses are checked


class Lookup:
    """Guesses for one answer; learns from each token how often they come true, by the length of the match.

    `row_cost`: of a forward of one token, what each further one adds. The learning goes on where nothing is guessed because it did not pay: when an answer begins to copy, it shows.
    """

    def __init__(self, prompt: Sequence[int], row_cost: float) -> None:
        self._row_cost = row_cost
        self._ids: list[int] = []
        self._after: dict[int, dict[tuple[int, ...], int]] = {size: {} for size in SIZES}
        self._right = dict.fromkeys(SIZES, _PRIOR)
        self._match: tuple[int, int] | None = None  # its size, and where what followed it begins
        for token in prompt:
            self._append(token)
        self._find()

    def add(self, token: int) -> None:
        """Take the next token of the answer."""
        if self._match:
            size, start = self._match
            self._right[size] += _WEIGHT * ((self._ids[start] == token) - self._right[size])
        self._append(token)
        self._find()

    def guess(self, most: int) -> list[int]:
        """Return at most `most` tokens that may come next; none where checking them would not pay."""
        if not self._match:
            return []
        size, start = self._match
        number = best_number(self._right[size], self._row_cost, min(most, MOST))
        return self._ids[start : start + number]

    def _append(self, token: int) -> None:
        for size in SIZES:
            if len(self._ids) >= size:
                self._after[size][tuple(self._ids[-size:])] = len(self._ids)
        self._ids.append(token)

    def _find(self) -> None:
        matches = ((size, self._after[size].get(tuple(self._ids[-size:]))) for size in SIZES)
        self._match = next(((size, start) for size, start in matches if start is not None), None)


def best_number(right: float, row_cost: float, most: int) -> int:
    """Return how many tokens to guess, each right with the probability `right` as long as those before it are:
    where a forward gives the most tokens for its time; 0 where that is hardly more than without."""
    best, number = _GAIN, 0
    tokens = reach = 1.0
    for guessed in range(1, most + 1):
        reach *= right
        tokens += reach
        if (gain := tokens / (1 + row_cost * guessed)) > best:
            best, number = gain, guessed
    return number
