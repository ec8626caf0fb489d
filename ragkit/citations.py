"""Which passage each sentence of an answer rests on: by its words, its figures and what it denies.

A number that a model wrote counts only where its passage holds what the sentence says. Pure functions.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragkit.claims import Claim, contradicts, read, says_nothing, shared
from ragkit.markers import MARKER
from ragkit.schema import Citation, Hit, Span
from ragkit.text import cjk_share, sentences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[np.float32] | None"]
"""Unit vectors of texts; None when the model does not read their language."""

# The share of a sentence's words that its sources must hold. Measured without embedding on 300 sentences of
# cmrc2018 and 155 of docs_en, each among six passages. Words dropped and turned around: given to their own
# passage in 100 and 96 %. Not supported, as it should be: sentences of other passages 99 and 99 %, a changed
# figure 98 % (of 135) and 85 % (of 20), half a true sentence with half of another's 79 and 77 %.
SUPPORTED = 0.6
# A passage's headings and its other sentences name what a sentence is about; they vouch for half of a word,
# and the first of the supporting sentences must hold MAIN by itself.
CONTEXT = 0.5
MAIN = 0.4
NEARLY_A_COPY = 0.8
ADDS = 0.2  # a further sentence is named when it holds this much that the first ones do not
MOST_SOURCES = 3
NEAREST = 12  # sentences are looked at for one claim
# Said in other words: the cosine that then stands in for the words, and the share of words still asked for.
# Measured on 15 paraphrases: words alone hold 11 of them, with this all 15; it lets 38 of 150 half true
# sentences of docs_en pass where words alone let 31.
SIMILAR = 0.75
SIMILAR_WORDS = 0.3

_FENCE = re.compile(r"^ {0,3}(?P<ticks>`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}(?P=ticks)[^\n]*$|\Z)", re.M | re.S)
_UNSAID = re.compile(rf"{MARKER.pattern}|\*{{2,3}}|__")  # numbers, emphasis: no part of a sentence's words
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
    text: str
    claim: Claim


def check(answer: str, hits: Sequence[Hit], *, embed: Embed | None = None, cut: bool = False) -> Checked:
    """Match every sentence of an answer with the passages, and write its numbers anew.

    `answer` has clean markers. With `cut` its last sentence is not whole, and is not judged.
    """
    index = _Index(hits)
    edits: list[tuple[int, int, str]] = []
    found: list[tuple[_Unit, list[_Source], Claim]] = []
    unsupported: list[_Unit] = []
    units = _units(answer)
    claims = [read(unit.text) for unit in units]
    supports = [
        index.support(claim, [n for n, _, _ in unit.marks]) for unit, claim in zip(units, claims, strict=True)
    ]
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
            edits.append(
                (unit.whole, unit.whole, missing if _is_number_before(answer, unit.whole) else f" {missing}")
            )
        if sources:
            found.append((unit, sources, claim))
    text, move = _edited(answer, edits)
    citations = [
        _citation(source, hits[source.number - 1], claim, (move(unit.start), move(unit.whole)))
        for unit, sources, claim in found
        for source in sources
    ]
    return Checked(
        text, tuple(citations), tuple((move(unit.start), move(unit.whole)) for unit in unsupported)
    )


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
                source = _Source(number, start, end, hit.text[start:end], read(hit.text[start:end]))
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
        held: defaultdict[int, float] = defaultdict(float)
        terms = claim.weights or dict.fromkeys(claim.terms, 1.0)
        for term, weight in terms.items():
            for place in self._holding.get(term, ()):
                held[place] += weight
        # Of two that share as much the shorter one says it more plainly.
        order = sorted(held, key=lambda at: (-held[at], len(self.sources[at].claim.terms), at))
        return [self.sources[at] for at in order[:NEAREST]]

    def _hold(self, claim: Claim, ranked: Sequence[_Source]) -> list[_Source]:
        total = sum(claim.weights.values())
        if not total:  # nothing but figures
            return next(([one] for one in ranked if claim.figures and self.has_figures(claim, [one])), [])

        def share(terms: AbstractSet[str]) -> float:
            return shared(claim, terms) / total

        # What one sentence says nearly whole must have the figures there: those of its neighbours are of others.
        copies = [one for one in ranked if share(one.claim.terms) >= NEARLY_A_COPY]
        for first in copies or ranked[:5]:
            held = set(first.claim.terms)
            if share(held) < MAIN or contradicts(claim, first.claim):
                continue
            chosen = [first]
            for more in () if copies else ranked:
                adds = share(held | more.claim.terms) - share(held) >= ADDS
                if len(chosen) < MOST_SOURCES and adds and not contradicts(claim, more.claim):
                    chosen.append(more)
                    held |= more.claim.terms
            around = held.union(*(self._context[source.number] for source in chosen))
            left = sum(claim.weights[term] for term in claim.weights.keys() & (around - held)) / total
            words = share(held) + CONTEXT * left
            if words >= SUPPORTED and self.has_figures(claim, chosen):
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
            words = shared(claim, source.claim.terms)
            fits = index.has_figures(claim, [source]) and not contradicts(claim, source.claim)
            if fits and words >= SIMILAR_WORDS * total:
                pairs.append((at, source))
    if not pairs:
        return
    ours = [units[at].text for at, _ in pairs]
    theirs = [source.text for _, source in pairs]
    vectors = embed([*ours, *theirs])
    if vectors is None:
        return
    for (at, source), mine, other in zip(pairs, vectors[: len(pairs)], vectors[len(pairs) :], strict=True):
        if not supports[at] and float(mine @ other) >= SIMILAR:
            supports[at] = [source]


# ── The answer, taken apart and written anew ──


def _units(answer: str) -> list[_Unit]:
    """The sentences of an answer in order; tables by row, blocks of code whole. A number belongs to the
    sentence that it stands in or after, on its line; at the beginning of a line, to the one that follows."""
    units: list[_Unit] = []
    at = 0
    for fence in _FENCE.finditer(answer):
        units += _prose(answer, at, fence.start())
        end = fence.end() - (answer[: fence.end()].endswith("\n"))
        units.append(_Unit(fence.start(), end, end, "\n".join(fence[0].split("\n")[1:]), (), "code"))
        at = fence.end()
    return [*units, *_prose(answer, at, len(answer))]


def _prose(answer: str, low: int, high: int) -> list[_Unit]:
    part = answer[:high]
    bare = part[:low] + _UNSAID.sub(lambda found: " " * len(found[0]), part[low:])
    spans: list[tuple[int, int, str]] = []
    at = low
    for line in bare[low:].splitlines(keepends=True):
        end = at + len(line)
        if line.lstrip().startswith("|"):
            is_head = _RULE.match(bare[end : bare.find("\n", end) if bare.find("\n", end) > 0 else high])
            if not _RULE.match(line) and not (is_head and bare[end : end + 1]):
                spans.append((at, end - line.endswith("\n"), "row"))
        at = end
    for start, end in sentences(bare, low, high):
        if bare[start] != "|" and not any(span[0] <= start < span[1] for span in spans if span[2] == "row"):
            spans.append((*_with_emphasis(part, start, end), "prose"))
    spans = [span for span in sorted(spans) if re.search(r"\w", bare[span[0] : span[1]])]
    marks: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    whole = [end for _, end, _ in spans]
    for found in MARKER.finditer(part, low):
        begin = part.rfind("\n", 0, found.start()) + 1
        before = [n for n, span in enumerate(spans) if span[0] <= found.start() and span[1] > begin]
        after = [n for n, span in enumerate(spans) if span[0] > found.start()]
        if not before and not after:
            continue
        owner = before[-1] if before else after[0]
        marks[owner].append((int(found[1]), found.start(), found.end()))
        whole[owner] = max(whole[owner], found.end())
    return [
        _Unit(
            start,
            _row_end(part, end) if kind == "row" else end,
            _row_end(part, whole[n]) if kind == "row" else whole[n],
            MARKER.sub(" ", part[start:end]),
            tuple(marks[n]),
            kind,
        )
        for n, (start, end, kind) in enumerate(spans)
    ]


def _row_end(text: str, end: int) -> int:
    """Inside the last cell, where a number may stand."""
    cell = len(text[:end].rstrip())
    return len(text[: cell - 1].rstrip()) if text[cell - 1 : cell] == "|" else end


def _with_emphasis(text: str, start: int, end: int) -> Span:
    """A sentence with the marks of emphasis around it."""
    opening = len(text[:start].rstrip("*_ ")) if text[:start].endswith(("**", "__")) else start
    closing = re.compile(r"\*{2,3}|__").match(text, end)
    return start - len(text[opening:start].lstrip()), closing.end() if closing else end


def _before(text: str, start: int) -> int:
    """Where the space before a number begins, unless that indents its line."""
    cut = len(text[:start].rstrip(" "))
    return cut if cut and text[cut - 1] != "\n" else start


def _is_number_before(text: str, end: int) -> bool:
    return any(found.end() == end for found in MARKER.finditer(text, max(0, end - 4), end))


def _edited(text: str, edits: Sequence[tuple[int, int, str]]) -> tuple[str, Callable[[int], int]]:
    """Apply edits; and tell where a place of the old text is in the new one, behind what was put in there."""
    ordered = sorted(edits)
    parts: list[str] = []
    at = 0
    for start, end, new in ordered:
        start = max(start, at)
        parts += [text[at:start], new]
        at = max(at, end)
    parts.append(text[at:])

    def move(place: int) -> int:
        moved, done = 0, 0
        for start, end, new in ordered:
            if start > place or (start == place and new == "" and end > place):
                break
            moved += len(new) - max(0, min(end, place) - max(start, done))
            done = max(done, min(end, place))
        return place + moved

    return "".join(parts), move


def _citation(source: _Source, hit: Hit, claim: Claim, at: Span) -> Citation:
    words = [
        (hit.start + source.start + token.start, hit.start + source.start + token.end)
        for token in source.claim.tokens
        if token.term in claim.weights
        or (token.term in claim.terms and (len(token.term) > 1 or token.term.isdigit()))
    ]
    return Citation(
        source.number,
        hit.doc_id,
        hit.source,
        hit.page,
        hit.heading,
        hit.start + source.start,
        hit.start + source.end,
        hit.text[source.start : source.end],
        at,
        tuple(_merged(words)),
    )


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
