"""From a question to passages: BM25 and cosine, fused; and how well the best passage fits.

Pure ranking over what the store gives, so that another store ranks the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragkit.embedding import UNKNOWN_LIMIT, Embedder
from ragkit.gate import Fit
from ragkit.schema import Filters, Hit, Language
from ragkit.store import Candidate, Statistics, Store
from ragkit.text import analyse, cjk_share, language

K1, B = 1.2, 0.75  # facts: best over seven sets; docs_en loses 3-4 points at b = .4
POOL = 100  # of each leg go into the fusion; measured: docs_en R@1 37.8 with 50 of each, 38.6 with these
KEPT = 50  # of the fused ones are read from the store
CANDIDATES = 200  # chosen by FTS5 before our own score
# The weight of the lexical leg. A model that does not know the language must not outvote it: at equal
# ranks (RRF) an English model drops cmrc2018 from R@1 96 to 40.
LEXICAL_WEIGHT, LEXICAL_WEIGHT_MULTILINGUAL = 0.55, 0.5
# Where a library says a thing in both languages, the question's own is wanted: a passage that is
# plainly in the other one counts for less.
OTHER_LANGUAGE = 0.5
RERANKED = (
    30  # of the fused chunks go to the reranker; facts: the right one is among the first 10 in 78 to 99.9 %
)

Rerank = Callable[[str, Sequence[Hit]], Sequence[Hit]]

Legs = Literal["lexical", "dense", "hybrid"]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found for a question, and how: enough for the answer, the gate and `explain`."""

    ranked: tuple[Hit, ...]  # every candidate of the fusion, best first
    limit: int
    weights: Mapping[str, float]  # query term -> idf
    fit: float  # 0..1: share of the question's idf that one of the first `limit` chunks holds
    holding: Mapping[str, int]  # query term -> chunks of the library that hold it
    lexical_ranks: Mapping[int, int]  # chunk -> 1-based place among those found by words
    dense_ranks: Mapping[int, int]
    nearest: float | None = None  # the best cosine; None where the dense leg was off

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The best chunks, as many as were wanted."""
        return self.ranked[: self.limit]

    @property
    def dense(self) -> bool:
        """Whether the question was compared by meaning too."""
        return self.nearest is not None

    @property
    def fits(self) -> Fit:
        """What the gate judges by."""
        return Fit(self.fit, self.nearest)


def idf(holding: int, chunks: int) -> float:
    """The weight of a term that `holding` of `chunks` chunks hold; never negative (Lucene's form)."""
    return math.log(1 + (chunks - holding + 0.5) / (holding + 0.5))


def bm25(candidate: Candidate, weights: Mapping[str, float], mean_length: float) -> float:
    """Score one chunk against the query terms (Robertson and Zaragoza, 2009, section 3.2)."""
    norm = K1 * (1 - B + B * candidate.length / (mean_length or 1.0))
    return sum(weights[term] * tf * (K1 + 1) / (tf + norm) for term, tf in candidate.counts.items())


def term_weights(terms: Sequence[str], statistics: Statistics) -> dict[str, float]:
    return {term: idf(statistics.holding.get(term, 0), statistics.chunks) for term in terms}


def fuse(
    lexical: Sequence[tuple[int, float]], dense: Sequence[tuple[int, float]], lexical_weight: float
) -> list[tuple[int, float]]:
    """Join two ranked lists of (id, score) by a weighted sum of their min-max scores, best first."""
    total: dict[int, float] = {}
    for leg, weight in ((lexical, lexical_weight), (dense, 1 - lexical_weight)):
        # A leg that ran dry reached everything that scores at all: what it did not list is at 0.
        low = leg[-1][1] if len(leg) >= POOL else min(0.0, leg[-1][1] if leg else 0.0)
        span = (leg[0][1] - low if leg else 0.0) or 1.0
        for id, score in leg:
            total[id] = total.get(id, 0.0) + weight * (score - low) / span
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


def retrieve(
    store: Store,
    embedder: Embedder | None,
    question: str,
    *,
    limit: int,
    filters: Filters | None = None,
    rerank: Rerank | None = None,
    legs: Legs = "hybrid",
) -> Retrieval:
    """Find the passages for `question`. Without an embedder, or for a question whose language its
    tokenizer does not know, by words alone. `rerank` puts the first RERANKED into its own order; `legs` is for
    measuring one of them by itself."""
    embedder = None if legs == "lexical" else embedder
    terms = list(dict.fromkeys(token.term for token in analyse(question, query=True)))
    vector = None
    if (
        embedder is not None
        and question.strip()
        and (legs == "dense" or embedder.unknown_share(question) <= UNKNOWN_LIMIT)
    ):
        vector = embedder.embed_query(question)
    with store.reading():
        documents = store.matching(filters or Filters())
        statistics = store.statistics(terms)
        weights = term_weights(terms, statistics)
        candidates = {c.chunk_id: c for c in store.candidates(terms, CANDIDATES, documents)}
        lexical = sorted(
            ((id, bm25(c, weights, statistics.mean_length)) for id, c in candidates.items()),
            key=lambda item: (-item[1], item[0]),
        )[:POOL]
        dense: list[tuple[int, float]] = []
        if embedder is not None and vector is not None:
            dense = store.matrix(embedder.record.key).search(vector, POOL, documents)
        lexical = [] if legs == "dense" else lexical
        fused = fuse(lexical, dense, _lexical_weight(embedder, dense))[: max(limit, KEPT)]
        chunks = store.chunks([id for id, _ in fused])
    lexical_of, dense_of = dict(lexical), dict(dense)
    asked_in = language(question)
    ranked = [
        chunk.hit(
            round(score * _language_weight(asked_in, chunk.text), 6),
            lexical_of.get(id),
            dense_of.get(id),
            round(score, 6),
        )
        for id, score in fused
        if (chunk := chunks.get(id)) is not None
    ]
    ranked.sort(key=lambda hit: -hit.score)
    if rerank is not None and ranked:
        ranked = [*rerank(question, ranked[:RERANKED]), *ranked[RERANKED:]]
    fit = max(
        (_share(candidates[hit.chunk_id], weights) for hit in ranked[:limit] if hit.chunk_id in candidates),
        default=0.0,
    )
    return Retrieval(
        tuple(ranked),
        limit,
        weights,
        fit,
        statistics.holding,
        _places(lexical),
        _places(dense),
        dense[0][1] if dense else None,
    )


def _places(leg: Sequence[tuple[int, float]]) -> dict[int, int]:
    return {id: place for place, (id, _) in enumerate(leg, 1)}


def _lexical_weight(embedder: Embedder | None, dense: Sequence[object]) -> float:
    if embedder is None or not dense:
        return 1.0
    return LEXICAL_WEIGHT_MULTILINGUAL if embedder.record.multilingual else LEXICAL_WEIGHT


def _language_weight(asked_in: Language, text: str) -> float:
    share = cjk_share(text)
    other = share < 0.02 if asked_in == "zh" else share > 0.5
    return OTHER_LANGUAGE if other else 1.0


def _share(candidate: Candidate, weights: Mapping[str, float]) -> float:
    total = sum(weights.values())
    return sum(weights[term] for term in candidate.counts) / total if total else 0.0
