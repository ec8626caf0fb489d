"""Which passage each sentence of an answer rests on: by its words, its figures and what it denies.

A number that a model wrote counts only where its passage holds what the sentence says. Pure functions.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragkit.claims import Claim, contradicts, read, says_nothing
from ragkit.markers import MARKER
from ragkit.schema import Citation, Hit, Span
from ragkit.text import analyse, cjk_share, mask, sentences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[np.float32] | None"]
"""Unit vectors of texts; None when the model does not read their language."""

# The share of a sentence's words that its sources must hold. THRESHOLDS
SUPPORTED = 0.6
# A passage's headings and its other sentences name what a sentence is about; they vouch for this much of a
# word, and the supporting sentences themselves must hold MAIN.
CONTEXT = 0.5
MAIN = 0.4
ADDS = 0.2  # a further sentence is named when it holds this much that the first ones do not
MOST_SOURCES = 3
# Said in other words: the cosine that then stands in for the words, and the share of words still asked for.
SIMILAR = 0.75
SIMILAR_WORDS = 0.3

_FENCE = re.compile(r"^ {0,3}(?P<ticks>`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}(?P=ticks)[^\n]*$|\Z)", re.M | re.S)
_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*$")
_ENDS = re.compile(r"[。！？.!?…][”’」』）)】》\"'\]*_`|]*\s*$")


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer with the numbers that hold, and the places of what no passage supports."""

    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, a row of a table or a block of code of the answer; `marks` are its numbers' places."""

    start: int
    end: int  # of its words
    whole: int  # with the numbers after them
    text: str  # without numbers
    marks: tuple[tuple[int, int, int], ...]  # number, start, end
    kind: str = "prose"


@dataclass(frozen=True, slots=True)
class _Source:
    """A sentence of a passage."""

    number: int
    start: int
    end: int
    claim: Claim


def check(
    answer: str, hits: Sequence[Hit], *, embed: Embed | None = None, cut: bool = False
) -> Checked:
    """Match every sentence of an answer with the passages, and write its numbers anew.

    `answer` has clean markers. With `cut` its last sentence is not whole, and is not judged.
    """
    index = _Index(hits)
    edits: list[tuple[int, int, str]] = []
    found: list[tuple[_Unit, list[_Source], Claim]] = []
    unsupported: list[_Unit] = []
    units = _units(answer)
    claims = [read(unit.text) for unit in units]
    supports = [index.support(claim, [n for n, _, _ in unit.marks]) for unit, claim in zip(units, claims, strict=True)]
    if embed is not None:
        _by_meaning(units, claims, supports, index, embed)
    for unit, claim, sources in zip(units, claims, supports, strict=True):
        open_end = cut and unit is units[-1] and not _ENDS.search(unit.text)
        says = not says_nothing(unit.text) and bool(claim.weights or claim.figures)
        told = list(dict.fromkeys(source.number for source in sources))
        if says and not sources and not open_end:
            if index.is_foreign(unit.text):  # nobody here can compare the languages: what was said stands
                continue
            unsupported.append(unit)
        if not says or open_end:
            told = [n for n in told if n in {number for number, _, _ in unit.marks}]
            sources = [source for source in sources if source.number in told]
        seen: set[int] = set()
        for number, start, end in unit.marks:
            if number not in told or number in seen:
                edits.append((_before(answer, start), end, ""))
            seen.add(number)
        missing = "".join(f"[{n}]" for n in sorted(told) if n not in seen)
        if missing and unit.kind != "code":
            edits.append((unit.whole, unit.whole, missing if _is_number_before(answer, unit.whole) else f" {missing}"))
        if sources:
            found.append((unit, sources, claim))
    text, move = _edited(answer, edits)
    citations = [
        _citation(source, hits[source.number - 1], claim, (move(unit.start), move(unit.whole)))
        for unit, sources, claim in found
        for source in sources
    ]
    return Checked(text, tuple(citations), tuple((move(unit.start), move(unit.whole)) for unit in unsupported))


class _Index:
    """The sentences of all passages, by their terms."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self.sources: list[_Source] = []
        self._holding: defaultdict[str, list[int]] = defaultdict(list)
        self._context: dict[int, frozenset[str]] = {}
        self._figures: dict[int, frozenset[str]] = {}  # of headings
        self._share = [cjk_share(hit.text) for hit in hits]
        for number, hit in enumerate(hits, 1):
            above = read("\n".join((hit.title, *hit.heading)))
            terms = set(above.terms)
            self._figures[number] = above.every_figure
            for start, end in sentences(hit.text):
                source = _Source(number, start, end, read(hit.text[start:end]))
                for term in source.claim.terms:
                    self._holding[term].append(len(self.sources))
                terms |= source.claim.terms
                self.sources.append(source)
            self._context[number] = frozenset(terms)

    def is_foreign(self, text: str) -> bool:
        """Whether no passage is in the language of `text`."""
        chinese = cjk_share(text) > 0.2
        return all((share > 0.1) != chinese for share in self._share)

    def support(self, claim: Claim, named: Sequence[int]) -> list[_Source]:
        """The sentences that a claim rests on; none where they do not hold it.

        A passage that the model named goes before an equal one, and every named one that holds the claim counts.
        """
        ranked = self.nearest(claim)
        chosen: list[_Source] = []
        for number in dict.fromkeys(named):
            own = self._hold(claim, [source for source in ranked if source.number == number])
            chosen += [source for source in own if source not in chosen]
        return chosen or self._hold(claim, ranked)

    def nearest(self, claim: Claim) -> list[_Source]:
        """The sentences that share most of the claim's words, the best first."""
        shared: defaultdict[int, float] = defaultdict(float)
        terms = claim.weights or dict.fromkeys(claim.terms, 1.0)
        for term, weight in terms.items():
            for place in self._holding.get(term, ()):
                shared[place] += weight
        # Of two that share as much the shorter one says it more plainly.
        order = sorted(shared, key=lambda at: (-shared[at], len(self.sources[at].claim.terms), at))
        return [self.sources[at] for at in order[:40]]

    def _hold(self, claim: Claim, ranked: Sequence[_Source]) -> list[_Source]:
        total = sum(claim.weights.values())
        for first in ranked[:5]:
            if contradicts(claim, first.claim):
                continue
            chosen = [first]
            held = claim.weights.keys() & first.claim.terms
            for more in ranked:
                new = (claim.weights.keys() & more.claim.terms) - held
                if len(chosen) == MOST_SOURCES or more in chosen or contradicts(claim, more.claim):
                    continue
                if sum(claim.weights[term] for term in new) >= ADDS * total > 0:
                    chosen.append(more)
                    held |= new
            if not self.has_figures(claim, chosen):
                continue
            main = sum(claim.weights[term] for term in held)
            around = frozenset().union(*(self._context[source.number] for source in chosen))
            context = sum(claim.weights[term] for term in (claim.weights.keys() & around) - held)
            if total == 0 and claim.figures:
                return chosen
            if total and main >= MAIN * total and main + CONTEXT * context >= SUPPORTED * total:
                return chosen
        return []

    def has_figures(self, claim: Claim, sources: Sequence[_Source]) -> bool:
        """Whether every figure of the claim stands in the sentences, or in the headings above them."""
        there = frozenset().union(
            *(source.claim.every_figure | self._figures[source.number] for source in sources)
        )
        return claim.figures <= there


def _by_meaning(
    units: Sequence[_Unit],
    claims: Sequence[Claim],
    supports: list[list[_Source]],
    index: _Index,
    embed: Embed,
) -> None:
    """Support what is said in other words than its source: one call of the model for all such sentences."""
    pairs: list[tuple[int, _Source]] = []
    for at, (unit, claim) in enumerate(zip(units, claims, strict=True)):
        total = sum(claim.weights.values())
        if supports[at] or unit.kind != "prose" or not total or says_nothing(unit.text):
            continue
        for source in index.nearest(claim)[:3]:
            shared = sum(claim.weights[term] for term in claim.weights.keys() & source.claim.terms)
            fits = index.has_figures(claim, [source]) and not contradicts(claim, source.claim)
            if fits and shared >= SIMILAR_WORDS * total:
                pairs.append((at, source))
    if not pairs:
        return
    ours = [units[at].text for at, _ in pairs]
    theirs = ["".join(token_text(source, index)) for _, source in pairs]
    vectors = embed([*ours, *theirs])
    if vectors is None:
        return
    for (at, source), mine, other in zip(pairs, vectors[: len(pairs)], vectors[len(pairs) :], strict=True):
        if not supports[at] and float(mine @ other) >= SIMILAR:
            supports[at] = [source]
