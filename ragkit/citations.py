"""Numbers in a stream of text: [1], 【1】, ［1］, [1,2], (来源1) -> [1]; and the words behind each number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragkit.schema import Citation, Hit
from ragkit.text import analyse, mask, sentences

_NUMBERS = r"\d{1,2}(?:\s*[,，、;；和&-]\s*\d{1,2})*"
_WORD = r"(?:来源|资料|片段|引用|文档|出处|[Ss]ources?|[Pp]assages?)"
_MARKER = re.compile(
    rf"[\[【［](?:{_WORD}\s*[:：]?\s*)?(?P<a>{_NUMBERS})[\]】］]"  # [1] 【1】 ［1,2］ [来源1]
    rf"|[(（]{_WORD}\s*[:：]?\s*(?P<b>{_NUMBERS})[)）]"  # (来源1) (source 1)
)
# The beginning of something that may become a marker when more text comes.
_PARTIAL = re.compile(rf"[\[【［(（](?:{_WORD}|[\d\s,，、;；和&:：-]|[来资片引文出SsPp]\w{{0,7}})*$")
_LONGEST_MARKER = 40
NEARLY_A_COPY = 0.7


class MarkerStream:
    """Reads an answer as it comes, however it is cut, and gives it out with clean markers."""

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece; give back the text that is certain by now."""
        text = self._held + piece
        partial = _PARTIAL.search(text)
        cut = partial.start() if partial and len(text) - partial.start() < _LONGEST_MARKER else len(text)
        self._held = text[cut:]
        return clean(text[:cut], self._passages)

    def finish(self) -> str:
        """The rest, once the answer has ended."""
        rest, self._held = self._held, ""
        return clean(rest, self._passages)


def clean(text: str, passages: int) -> str:
    """Write every marker as [n], one number each; numbers that name no passage are dropped."""
    return _MARKER.sub(lambda found: "".join(f"[{n}]" for n in _numbers(found) if 1 <= n <= passages), text)


def _numbers(found: re.Match[str]) -> list[int]:
    digits = found["a"] or found["b"]
    numbers: list[int] = []
    for part in re.split(r"\s*[,，、;；和&]\s*", digits):
        first, _, last = part.partition("-")
        numbers += range(int(first), min(int(last or first), int(first) + 9) + 1)
    return list(dict.fromkeys(numbers))


def place(answer: str, hits: Sequence[Hit]) -> list[Citation]:
    """Find for each [n] of a finished answer the sentence of passage n that its own sentence rests on.

    A sentence that names no number is looked up in all passages, and cited only where it is nearly a copy.
    """
    found: dict[tuple[int, int], Citation] = {}
    for start, end in sentences(answer):
        numbers = [int(n) for n in re.findall(r"\[(\d{1,2})\]", answer[start:end])]
        claim = {token.term for token in analyse(mask(re.sub(r"\[\d{1,2}\]", " ", answer[start:end])))}
        supports = {n: _support(claim, hits[n - 1].text) for n in numbers if 1 <= n <= len(hits)}
        if not numbers and hits:
            number, support = max(
                ((n, _support(claim, hit.text)) for n, hit in enumerate(hits, 1)), key=lambda item: item[1][2]
            )
            supports = {number: support} if support[2] >= NEARLY_A_COPY else {}
        for number, (low, high, _) in supports.items():
            found.setdefault((number, low), _citation(number, hits[number - 1], low, high))
    return list(found.values())


def _support(claim: set[str], passage: str) -> tuple[int, int, float]:
    """The span of the sentence that shares most with the claim, and how much: F1, against both lengths."""
    best, best_score = (0, len(passage)), 0.0
    for start, end in sentences(passage):
        terms = {token.term for token in analyse(mask(passage[start:end]))}
        score = 2 * len(terms & claim) / (len(terms) + len(claim)) if terms else 0.0
        if score > best_score:
            best, best_score = (start, end), score
    return (*best, best_score)


def _citation(number: int, hit: Hit, start: int, end: int) -> Citation:
    return Citation(
        number,
        hit.doc_id,
        hit.source,
        hit.page,
        hit.heading,
        hit.start + start,
        hit.start + end,
        hit.text[start:end],
    )
