"""Numbers in an answer: [1], 【1】, ［1, 2］, [来源1], (source 1), ([1]) ... all become [1].

Knows how models write them, in a text that still comes; not what stands behind them.
"""

from __future__ import annotations

import re

MARKER = re.compile(r"\[(\d{1,2})\]")
"""A number as `clean` leaves it."""

_WORDS = (
    "来源 资料 片段 引用 文档 文献 出处 编号 参考 "
    "source sources passage passages ref citation cite document doc Source Sources Passage Passages Ref "
    "Citation Document Doc"
).split()
_DIGITS = r"\d{1,2}"
_WORD = rf"(?:(?:{'|'.join(_WORDS)})[ .]?[:：]? ?)"
_NAMED = rf"{_WORD}?{_DIGITS}"
_JOIN = r" ?[,，、;；和&~～–—-] ?"
_BRACKETED = rf"[\[【［〔]\^? ?{_NAMED}(?:{_JOIN}{_NAMED}){{0,9}} ?[\]】］〕]"
_SAID = rf"[(（]{_WORD}{_DIGITS}(?:{_JOIN}{_NAMED}){{0,9}}[)）]"  # (来源1); a bare (1) is an item of a list
_WRAPPED = rf"[(（](?:参?见|see )? ?{_BRACKETED}(?:[,，、;； ]{{0,2}}{_BRACKETED}){{0,9}} ?[)）]"
_ONE = rf"(?:{_WRAPPED}|{_BRACKETED}|{_SAID})"
# x[1], my_list[1]: an index, not a number. "QLoRA[1]" is none, so a name alone does not tell.
_BEFORE_INDEX = re.compile(r"(?:\b[a-z]|[A-Za-z0-9]*_\w*)\Z", re.A)
_CODE = r"(?P<code>(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`))"
_PIECE = re.compile(rf"{_CODE}|(?P<lead>[ \t]*)(?P<marks>{_ONE}(?:[ \t]*{_ONE})*)(?P<trail>[ \t]*)")
_EACH = re.compile(rf"(?P<lead>[ \t]*)(?P<mark>{_ONE})")
_NUMBER = re.compile(rf"({_DIGITS})(?: ?[~～–—-] ?{_WORD}?({_DIGITS}))?")

# ── What may still become a marker when more comes ──

_PART = "|".join(sorted({re.escape(word[:n]) for word in _WORDS for n in range(1, len(word) + 1)}))
_OPEN_NAMED = rf"(?:(?:{_PART})?|{_WORD}?(?:{_DIGITS})?)"
_OPEN_ITEMS = rf"(?:{_NAMED}{_JOIN}){{0,9}}(?:{_OPEN_NAMED}|{_NAMED} ?[,，、;；和&~～–—-]?)"
_OPEN = rf"[\[【［〔]\^? ?{_OPEN_ITEMS} ?"
_OPEN_SAID = (
    rf"[(（](?:参?见?|se?e? ?)? ?(?:{_OPEN_ITEMS}|(?:{_BRACKETED}[,，、;； ]{{0,2}}){{0,9}}(?:{_OPEN})?)"
)
_TAIL = re.compile(rf"[ \t]*(?:{_ONE}[ \t]*)*(?:{_OPEN}|{_OPEN_SAID})?\Z")
_CUT = re.compile(rf"(?P<lead>[ \t]*)(?P<mark>[\[【［〔]\^? ?{_OPEN_ITEMS}|[(（]{_WORD}{_OPEN_ITEMS}) ?\Z")
_LONGEST = 400  # characters that are looked back for the beginning of a marker
_MAY_FENCE = re.compile(r" {0,3}(?:`{1,2}\Z|```|~{1,2}\Z|~~~)|[ ]{0,3}\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class MarkerStream:
    """Reads an answer as it comes, however it is cut, and gives it out with clean markers.

    Code is left alone. Numbers that name none of the `passages` are dropped, with the space before them.
    """

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._line = ""  # as it came, since the last line break
        self._given = 0  # characters of it, cleaned, that were given out
        self._fence = ""  # what the block of code under way began with

    def feed(self, piece: str) -> str:
        """Take the next piece; give back the text that is certain by now."""
        *whole, rest = (self._line + piece).split("\n")
        given = [self._end_of_line(line, "\n") for line in whole]
        self._line = rest
        clean = self._clean(rest[: _certain(rest, bool(self._fence))])
        given.append(clean[self._given :])
        self._given = max(self._given, len(clean))
        return "".join(given)

    def finish(self) -> str:
        """The rest, once the answer has ended; a marker that its end cut is read as far as it goes."""
        line, self._line = self._line, ""
        if not self._fence:
            line = _CUT.sub(lambda found: _closed(found, line), line)
        return self._end_of_line(line, "")

    def _end_of_line(self, line: str, end: str) -> str:
        fence = _FENCE.match(line)
        is_fence = fence is not None and (
            not line[fence.end() :].strip() and fence[1].startswith(self._fence)
            if self._fence
            else "`" not in line[fence.end() :]
        )
        clean = line if is_fence else self._clean(line)
        if is_fence and fence is not None:
            self._fence = "" if self._fence else fence[1]
        given, self._given = clean[self._given :] + end, 0
        return given

    def _clean(self, line: str) -> str:
        return line if self._fence else _PIECE.sub(lambda found: self._read(found), line)

    def _read(self, found: re.Match[str]) -> str:
        before = found.string[max(0, found.start() - 40) : found.start()]
        if found["code"] is not None or (found[0][0] == "[" and _BEFORE_INDEX.search(before)):
            return found[0]
        seen: set[int] = set()

        def each(one: re.Match[str]) -> str:
            numbers = [n for n in _numbers(one["mark"]) if 1 <= n <= self._passages and n not in seen]
            seen.update(numbers)
            return one["lead"] + "".join(f"[{n}]" for n in numbers) if numbers else ""

        marks = _EACH.sub(each, found["lead"] + found["marks"])
        if found.start() == 0 and not found["lead"]:
            return marks.lstrip() + found["trail"] if marks else ""
        return marks + found["trail"]


def clean(text: str, passages: int) -> str:
    """Write every marker of a whole text as [n], one number each."""
    stream = MarkerStream(passages)
    return stream.feed(text) + stream.finish()


def _numbers(mark: str) -> list[int]:
    numbers: list[int] = []
    for first, last in _NUMBER.findall(mark):
        numbers += range(int(first), min(int(last or first), int(first) + 9) + 1)
    return list(dict.fromkeys(numbers))


def _closed(found: re.Match[str], line: str) -> str:
    """A marker that nothing closes: with its end, or gone where it had no number yet."""
    numbers = re.findall(_DIGITS, found["mark"])
    if not numbers:
        return "" if found["mark"].strip("([（【［〔 ") or found["mark"][0] in "[【［〔" else found[0]
    return found["lead"] + f"[{','.join(numbers)}]"


_CODE_HERE = re.compile(_CODE)


def _certain(line: str, in_code: bool) -> int:
    """How much of a line that still comes will be read the same, whatever comes."""
    if in_code:
        return len(line)  # given out as it stands, its last line too
    if _MAY_FENCE.match(line):
        return 0
    at = 0
    for tick in re.finditer(r"`+", line):
        if tick.start() < at:
            continue
        code = _CODE_HERE.match(line, tick.start())
        if code is None or code.end() == len(line):
            return min(tick.start(), _tail(line[: tick.start()]))
        at = code.end()
    return max(at, _tail(line))


def _tail(line: str) -> int:
    from_here = max(0, len(line) - _LONGEST)
    found = _TAIL.search(line, from_here)
    return found.start() if found else len(line)
