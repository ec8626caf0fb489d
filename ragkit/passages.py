"""From ranked chunks to the passages of an answer: near-duplicates folded, neighbours joined, a budget kept.

Pure, but for `between`, which reads a stretch of a document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ragkit.config import Settings
from ragkit.schema import Hit, Place
from ragkit.text import index_terms

# What became of a ranked chunk. "number": there were enough passages before it; "budget": too long for
# what was left of it.
Fate = Literal["used", "joined", "folded", "number", "budget"]

# Of the runs of three terms in both texts together, the share that both must hold to say the same.
SAME = 0.9
_RUN = 3
# Texts that differ in a figure say different things, however alike they are.
_FIGURES = re.compile("[0-9]+|[零〇一二两三四五六七八九十百千万亿]+")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The passages, best first, and for each ranked chunk its fate and the number (1-based) of its passage."""

    passages: tuple[Hit, ...]
    fates: tuple[tuple[Fate, int | None], ...]


@dataclass(slots=True)
class _Passage:
    best: Hit
    parts: list[int]  # places in the ranking
    start: int
    end: int
    folded: list[int]


def choose(
    ranked: Sequence[Hit], *, most: int, characters: int, between: Callable[[int, int, int], str]
) -> Chosen:
    """Choose at most so many passages of at most so many characters together; the first always.

    `between(doc_id, start, end)` gives the text of a document there. Neighbours become one passage, an exact
    slice, with the figures of the better one; never across a heading or a page, so that the place stays true.
    """
    passages: list[_Passage] = []
    runs: list[tuple[_Passage, Hit, frozenset[tuple[str, ...]]]] = []
    left_out: dict[int, Fate] = {}
    room = characters
    for at, hit in enumerate(ranked):
        if len(passages) >= most:
            left_out[at] = "number"
            continue
        own = _runs_of(hit.text)
        if twin := next((p for p, other, its in runs if _same(hit, own, other, its)), None):
            twin.folded.append(at)
            continue
        if passages and len(hit.text) > room:
            left_out[at] = "budget"
            continue
        near = [p for p in passages if _touch(p, hit, between)]
        passage = near[0] if near else _Passage(hit, [], hit.start, hit.end, [])
        if not near:
            passages.append(passage)
        for other in near[1:]:  # it closes the gap between two
            passages.remove(other)
            runs = [(passage if p is other else p, one, its) for p, one, its in runs]
            passage.parts += other.parts
            passage.folded += other.folded
        spans = [(p.start, p.end) for p in near] + [(hit.start, hit.end)]
        passage.start, passage.end = min(low for low, _ in spans), max(high for _, high in spans)
        passage.parts.append(at)
        runs.append((passage, hit, own))
        room -= len(hit.text)
    return _numbered(ranked, passages, left_out, between)


def of_settings(ranked: Sequence[Hit], settings: Settings, between: Callable[[int, int, int], str]) -> Chosen:
    """`choose`, with the number and the budget of the settings."""
    return choose(ranked, most=settings.passages, characters=settings.context_chars, between=between)


def _numbered(
    ranked: Sequence[Hit],
    passages: Sequence[_Passage],
    left_out: dict[int, Fate],
    between: Callable[[int, int, int], str],
) -> Chosen:
    fates: dict[int, tuple[Fate, int | None]] = {at: (fate, None) for at, fate in left_out.items()}
    shown = []
    for number, passage in enumerate(passages, 1):
        fates |= dict.fromkeys(passage.parts, ("joined", number)) | {min(passage.parts): ("used", number)}
        fates |= dict.fromkeys(passage.folded, ("folded", number))
        shown.append(_shown(passage, ranked, between))
    return Chosen(tuple(shown), tuple(fates[at] for at in range(len(ranked))))


def _shown(passage: _Passage, ranked: Sequence[Hit], between: Callable[[int, int, int], str]) -> Hit:
    best = passage.best
    also = tuple(_place(ranked[at]) for at in passage.folded)
    if len(passage.parts) == 1:
        return replace(best, also=also)
    first = min((ranked[at] for at in passage.parts), key=lambda hit: hit.start)
    text = between(best.doc_id, passage.start, passage.end)
    if len(text) != passage.end - passage.start:  # the document was changed or removed meanwhile
        return replace(best, also=also)
    return replace(
        best,
        page=first.page,
        heading=first.heading,
        start=passage.start,
        end=passage.end,
        text=text,
        also=also,
    )


def _touch(passage: _Passage, hit: Hit, between: Callable[[int, int, int], str]) -> bool:
    """Whether nothing but white space stands between a passage and a chunk of the same heading and page."""
    best = passage.best
    if (best.doc_id, best.page, best.heading) != (hit.doc_id, hit.page, hit.heading):
        return False
    low, high = (passage.end, hit.start) if hit.start >= passage.end else (hit.end, passage.start)
    # White space of a page at most: a document is not read for what cannot be a gap.
    return 0 <= high - low <= 100 and not between(hit.doc_id, low, high).strip()


def _runs_of(text: str) -> frozenset[tuple[str, ...]]:
    terms = index_terms(text)
    return frozenset(
        tuple(terms[at : at + _RUN]) for at in range(max(1, len(terms) - _RUN + 1) if terms else 0)
    )


def _same(one: Hit, runs: frozenset[tuple[str, ...]], other: Hit, others: frozenset[tuple[str, ...]]) -> bool:
    if one.heading != other.heading:  # the same words about another thing: the warranty of another pump
        return False
    if one.text == other.text:
        return True
    shared, all_runs = len(runs & others), len(runs | others)
    return shared >= SAME * all_runs > 0 and _FIGURES.findall(one.text) == _FIGURES.findall(other.text)


def _place(hit: Hit) -> Place:
    return Place(hit.chunk_id, hit.doc_id, hit.source, hit.page, hit.heading, hit.start, hit.end)
