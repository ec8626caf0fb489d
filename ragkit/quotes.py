"""The answerer without a model: the best sentences of the retrieved passages, word for word.

It never invents: what it says is a slice of a document, with the number of its passage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragkit.schema import Citation, Hit
from ragkit.text import analyse, is_cjk, language, mask, sentences

MOST = 3  # sentences in an answer
# A further sentence must tell this much of the question's information that the first ones did not...
NEW_SHARE = 0.2
# ...or score nearly as well as the best.
NEAR_BEST = 0.85
FAR_FROM_BEST = 0.55  # what scores lower is beside the point, whatever it adds
HEADING_WEIGHT = 0.5  # a question word in the heading speaks for the sentences below it, but less
DEFINITION_BONUS = 0.5
SUBJECT_SHARE = 0.6
FIGURE_BONUS = 0.2
LANGUAGE_BONUS = 0.4  # where the documents say it in both, the question's own language
FRAGMENT_MALUS = 0.25  # a title or a table's header that no end of a sentence closes
RANK_BONUS = 0.15  # of the first passage; the others get a share of it

_LEADING_MARK = re.compile(r"(?:[-*+•·▪●]\s+|\d{1,3}(?:[.)]\s+|、\s*)|#{1,6}\s+|>\s*|\|\s*|\[[ xX]\]\s+)+")
_TRAILING_MARK = re.compile(r"\s*(?:\||#+)\s*$")
_NUMBERED_TITLE = re.compile(r"(?:[一二三四五六七八九十]{1,3}、|第[一二三四五六七八九十\d]{1,4}[章节条部篇])")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ITEM = r"\s*(?:[-*+•·▪●]|\d{1,3}[.)、])\s?[^\n]+"
_ANNOUNCED = re.compile(rf"\s*(?:```[^\n]*\n.*?```|(?:{_ITEM}(?:\n|\Z)){{1,12}})", re.S)
_DEFINES = re.compile(
    r"是什么|什么是|什么叫|是谁|介绍|\bwhat(?:'s| is| are)\b|\bwho(?:'s| is| are)\b|\bdefin", re.I
)
_COPULA = re.compile(
    r"(?:^|[^不])(?:是|指|即|为)(?:一|指|由|专|用|把|将|对|在|\w)|\b(?:is|are|means|refers to)\b", re.I
)
_IS_SENTENCE = re.compile(r"[。！？.!?…；;：:][”’」』）)】》\"'\]*`_]*\s*$|\n")
_COUNTS = re.compile(
    r"多少|几|多久|多长|多大|多高|什么时候|何时|哪一?年|日期|\bhow (?:many|much|long|old|often|far)\b|\bwhen\b",
    re.I,
)
_FIGURE = re.compile(r"\d|[一二两三四五六七八九十百千万]+[个天日月年元次人份小]")


@dataclass(frozen=True, slots=True)
class Quote:
    """A slice of a passage: `start` and `end` count in the document, as everywhere."""

    number: int
    hit: Hit
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.hit.text[self.start - self.hit.start : self.end - self.hit.start]

    @property
    def citation(self) -> Citation:
        hit = self.hit
        return Citation(
            self.number, hit.doc_id, hit.source, hit.page, hit.heading, self.start, self.end, self.text
        )


def select(question: str, hits: Sequence[Hit], weights: Mapping[str, float]) -> list[Quote]:
    """Choose one to three sentences that tell most of what was asked, best first.

    `weights` maps the question's terms to their idf. Empty only when the passages hold no sentence.
    """
    total = sum(weights.values()) or 1.0
    scored: list[tuple[float, frozenset[str], Quote]] = []
    for rank, hit in enumerate(hits):
        under = _terms(" ".join((hit.title, *hit.heading)))
        for at, (start, end) in enumerate(_quotable(hit)):
            quote = Quote(rank + 1, hit, hit.start + start, hit.start + end)
            told = frozenset(_terms(quote.text) & weights.keys())
            share = sum(weights[term] for term in told) / total
            above = sum(weights[term] for term in (under & weights.keys()) - told) / total
            score = share + HEADING_WEIGHT * above + RANK_BONUS * hit.score / (1 + rank) - 0.002 * at
            score += _bonus(question, quote.text, told, weights)
            scored.append((score, told, quote))
    scored.sort(key=lambda item: -item[0])
    return _spread(scored, weights, total)


def _spread(
    scored: Sequence[tuple[float, frozenset[str], Quote]], weights: Mapping[str, float], total: float
) -> list[Quote]:
    """Take the best, then those that add to it; the same words from two documents count once."""
    chosen: list[Quote] = []
    told: set[str] = set()
    said: set[str] = set()
    for score, terms, quote in scored:
        new = sum(weights[term] for term in terms - told) / total
        words = _plain(quote.text)
        floor = (FAR_FROM_BEST if new >= NEW_SHARE else NEAR_BEST) * scored[0][0]
        if chosen and (words in said or score < floor):
            continue
        chosen.append(quote)
        told |= terms
        said.add(words)
        if len(chosen) == MOST:
            break
    return chosen


def _bonus(question: str, sentence: str, told: frozenset[str], weights: Mapping[str, float]) -> float:
    bonus = LANGUAGE_BONUS if language(sentence) == language(question) else 0.0
    if not _IS_SENTENCE.search(sentence):
        bonus -= FRAGMENT_MALUS
    if told and _DEFINES.search(question) and _defines(sentence, told, weights):
        bonus += DEFINITION_BONUS
    if _COUNTS.search(question) and _FIGURE.search(sentence):
        bonus += FIGURE_BONUS
    return bonus


def _defines(sentence: str, told: frozenset[str], weights: Mapping[str, float]) -> bool:
    """Whether it says "X is ...": the copula right after what was asked for, most of which stands before it."""
    first = next((token for token in analyse(sentence) if token.term in told), None)
    copula = _COPULA.search(sentence, first.end, first.end + 24) if first and first.start <= 8 else None
    if copula is None:
        return False
    subject = _terms(sentence[: copula.start() + 1]) & told
    return sum(weights[term] for term in subject) >= SUBJECT_SHARE * sum(weights.values())


def _quotable(hit: Hit) -> list[tuple[int, int]]:
    """The sentences of a passage without list marks; headings, fences and bare markup left out.

    A sentence that ends in a colon takes along the list or the code that it announces.
    """
    text = hit.text
    headings = {_plain(heading) for heading in (hit.title, *hit.heading)}
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if spans and start < spans[-1][1]:
            continue  # taken along already
        mark = _LEADING_MARK.match(text, start, end)
        is_title = _NUMBERED_TITLE.match(text, start, end) and not _IS_SENTENCE.search(text[start:end])
        if is_title or _FENCE.match(text, start, end) or (mark and mark[0].startswith("#")):
            continue
        start = mark.end() if mark else start
        tail = _TRAILING_MARK.search(text, start, end)
        end = tail.start() if tail and tail.start() > start else end
        words = _plain(text[start:end])
        if len(words) > 1 and words not in headings:
            announced = _ANNOUNCED.match(text, end) if text[end - 1] in ":：" else None
            spans.append((start, announced.end() if announced else end))
    return spans


def _terms(text: str) -> set[str]:
    return {token.term for token in analyse(mask(text))}


def _plain(text: str) -> str:
    return "".join(char for char in mask(text).casefold() if char.isalnum())


def shown(text: str) -> str:
    """A quote for reading: breaks of the page's layout go, those of lists and code stay."""
    if "```" in text:
        return text

    def joined(found: re.Match[str]) -> str:
        before, after = (
            found.string[found.start() - 1 : found.start()],
            found.string[found.end() : found.end() + 1],
        )
        return "" if before and after and is_cjk(before) and is_cjk(after) else " "

    lines = re.split(rf"\n(?={_ITEM})", text.rstrip())
    return "\n".join(re.sub(r"[ \t]*\n\s*", joined, line) for line in lines)
