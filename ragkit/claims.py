"""What a sentence says that can be checked: its terms, its figures, what it denies; and whether it says anything."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from ragkit.text import Token, analyse, is_cjk, mask

_DIGIT = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_SCALE = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}
_WORDS = dict(
    zip(
        "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty".split(),
        (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 30, 40, 50),
        strict=True,
    )
)
_ARABIC = re.compile(r"\d+(?:[,，]\d{3})*(?:\.\d+)*")
_CHINESE = re.compile("[零〇一二两三四五六七八九十百千万亿]+")
_UNIT = re.compile("[年月日号天周岁元次倍层楼点分秒名人条项章页个种位家台级%％度米公斤千小](?!般|样|起)")
_VAGUE = frozenset("一十百千万亿")  # 一个, 千万: often no figure at all
_ENGLISH = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.I)

_LINKING = frozenset("的了是为在有和与及或也都就而之其将被把对于以中者由这那个们")

_DENIED = re.compile(
    r"(?:不(?![仅但断同过久少止管论料妨])|没有?|未(?!来)|无(?![论线])|勿|禁止|严禁)(?P<zh>\w{1,2})"
    r"|\b(?:not|never|no|cannot|without|(?:do|does|did|is|are|was|were|ca|wo|should|must)n['’]t)\s+(?P<en>\w+)",
    re.I,
)

_EMPTY = re.compile(
    r"你好|您好|好的|当然|谢谢|不客气|总之|综上(?:所述)?|总的来说|因此|所以|此外|另外|还有|首先|其次|最后|"
    r"具体如下|如下|以下|根据(?:以上|所给|提供的|给出的)?(?:资料|文档|来源|内容)|资料(?:显示|中)?|希望(?:这|以上)?(?:对你|对您)?有?所?帮助|"
    r"\b(?:hello|hi|sure|of course|certainly|yes|no|thanks?|in (?:summary|short|conclusion)|to sum up|therefore|"
    r"however|moreover|in addition|additionally|finally|first|next|overall|based on|according to|"
    r"(?:the )?(?:provided |given )?(?:sources?|documents?|passages?|text|context)|here (?:is|are)|as follows|answer)\b",
    re.I,
)
_POLITE = re.compile(
    r"如(?:果|有).{0,12}(?:问题|疑问|需要)|请(?:随时)?(?:告诉|联系|提问)|有什么.{0,6}帮|希望.{0,10}帮助|"
    r"\b(?:let me know|feel free|if you have|I hope|happy to help|is there anything)\b",
    re.I,
)
_NOT_FOUND = re.compile(
    r"(?:资料|文档|来源|文中|上下文|原文|以上内容)[^。，,]{0,8}(?:没有|并?未|无法|找不到|不包含)[^。]{0,24}$|"
    r"^(?:抱歉|对不起|很遗憾|我)[^。]{0,12}(?:没有|无法|不知道|不能|未)[^。]{0,24}$|"
    r"\b(?:sources?|documents?|passages?|text|context)\b[^.]{0,24}\b(?:do(?:es)?(?: not|n['’]t)|did(?: not|n['’]t)|no)\b[^.]{0,60}$|"
    r"\bI (?:do not|don['’]t|cannot|can['’]t|could not|couldn['’]t)\b[^.]{0,60}$",
    re.I,
)
_FRAME = re.compile(r"[\s\d.。!！*_>#|)）」”\"'-]*\Z")


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence as it can be compared: term -> weight, the figures it names, the terms it denies."""

    tokens: tuple[Token, ...]
    weights: dict[str, float]
    terms: frozenset[str]
    figures: frozenset[str]
    every_figure: frozenset[str]
    denied: frozenset[str]
    affirmed: frozenset[str]


def read(text: str) -> Claim:
    """Take a sentence apart. Offsets of the tokens count in `text`."""
    masked = mask(text)
    tokens = tuple(analyse(masked))
    weights = {term: weight for term in dict.fromkeys(t.term for t in tokens) if (weight := _weight(term))}
    if not weights:  # one lone character
        weights = {t.term: 1.0 for t in tokens}
    strict, every = _figures(masked)
    denied: set[str] = set()
    rest = list(masked)
    for found in _DENIED.finditer(masked):
        denied |= {token.term for token in analyse(found["zh"] or found["en"])}
        rest[found.start() : found.end()] = " " * len(found[0])
    affirmed = frozenset(token.term for token in analyse("".join(rest))) if denied else frozenset(weights)
    return Claim(
        tokens, weights, frozenset(t.term for t in tokens), strict, every, frozenset(denied), affirmed
    )


@lru_cache(maxsize=1 << 16)
def _weight(term: str) -> float:
    """How much a shared term tells: figures are compared apart, single characters meet by chance."""
    if term.isdigit() or any(char in _DIGIT or char in _SCALE for char in term):
        return 0.0
    if not is_cjk(term[0]):
        return 2.0 if len(term) > 1 else 0.5
    if len(term) == 1:
        return 0.0
    return 0.25 if any(char in _LINKING for char in term) else 1.0


def shared(claim: Claim, terms: AbstractSet[str]) -> float:
    """The weight of a claim's terms that are among `terms`; half of it for a pair of characters that stand
    apart there, as where the order of the words is another one."""
    total = 0.0
    for term, weight in claim.weights.items():
        if term in terms:
            total += weight
        elif len(term) == 2 and term[0] in terms and term[1] in terms:
            total += weight / 2
    return total


def _figures(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The figures that a claim must answer for, and all that a source may mean by its numerals."""
    strict: set[str] = set()
    every: set[str] = set()
    for found in _ARABIC.finditer(text):
        plain = re.sub("[,，]", "", found[0])
        scale = _SCALE.get(text[found.end() : found.end() + 1], 1)
        value = _plain(plain, scale)
        strict.add(value)
        every |= {value, _plain(plain, 1)}
    for found in _CHINESE.finditer(text):
        value = str(_chinese(found[0]))
        every.add(value)
        unit = _UNIT.match(text, found.end())
        if unit and not (found[0] in _VAGUE and unit[0] not in "年月日天周岁元小"):
            strict.add(value)
    for found in _ENGLISH.finditer(text):
        value = str(_WORDS[found[0].lower()])
        strict.add(value)
        every.add(value)
    if re.search(r"\bone\b", text, re.I):
        every.add("1")
    return frozenset(strict), frozenset(every)


def _plain(digits: str, scale: int) -> str:
    if digits.count(".") > 1:
        return digits
    value = float(digits) * scale
    return str(int(value)) if value.is_integer() else f"{value:.6g}"


def _chinese(numeral: str) -> int:
    """二十五 -> 25, 一万二千 -> 12000, 二〇二四 -> 2024."""
    if not any(char in _SCALE for char in numeral):
        return int("".join(str(_DIGIT[char]) for char in numeral))
    total = section = digit = 0
    for char in numeral:
        if char in _DIGIT:
            digit = _DIGIT[char]
        elif _SCALE[char] < 10_000:
            section += (digit or 1) * _SCALE[char]
            digit = 0
        else:
            total = (total + (section + digit or 1)) * _SCALE[char]
            section = digit = 0
    return total + section + digit


def contradicts(claim: Claim, source: Claim) -> bool:
    """Whether one of the two denies what the other only affirms."""
    return any(
        term in other.affirmed and term not in other.denied and term not in one.affirmed and _weight(term)
        for one, other in ((claim, source), (source, claim))
        for term in one.denied
    )


def says_nothing(text: str) -> bool:
    """Whether a sentence of an answer makes no statement about the documents: a greeting, a connection, the
    lead of a list, a title, a question back, or that nothing was found."""
    bare = text.strip().strip("*_ ")
    if not bare or bare[-1] in ":：?？" or bare.startswith("#"):
        return True
    if _POLITE.search(bare) or _NOT_FOUND.search(bare.rstrip("。.!！”\"' ")):
        return True
    if _FRAME.match(_EMPTY.sub(" ", bare).strip(" ,，、;；")):
        return True
    is_title = re.fullmatch(r"(?:[-*+]\s+|\d+[.)、]\s*)?\*\*[^*]+\*\*", text.strip()) is not None
    return is_title and bare.rstrip("*")[-1:] not in tuple("。.!！")
