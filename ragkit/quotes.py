"""The answerer without a model: the best sentences of the retrieved passages, word for word.

It never invents: what it says is a slice of a document, with the number of its passage.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate

from ragkit.schema import Citation, Hit, Span
from ragkit.text import analyse, is_cjk, language, mask, sentences

MOST = 4  # sentences in an answer
# A further sentence must tell this much of the question's information that the first ones did not; or, while
# they leave as much as OPEN untold, score nearly as well as the best.
NEW_SHARE = 0.15
OPEN = 0.35
NEAR_BEST = 0.8
FAR_FROM_BEST = 0.5  # what scores lower is beside the point, whatever it adds
MOST_LOOSE = 2  # of them where the best one tells little of the question
WHOLE_CHARS = 800  # a longer table or list is not quoted whole: its row with the header above, its item alone
FEW_ROWS = 3  # below the header; fewer come whole
HEADING_WEIGHT = 0.5  # a question word in the heading speaks for the sentences below it, but less
HEADED_SHARE, HEADED_BONUS = 0.6, 0.4  # a section whose own heading is what was asked: 支持的模型
DEFINITION_BONUS = 0.5
SUBJECT_SHARE = 0.6
FIGURE_BONUS = 0.2
UNIT_BONUS = 0.2
TABLE_BONUS = 0.2  # it gives the figure for every case, a sentence for one
LANGUAGE_BONUS = 0.4  # where the documents say it in both, the question's own language
FRAGMENT_MALUS = 0.25  # a title or a table's header that no end of a sentence closes
RANK_BONUS = 0.15  # of the first passage; the others get a share of it

_LEADING_MARK = re.compile(r"(?:[-*+•·▪●]\s+|\d{1,3}(?:[.)]\s+|、\s*)|#{1,6}\s+|>\s*|\|\s*|\[[ xX]\]\s+)+")
_TRAILING_MARK = re.compile(r"\s*(?:\||#+)\s*$")
_NUMBERED_TITLE = re.compile(r"(?:[一二三四五六七八九十]{1,3}、|第[一二三四五六七八九十\d]{1,4}[章节条部篇])")
_NUMBERED_LINE = re.compile(r"\d{1,2}(?:\.\d{1,2}){0,2}[.、]?[ \t]*[^\W\d][^\n]{0,40}$", re.M)
_RUN_IN = re.compile(
    r"(?P<mark>\*\*|__|)(?P<code>`?)(?P<words>[^*_`\n.:：。]{1,80})(?P=code)[.:：。]?(?P=mark)[.:：。]?\s+"
)
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ITEM = r"\s*(?:[-*+•·▪●]|\d{1,3}[.)、])\s?[^\n]+"
_ANNOUNCED = re.compile(rf"\s*(?:```[^\n]*\n.*?```|(?:{_ITEM}(?:\n|\Z)){{1,12}})", re.S)
_LIST = re.compile(rf"(?:{_ITEM}(?:\n|\Z)){{2,30}}")
_ASKS_FOR_LIST = re.compile(
    r"哪些|哪几|几[种个条类项步]|列出|步骤|流程|怎么做|如何|\b(?:which|what are|list|steps?|kinds?|types?|ways?|how (?:do|can|to))\b",
    re.I,
)
_DEFINES = re.compile(
    r"是什么|什么是|什么叫|是谁|介绍|做什么的|干什么的|指什么|指的是|定义|含义|意思|\bwhat(?:'s| is| are)\b|\bwho(?:'s| is| are)\b|\bdefin",
    re.I,
)
_COPULA = re.compile(
    r"(?:^|[^不分因作成认以])(?:是|指|即|为)(?:一|指|由|专|用|把|将|对|在|\w)|\b(?:is|are|means|refers to)\b",
    re.I,
)
_ALSO_NAMED = re.compile(
    r"[^（(。.]{2,60}?[（(](?P<name>[^（）()]{2,80})[）)]\s*(?:是|指|即|(?:is|are|means|refers to)\b)", re.I
)
_IS_SENTENCE = re.compile(r"[。！？.!?…；;：:][”’」』）)】》\"'\]*`_]*\s*$|\n")
_COUNTS = re.compile(
    r"多少|几|多久|多长|多大|多高|什么时候|何时|哪一?年|日期|\bhow (?:many|much|long|old|often|far)\b|\bwhen\b",
    re.I,
)
_FIGURE = re.compile(r"\d|[一二两三四五六七八九十百千万]+[个天日月年元次人份小]")
# "How many days", "几天": a figure with this very unit answers it.
_ASKS_UNIT = re.compile(
    r"(?:几|多少)个?(?P<zh>[天日月年元次人份分小米公页种条位名岁周倍])|\bhow many (?:\w+ )??(?P<en>\w{3,})s\b",
    re.I,
)
_NUMERAL = r"(?:\d|[一二两三四五六七八九十百千万亿])\s*个?"
_TABLE_ROW = re.compile(r"[ \t]*\|.*|[^\n|]*\S[ \t]+\|[ \t]+.*")
# A table that lost its bars, as those of a PDF do: a header, and lines that end in a figure.
_FIGURE_ROW = re.compile(
    r"[ \t]*[^\W\d][^\n|。！？!?]{0,60}?[ \t]+(?:[A-Z]{3} ?|[$€£¥￥])?\d[\d.,]*(?: ?(?:%|\w{1,5}))?[ \t]*"
)
_BARE_HEADER = re.compile(r"[ \t]*[^\W\d][^\n|。！？.!?:：;；,，]{2,60}[ \t]*")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")

Around = Callable[[Hit], tuple[str, str]]
"""What stands in the document right before and after a passage, as much as may belong to its outer sentences."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A slice of a document: `text` is what stands from `start` to `end` in it. `header` is the header row of
    the table that it is a row of, where that stands further above."""

    number: int
    hit: Hit
    start: int
    end: int
    text: str
    header: str = ""
    under: str = ""  # the last heading above it in the passage

    @property
    def citation(self) -> Citation:
        hit = self.hit
        return Citation(
            self.number, hit.doc_id, hit.source, hit.page, hit.heading, self.start, self.end, self.text
        )


@dataclass(frozen=True, slots=True)
class _Scored:
    score: float
    told: frozenset[str]  # the question's terms that it tells
    quote: Quote
    whole: Quote  # with the list or table around it; the same when it stands alone


def select(
    question: str, hits: Sequence[Hit], weights: Mapping[str, float], around: Around | None = None
) -> list[Quote]:
    """Choose one to four sentences that tell most of what was asked, best first.

    `weights` maps the question's terms to their idf. Lists and tables come whole where they are short. With
    `around` a sentence that a passage cuts off is quoted to its end. Empty only when there is no sentence.
    """
    total = sum(weights.values()) or 1.0
    lists = _ASKS_FOR_LIST.search(question) is not None
    scored: list[_Scored] = []
    headed: dict[str, set[str]] = {}  # heading -> the question's terms in it
    for rank, hit in enumerate(hits):
        under = _terms(" ".join((hit.title, *hit.heading)))
        for at, (quote, whole) in enumerate(_quotable(rank + 1, hit, around, weights.keys(), lists=lists)):
            told = frozenset(_terms(f"{quote.header}\n{quote.text}") & weights.keys())
            share = sum(weights[term] for term in told) / total
            nearest = quote.under or (hit.heading[-1] if hit.heading else "")
            if nearest not in headed:  # many sentences stand under one heading
                headed[nearest] = _terms(nearest) & weights.keys()
            own = headed[nearest]
            above = sum(weights[term] for term in ((under & weights.keys()) | own) - told) / total
            score = share + HEADING_WEIGHT * above + RANK_BONUS * hit.score / (1 + rank) - 0.002 * at
            score += _bonus(question, quote, told, weights)
            if quote.header and whole is not quote and _COUNTS.search(question):
                score += TABLE_BONUS
            if sum(weights[term] for term in own) >= HEADED_SHARE * total:
                score += HEADED_BONUS
            scored.append(_Scored(score, told, quote, whole))
    scored.sort(key=lambda one: -one.score)
    return _spread(scored, weights)


def _spread(scored: Sequence[_Scored], weights: Mapping[str, float]) -> list[Quote]:
    """Take the best, then those that add to it; the same words from two documents count once."""
    # Of the whole that any sentence tells: a pair of characters across two words is told by none.
    total = sum(weights[term] for term in frozenset().union(*(one.told for one in scored))) or 1.0
    best = (
        sum(weights[term] for term in scored[0].told) / sum(weights.values()) if scored and weights else 0.0
    )
    most = MOST if best >= 0.35 else MOST_LOOSE
    chosen: list[Quote] = []
    told: set[str] = set()
    said: set[str] = set()
    for one in scored:
        quote = one.whole
        new = sum(weights[term] for term in one.told - told) / total
        left = 1 - sum(weights[term] for term in told) / total
        near = new >= NEW_SHARE or (left >= OPEN and one.score >= NEAR_BEST * scored[0].score)
        words = _plain(one.quote.text)
        if chosen and (words in said or not near or one.score < FAR_FROM_BEST * scored[0].score):
            continue
        if any(_overlap(quote, before) for before in chosen):
            told |= one.told
            continue
        chosen.append(quote)
        told |= one.told | (_terms(quote.text) & weights.keys())
        said.add(words)
        if len(chosen) == most:
            break
    return chosen


def _overlap(one: Quote, other: Quote) -> bool:
    return one.hit.doc_id == other.hit.doc_id and one.start < other.end and other.start < one.end


def _bonus(question: str, quote: Quote, told: frozenset[str], weights: Mapping[str, float]) -> float:
    sentence = quote.text
    bonus = LANGUAGE_BONUS if language(sentence) == language(question) else 0.0
    if not (quote.header or _IS_SENTENCE.search(sentence)):
        bonus -= FRAGMENT_MALUS
    if told and _DEFINES.search(question) and _defines(sentence, told, weights):
        bonus += DEFINITION_BONUS
    if _COUNTS.search(question) and _FIGURE.search(sentence):
        bonus += FIGURE_BONUS
    if (unit := _ASKS_UNIT.search(question)) and told:
        bonus += UNIT_BONUS * (
            re.search(_NUMERAL + re.escape(unit["zh"] or unit["en"]), sentence) is not None
        )
    return bonus


def _defines(sentence: str, told: frozenset[str], weights: Mapping[str, float]) -> bool:
    """Whether it says "X is ...": the copula right after what was asked for, most of which stands before it; or
    "Long name (X) is ..."."""
    if (named := _ALSO_NAMED.match(sentence)) and (inner := _terms(named["name"]) & told):
        return sum(weights[term] for term in inner) >= SUBJECT_SHARE * sum(weights.values())
    first = next((token for token in analyse(sentence) if token.term in told), None)
    copula = _COPULA.search(sentence, first.end, first.end + 24) if first and first.start <= 8 else None
    if copula is None:
        return False
    subject = _terms(sentence[: copula.start() + 1]) & told
    return sum(weights[term] for term in subject) >= SUBJECT_SHARE * sum(weights.values())


def _quotable(
    number: int, hit: Hit, around: Around | None, asked: Set[str], *, lists: bool
) -> list[tuple[Quote, Quote]]:
    """The sentences of a passage without list marks, each alone and with the table (with `lists`, the list) that
    it stands in; headings, fences and bare markup left out. `asked`: the question's terms.

    A sentence that ends in a colon takes along the list or the code that it announces.
    """
    before, after = around(hit) if around else ("", "")
    text = before + hit.text + after
    low, high = len(before), len(before) + len(hit.text)
    origin = hit.start - low
    headings = {_plain(heading) for heading in (hit.title, *hit.heading)}

    def quote(start: int, end: int, header: str = "") -> Quote:
        return Quote(number, hit, origin + start, origin + end, text[start:end], header, heading)

    found: list[tuple[Quote, Quote]] = []
    done = 0
    heading = ""
    tables = _tables(text)
    short = [one.span() for one in _LIST.finditer(text) if lists and len(one[0]) <= WHOLE_CHARS]
    for start, end in sentences(text):
        if end <= low or start >= high or start < done:
            continue  # of a neighbour, or taken along already
        table = next((one for one in tables if one[0] <= start < one[1]), None)
        if table is not None:
            done = table[1]
            rows = _rows(text, table, hit.lead if table[0] <= low else "", quote)
            found += rows if lists else _named(rows, asked)
            continue
        mark = _LEADING_MARK.match(text, start, end)
        is_title = _is_numbered_title(text, start, end)
        if is_title or (mark and mark[0].startswith("#")):
            heading = text[start:end]
            continue
        if _FENCE.match(text, start, end):
            continue
        start = _past_run_in(text, mark.end() if mark else start, end)
        tail = _TRAILING_MARK.search(text, start, end)
        end = tail.start() if tail and tail.start() > start else end
        words = _plain(text[start:end])
        if len(words) > 1 and words not in headings:
            announced = _ANNOUNCED.match(text, end) if text[end - 1] in ":：" else None
            done = announced.end() if announced and announced.end() - end <= WHOLE_CHARS else end
            one = quote(start, done)
            items = next((span for span in short if mark and span[0] <= start < span[1]), None)
            found.append((one, quote(*_trimmed(text, items)) if items else one))
    return found


def _is_numbered_title(text: str, start: int, end: int) -> bool:
    """A line such as "第二章 休假", or "3. Hotels" where it is no item among others."""
    if _IS_SENTENCE.search(text[start:end]):
        return False
    if _NUMBERED_TITLE.match(text, start, end):
        return True
    below = text[end : end + 80].lstrip("\n")
    is_one = _NUMBERED_LINE.match(text, start, end) is not None and bool(below)
    above = text[:start].rstrip().rpartition("\n")[2]
    return is_one and not (_NUMBERED_LINE.match(below) or _NUMBERED_LINE.match(above))


def _past_run_in(text: str, start: int, end: int) -> int:
    """Past a heading on the sentence's own line, where the sentence begins with its words: "**Foo.** Foo is ..."."""
    label = _RUN_IN.match(text, start, end)
    if label is None:
        return start
    again = re.compile(rf"[*_`]*{re.escape(label['words'])}(?![A-Za-z0-9])", re.I)
    return label.end() if again.match(text, label.end(), end) else start


def _trimmed(text: str, span: Span) -> Span:
    inner = text[slice(*span)]
    return span[0] + len(inner) - len(inner.lstrip("\n")), span[1] - len(inner) + len(inner.rstrip())


def _tables(text: str) -> list[Span]:
    """Two rows or more, one below the other."""
    spans = _bare_tables(text)
    at = start = 0
    rows = 0
    for line in [*text.split("\n"), ""]:
        if _TABLE_ROW.fullmatch(line):
            start = at if not rows else start
            rows += 1
        else:
            if rows > 1:
                spans.append((start, at - 1))
            rows = 0
        at += len(line) + 1
    return spans


def _bare_tables(text: str) -> list[Span]:
    spans: list[Span] = []
    lines = [*text.split("\n"), ""]
    ends = list(accumulate(len(line) + 1 for line in lines))
    first = 0  # of the lines that end in a figure
    for at, line in enumerate(lines):
        if _FIGURE_ROW.fullmatch(line):
            continue
        if at - first >= 2 and first and _BARE_HEADER.fullmatch(lines[first - 1]):
            spans.append((ends[first - 1] - len(lines[first - 1]) - 1, ends[at - 1] - 1))
        first = at + 1
    return spans


def _is_bare_table(lines: Sequence[str]) -> bool:
    is_headed = len(lines) > 2 and _BARE_HEADER.fullmatch(lines[0]) is not None
    return is_headed and all(map(_FIGURE_ROW.fullmatch, lines[1:]))


def _rows(
    text: str, table: Span, lead: str, quote: Callable[[int, int, str], Quote]
) -> list[tuple[Quote, Quote]]:
    """The rows of a table below its header, each with the whole table where that is short enough."""
    lines: list[Span] = []
    at = table[0]
    for line in text[table[0] : table[1]].split("\n"):
        if not _TABLE_RULE.fullmatch(line):
            lines.append((at, at + len(line)))
        at += len(line) + 1
    if not lines:
        return []
    header = lead.strip() or text[slice(*lines[0])].strip()
    below = lines if lead.strip() else lines[1:] or lines
    is_short = table[1] - table[0] <= WHOLE_CHARS and not lead.strip()
    whole = quote(*table, "")
    return [(row := quote(start, end, header), whole if is_short else row) for start, end in below]


def _named(rows: list[tuple[Quote, Quote]], asked: Set[str]) -> list[tuple[Quote, Quote]]:
    """Where the question names one row of a table (Bob's), that row stands for itself; a table of two rows is
    hardly longer than one of them."""
    told = [_terms(row.text) & asked for row, _ in rows]
    naming = Counter(term for one in told for term in one)
    named = [at for at, one in enumerate(told) if any(naming[term] == 1 for term in one)]
    if len(rows) < FEW_ROWS or len(named) != 1:
        return rows
    return [(row, row if at == named[0] else whole) for at, (row, whole) in enumerate(rows)]


def _terms(text: str) -> set[str]:
    return {token.term for token in analyse(mask(text))}


def _plain(text: str) -> str:
    return "".join(char for char in mask(text).casefold() if char.isalnum())


def shown(quote: Quote) -> str:
    """A quote for reading: breaks of the page's layout go, those of lists, tables and code stay."""
    text = quote.text
    if "```" in text:
        return text
    lines = text.strip("\n").split("\n")
    if _is_bare_table(lines):
        return "\n".join(line.strip() for line in lines)
    if quote.header or (len(lines) > 1 and all(_TABLE_ROW.fullmatch(line) for line in lines)):
        rows = [_cells(line) for line in [quote.header, *lines] if line and not _TABLE_RULE.fullmatch(line)]
        rule = "|".join(["---"] * (rows[0].count("|") + 1))
        return (
            "\n".join(f"| {row} |" for row in rows[:1])
            + f"\n|{rule}|\n"
            + "\n".join(f"| {row} |" for row in rows[1:])
        )

    def joined(found: re.Match[str]) -> str:
        before, after = (
            found.string[found.start() - 1 : found.start()],
            found.string[found.end() : found.end() + 1],
        )
        return "" if before and after and is_cjk(before) and is_cjk(after) else " "

    items = re.split(rf"\n(?={_ITEM})", text.rstrip())
    return "\n".join(re.sub(r"[ \t]*\n\s*", joined, item) for item in items)


def _cells(line: str) -> str:
    """A row without its outer bars."""
    return line.strip().removeprefix("|").removesuffix("|").strip()
