"""The analyser and the sentence splitter: pure functions over strings, Chinese and English.

`analyse` turns text into index or query terms that carry their place in the original; `mask` hides
what is markup, not language; `sentences` finds whole sentences. Nothing here knows of documents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from operator import add
from typing import NamedTuple

from ragkit.schema import Language

ANALYSER_VERSION = 2
"""Raise it when `analyse` or `mask` changes: libraries then re-index their tokens by themselves."""


class Token(NamedTuple):
    """A term with the half-open span of the original text that it stands for."""

    term: str
    start: int
    end: int


# Han with its extensions and compatibility forms, kana, hangul, bopomofo: scripts written without
# spaces (or, like hangul, served well by bigrams).
_CJK = "\u3005\u3007\u3040-\u312f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_IS_CJK = re.compile(f"[{_CJK}]")
_CJK_RUN, _OTHER_RUN = re.compile(f"[{_CJK}]+"), re.compile(f"[^\\W_{_CJK}]+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = f"[^\\W_{_CJK}]+"
# Words, also joined as in load_in_4bit, gpt-4o, 3.14.2, a.py; C++ and C#.
_RUN = re.compile(
    rf"(?P<cjk>[{_CJK}]+)|(?P<word>{_WORD})(?P<more>(?:[-_.]{_WORD})+|\+\+|\#(?!\w))?"
    r"(?:['’](?:s|t|re|ll|ve|d|m)\b)?"
)
_PART = re.compile(_WORD)
_SIGNS = {"c++": "cplusplus", "c#": "csharp", "f#": "fsharp"}
# HybridRetriever: words of two letters or more each, the first small or large.
_HUMPS = re.compile(r"(?:[A-Z]+(?![a-z])|[A-Z]?[a-z]+)+")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_HAS_HUMPS = re.compile(r"[a-z][A-Z]|[A-Z][A-Z][a-z]")
_NUMBER = re.compile(r"\d+[-_.]\d+")  # 2.3: of a heading more often than of a version
_COMBINING = re.compile("[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u3099\u309a\ufe20-\ufe2f]")

_STOP_WORDS = frozenset(
    "a about an and any are as at be been but by can could did do does for from had has have how i if in into "
    "is it its me my of on or our please shall should so some such tell than that the their them then there "
    "these they this those to was we were what when where which who whom whose why will with would you "
    "your".split()
)

# Between two words of another script they stand alone, and only join: XTuner 和 InternLM2.
_JOINING = frozenset("的了和与及或在是有为对把被从到跟同而以之")

# Words that ask and do not say about what. Longest first, so that 是什么 goes whole. Measured on
# cmrc2018: R@1 96.1 -> 97.3 when they are left out of the query.
_ASKING = re.compile(
    "请问一下|请问|请告诉我|告诉我|请介绍一下|请介绍|介绍一下|请解释一下|解释一下|说一下|讲一下|说说|讲讲|我想知道|"
    "能不能|可不可以|是不是|有没有|能否|可否|"
    "是什么时候|什么时候|是什么样的|什么样的|是什么意思|是做什么的|是干什么的|指的是什么|是指什么|是什么|什么叫|什么是|"
    "为什么|什么|是谁|谁|有哪些|是哪些|哪些|是哪|哪一个|哪个|哪里|哪儿|哪种|哪|"
    "如何|怎么样|怎么办|怎么|怎样|是否|为何|何时|何地|何处|有何|"
    "有多少|多少|多久|多长|多大|多高|多远|有几[天个种次年月条项位]|几时|几个|几天|吗|呢|吧|啊"
    r"|\bhow (?:many|much|long|soon|often|far|late|early)\b"
    r"|\b(?:must|may|might|need to|have to|want to)(?= (?:i|we|you|one)\b)"
    r"|(?<=\bi )(?:must|may|might|need to|have to|want to)\b"
)


def is_cjk(char: str) -> bool:
    """Tell whether one character belongs to a script that is indexed by bigrams."""
    return _IS_CJK.match(char) is not None


def language(text: str) -> Language:
    """The language to answer in: "zh" as soon as one Chinese character is there."""
    return "zh" if _HAN.search(text) else "en"


def cjk_share(text: str) -> float:
    """The share of the text's letters and digits that are CJK characters."""
    cjk = 0 if text.isascii() else sum(map(len, _CJK_RUN.findall(text)))
    return cjk / (cjk + sum(map(len, _OTHER_RUN.findall(text)))) if cjk else 0.0


@lru_cache(maxsize=1)
def _simplified() -> dict[int, str]:
    """Traditional to simplified, one character to one, so that offsets hold.

    Both sides of a search go through it, so words that OpenCC would treat as phrases still meet.
    """
    import opencc

    ranges = ((0x3400, 0xA000), (0xF900, 0xFB00))
    chars = [chr(point) for low, high in ranges for point in range(low, high)]
    turned = opencc.OpenCC("t2s").convert("\n".join(chars)).split("\n")
    return {ord(old): new for old, new in zip(chars, turned, strict=True) if old != new and len(new) == 1}


@lru_cache(maxsize=1 << 16)
def _fold_cluster(cluster: str) -> str:
    """NFKC, casefold, simplified. NFKC again, because casefold may leave its form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", cluster).casefold())
    return folded.translate(_simplified())


def _fold(text: str) -> tuple[str, list[int] | None]:
    """Fold `text`; with the place in `text` of every folded character, or None where they are the same."""
    if text.isascii():
        return text.lower(), None
    if not _COMBINING.search(text):
        parts: dict[int, str] = {ord(char): _fold_cluster(char) for char in set(text)}
        if all(len(part) == 1 for part in parts.values()):
            return text.translate(parts), None
        clusters: list[str] = list(text)
    else:
        clusters = re.findall(f"(?s).(?:{_COMBINING.pattern})*", text)
    folded = [_fold_cluster(cluster) for cluster in clusters]
    places: list[int] = []
    at = 0
    for cluster, part in zip(clusters, folded, strict=True):
        places += [at] * len(part)
        at += len(cluster)
    return "".join(folded), [*places, at]


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return word if not word.isascii() or not word.isalpha() else str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer():  # type: ignore[no-untyped-def]  # the library has no types
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def analyse(text: str, *, query: bool = False) -> list[Token]:
    """Turn text into terms: CJK bigrams and single characters, stemmed English words, the rest as is.

    For a query single CJK characters count only where they stand alone (23 times faster on 100,000
    chunks, at the same quality), and the words that only ask are left out while something remains.
    """
    folded, places = _fold(text)
    if query:
        return content_terms(text) or list(_terms(folded, text, places, single=False, stop_words=frozenset()))
    return list(_terms(folded, text, places, single=True))


def content_terms(text: str) -> list[Token]:
    """The terms of a question without the words that only ask; none where it consists of such words."""
    folded, places = _fold(text)
    content = _ASKING.sub(lambda found: " " * len(found[0]), folded)
    return list(_terms(content, text, places, single=False))


def index_terms(text: str) -> list[str]:
    """The terms of `analyse(text)` without their places, in a third of its time: what is stored."""
    folded, places = _fold(text)
    has_humps = _HAS_HUMPS.search(text) is not None
    terms: list[str] = []
    for run in _RUN.finditer(folded):
        kind = run.lastgroup
        if kind == "cjk":
            chars = run[0]
            pairs = [""] * (2 * len(chars) - 1)  # each character, then it with the next one
            pairs[::2] = chars
            pairs[1::2] = map(add, chars, chars[1:])
            terms += pairs
            continue
        if kind == "word":  # the usual way, by hand
            word = run["word"]
            is_stop_word = word in _STOP_WORDS
            if not has_humps and not is_stop_word:
                terms.append(_stem(word))
                continue
            low, high = run.span("word") if places is None else _span(places, *run.span("word"))
            written = text[low:high]
            if is_stop_word:
                terms += [_stem(word)] * _is_acronym(written)
                continue
            if written[1:] == word[1:]:
                terms.append(_stem(word))
                continue
        if places is None:
            terms += _terms_of(text[run.start() : run.end()])
        else:
            terms += [token.term for token in _words(run, text, places, _STOP_WORDS)]
    return terms


@lru_cache(maxsize=1 << 16)
def _terms_of(written: str) -> tuple[str, ...]:
    """The terms of one match of _RUN in text that folding left as long as it was: identifiers come again and again."""
    found = _RUN.match("".join(map(_fold_cluster, written)))
    return tuple(token.term for token in _words(found, written, None, _STOP_WORDS)) if found else ()


def _terms(
    folded: str,
    original: str,
    places: list[int] | None,
    *,
    single: bool,
    stop_words: frozenset[str] = _STOP_WORDS,
) -> Iterator[Token]:
    for run in _RUN.finditer(folded):
        if run["cjk"] is None:
            yield from _words(run, original, places, stop_words)
            continue
        start, end = run.span()
        if not single and stop_words and run[0] in _JOINING:
            continue
        for at in range(start, end):
            if single or end - start == 1:
                yield Token(folded[at], *_span(places, at, at + 1))
            if at + 1 < end:
                yield Token(folded[at : at + 2], *_span(places, at, at + 2))


def _words(
    run: re.Match[str], original: str, places: list[int] | None, stop_words: frozenset[str]
) -> Iterator[Token]:
    """The terms of a word, or of several that are joined: whole, then each part, then the humps of each part."""
    if sign := _SIGNS.get(run[0]):
        yield Token(sign, *_span(places, *run.span()))
        return
    start, end = run.start(), run.end(run.lastgroup or 0)
    parts = (
        [run.span("word")]
        if run["more"] is None
        else [part.span() for part in _PART.finditer(run.string, start, end)]
    )
    if len(parts) > 1 and not _NUMBER.fullmatch(run.string, start, end):
        # Whole without what joins it, so that gpt-4o and GPT4o meet; between digits a mark that stays.
        whole = re.sub(r"(?<=\d)[-_.](?=\d)", "p", run.string[start:end])
        yield Token(re.sub(r"[-_.]", "", whole), *_span(places, start, end))
    for first, last in parts:
        word = run.string[first:last]
        low, high = _span(places, first, last)
        written = original[low:high]
        # "IT" in capitals is a department, "it" is not.
        if word not in stop_words or _is_acronym(written):
            yield Token(_stem(word), low, high)
        if not (written.islower() or written[1:].islower()):
            for term, begin, stop in _humps(written):
                if term not in stop_words:
                    yield Token(term, low + begin, low + stop)


@lru_cache(maxsize=1 << 16)
def _humps(written: str) -> tuple[tuple[str, int, int], ...]:
    """HybridRetriever -> hybrid, retriev; XTuner and iPhone are one word each."""
    found = _HUMPS.match(written) if written.isascii() and not written.islower() else None
    if found is None:
        return ()
    humps = list(_HUMP.finditer(written, 0, found.end()))
    if len(humps) < 2 or any(len(hump[0]) < 2 for hump in humps):
        return ()
    return tuple((_stem(hump[0].lower()), *hump.span()) for hump in humps)


def _span(places: list[int] | None, start: int, end: int) -> tuple[int, int]:
    """Where a stretch of folded text stands in the original."""
    if places is None:
        return start, end
    # An expanded character ("㎏" -> "kg") keeps its whole place: the end is where the next one begins.
    stop = places[end]
    return places[start], stop if stop > places[start] else _next_place(places, end)


def _next_place(places: list[int], at: int) -> int:
    return next((place for place in places[at:] if place > places[at - 1]), places[-1])


def _is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper()


# ── Markup ──────────────────────────────────────────────────────────────────────────────────────────

_URL_TAIL = r"[^\s<>()\[\]\"'，。；、）】》」”]+"
_MARKUP = re.compile(
    rf"""(?P<gone> <!--.*?(?:-->|\Z)                                  # HTML comment
        | </?[a-zA-Z][^<>]*> | &(?:nbsp|emsp|ensp|zwj|\#\d+);        # tag, blank entity
        | \[!\[[^\]]*\]\([^)\s]*\)\]\([^)\s]*\)                      # a badge that links
        | !\[[^\]]*\]\([^)]*\)                                      # image
        | ^[ ]{{0,3}}\[[^\]]+\]:[ ]+\S+[^\n]*$                       # link definition
        | (?:https?|ftp)://{_URL_TAIL} | \bwww\.{_URL_TAIL}          # bare address
        | ^[ \t]*(?:\#{{1,6}}[ ]+|>[ ]?|[-*+][ ]+(?:\[[ xX]\][ ])?)  # heading, quotation, bullet
        | ^[ \t]*(?:```+|~~~+)[^\n]*$ | ^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$  # rule below a table's header
        | [*`~]+ | (?<!\w)_+ | _+(?!\w) | \|                          # emphasis, code marks, cells
    )|(?P<open>\[(?=[^\[\]]*\]\([^)\s]*\)))|(?P<close>\]\([^)\s]*\))""",  # [label](address): label stays
    re.S | re.M | re.X,
)


def mask(text: str) -> str:
    """Replace markup and addresses by spaces, so that the length, and with it every offset, stays."""
    return _MARKUP.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


# ── Sentences ───────────────────────────────────────────────────────────────────────────────────────

_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|[Ee]\.g|[Ii]\.e|cf|al|Fig|No|Vol|pp|approx|Inc|Ltd|Co)|\b[A-Z]|^\s*\d+)\.$"
)
# What is read as one: a quotation, what stands in brackets. Longer ones are cut like any text.
_KEPT_WHOLE = re.compile(
    r"“[^“”\n]{1,300}”|「[^「」\n]{1,300}」|『[^『』\n]{1,300}』|《[^《》\n]{1,100}》|（[^（）\n]{1,300}）"
    r"|(?<![\w\"])\"[^\"\n]{1,300}\"(?!\w)|\([^()\n]{1,300}\)|\b(?:https?|ftp)://[^\s<>，。；、）】》」”]+(?<![.?!,;:])"
)
_GOES_ON = re.compile(r"\s*[a-z]")  # after a quotation that is a part of a sentence
_CLOSERS = "”’」』）)】》\"'］"
_SENTENCE_END = re.compile(
    rf"[。！？]+[{_CLOSERS}]*|[!?]+[{_CLOSERS}]*(?=\s|[{_CJK}]|$)|\.+[{_CLOSERS}]*(?=\s|$)|\.(?=[{_CJK}])"
)
_OWN_LINE = re.compile(
    r"\s*(?:[-*+•·▪●]\s|\d{1,3}[.)、]|[（(]?[一二三四五六七八九十]{1,3}[)）、]|#{1,6}\s|>|\||```|~~~)"
)
# A line this wide, in columns (a CJK character takes two), may go on in the next one; a narrower one
# is a line of its own: an address, a verse, a table row that lost its bars.
_WRAP_COLUMNS = 44


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Find the sentences of `text[start:end]`: spans in `text`, trimmed, never across a blank line."""
    spans = []
    for low, high in _stretches(text, start, len(text) if end is None else end):
        at = low
        wholes = _KEPT_WHOLE.finditer(text, low, high)
        whole = next(wholes, None)
        for found in _SENTENCE_END.finditer(text, low, high):
            stop = found.end()
            while whole is not None and whole.end() <= found.start():
                whole = next(wholes, None)
            inside = whole is not None and whole.start() < found.start() and whole
            if inside and (stop < inside.end() or _GOES_ON.match(text, stop, high)):
                continue
            if text[found.start()] == "." and _ABBREVIATION.search(text[max(at, stop - 12) : stop]):
                continue
            spans.append((at, stop))
            at = stop
        spans.append((at, high))
    return [span for span in (_trim(text, low, high) for low, high in spans) if span[0] < span[1]]


def _stretches(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Lines, joined where one was only wrapped."""
    low = at = start
    while at < end:
        found = text.find("\n", at, end)
        stop = end if found < 0 else found
        line, after = text[at:stop], text[stop + 1 : min(end, stop + 40)]
        wrapped = (
            found >= 0
            and _columns(line) >= _WRAP_COLUMNS
            and bool(after.split("\n", 1)[0].strip())
            and not _OWN_LINE.match(after)
            and not line.lstrip().startswith(("|", "#"))
        )
        at = stop + 1
        if not wrapped:
            yield low, stop
            low = at
    if low < end:
        yield low, end


def _columns(line: str) -> int:
    return len(line) + len(_IS_CJK.findall(line))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
