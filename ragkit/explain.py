"""Why an answer is what it is: what retrieval found, and what became of each chunk, as data."""

from __future__ import annotations

from dataclasses import dataclass

from ragkit.gate import Thresholds, Verdict
from ragkit.passages import Chosen, Fate
from ragkit.schema import Hit
from ragkit.understanding import Found


@dataclass(frozen=True, slots=True)
class ExplainedTerm:
    """A term of the question, as it was looked for."""

    term: str
    idf: float
    chunks: int  # of the library that hold it


@dataclass(frozen=True, slots=True)
class ExplainedChunk:
    """A candidate: its place in each leg (1-based; None where the leg did not list it), and its fate."""

    hit: Hit
    lexical_rank: int | None
    dense_rank: int | None
    fate: Fate
    number: int | None  # of the passage that it is, was joined to, or folded into


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole way from a question to its passages. No model that writes was asked.

    The passages are what an answer would get; when it is refused it gets none.
    """

    question: str
    searched: str  # what was looked for: the question, or a short word of it spelt out
    terms: tuple[ExplainedTerm, ...]
    chunks: tuple[ExplainedChunk, ...]  # as they were ranked, best first
    passages: tuple[Hit, ...]
    dense: bool  # whether the question was compared by meaning too
    fit: float
    nearest: float | None
    thresholds: Thresholds
    verdict: Verdict


def explain(question: str, looked: Found, chosen: Chosen, thresholds: Thresholds) -> Explanation:
    """Put together what retrieval and the choice of passages left behind."""
    found = looked.retrieval
    return Explanation(
        question,
        looked.searched,
        tuple(
            ExplainedTerm(term, round(weight, 3), found.holding.get(term, 0))
            for term, weight in sorted(found.weights.items(), key=lambda item: -item[1])
        ),
        tuple(
            ExplainedChunk(
                hit,
                found.lexical_ranks.get(hit.chunk_id),
                found.dense_ranks.get(hit.chunk_id),
                fate,
                number,
            )
            for hit, (fate, number) in zip(found.ranked, chosen.fates, strict=True)
        ),
        chosen.passages,
        found.dense,
        round(found.fit, 3),
        found.nearest,
        thresholds,
        looked.verdict,
    )
