"""Numbers of a spreadsheet as a person sees them: by the cell's format code, as far as that is common.

Dates are shown in ISO order, or with 年月日 where the format says so. What is not understood is shown plainly,
with Excel's fifteen digits: nothing is hidden, not even where the format says so.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import from_excel

GENERAL = "General"
# The numbers that only East Asian versions of Excel use; the standard names them in words alone.
_YEAR_MONTH, _DAY, _TIME = 'yyyy"年"m"月"', 'm"月"d"日"', 'h"时"mm"分"'
_EAST_ASIAN = {
    **dict.fromkeys((27, 36, 50, 52, 57), _YEAR_MONTH),
    **dict.fromkeys((28, 29, 51, 53, 54, 58), _DAY),
    **dict.fromkeys((32, 34, 55), _TIME),
    **dict.fromkeys((33, 35, 56), _TIME + 'ss"秒"'),
    30: "m-d-yy",
    31: 'yyyy"年"m"月"d"日"',
}
_FIFTEEN_DIGITS = Context(prec=15)
_EXACT = Context(prec=400, rounding=ROUND_HALF_UP)  # 1e308 with thirty decimals

_SECTION = re.compile(r'(?:"[^"]*"|\\.|\[[^\]]*\]|[^;"\\\[])*')
_TOKEN = re.compile(
    r"""(?P<literal>"[^"]*"|\\.|\[\$[^\]]*\])  # words, an escaped character, a currency
    |(?P<gone>\[(?:Color\d+|[A-Za-z]+)\]|[_*].)  # colours, blanks and fillers
    |(?P<number>[0\#?][0\#?,]*(?:\.[0\#?]*)?,*|\.[0\#?]+)
    |(?P<unknown>General|E[+-]|[/@\[\]])
    |(?P<sign>.)""",
    re.S | re.X | re.I,
)
_DATE_WORDS = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|AM/PM|A/P', re.I)


def format_code(number: int, own: dict[int, str]) -> str:
    """The format code of a number in the file, where `own` are the file's definitions."""
    return own.get(number) or BUILTIN_FORMATS.get(number) or _EAST_ASIAN.get(number) or GENERAL


def show(raw: str, code: str, epoch: datetime) -> str:
    """Show a number, written as the file writes it, under a format code."""
    try:
        value = Decimal(raw)
        if not value.is_finite():
            return raw
        if code == GENERAL:
            return _general(raw, value)
        if _is_date(code):
            return _date(float(value), code, epoch)
        return _formatted(value, code) or _general(raw, value)
    except (ValueError, OverflowError, InvalidOperation):  # no number, or none that is a date
        return raw


_is_date = lru_cache(maxsize=1000)(is_date_format)


def _general(raw: str, value: Decimal) -> str:
    if re.fullmatch(r"-?\d{1,30}", raw):  # a long number is an identifier: every digit counts
        return raw if value else "0"
    value = _FIFTEEN_DIGITS.plus(value).normalize()
    return f"{value:f}" if not value or -7 < value.adjusted() < 21 else str(value)


# ── Dates ───────────────────────────────────────────────────────────────────────────────────────────


def _date(value: float, code: str, epoch: datetime) -> str:
    if is_timedelta_format(code):
        seconds = round(from_excel(value, epoch, timedelta=True) / timedelta(seconds=1))
        sign, seconds = "-" * (seconds < 0), abs(seconds)
        return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    moment = from_excel(value, epoch)
    parts = set(_DATE_WORDS.sub("", code.split(";")[0]).lower())
    if isinstance(moment, time):  # a date of zero
        moment = datetime.combine(epoch.date(), moment)
        has_date = False
    else:
        has_date = bool(parts & set("yd")) or not parts & set("hs")
    shown = []
    if has_date:
        whole = "d" in parts or "y" not in parts
        if "年" in code or "月" in code:
            shown.append(f"{moment.year}年{moment.month}月" + f"{moment.day}日" * whole)
        else:
            shown.append(f"{moment.year:04}-{moment.month:02}" + f"-{moment.day:02}" * whole)
    if parts & set("hs") or not has_date:
        shown.append(f"{moment:%H:%M:%S}" if "s" in parts else f"{moment:%H:%M}")
    return " ".join(shown)


# ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────


def _formatted(value: Decimal, code: str) -> str:
    """Show by the section for the number's sign; "" where the format is not understood or hides it."""
    sections = [found[0] for found in _SECTION.finditer(code) if found[0]] or [""]
    section = sections[0]
    if value < 0 and len(sections) > 1:
        section, value = sections[1], -value
    elif value == 0 and len(sections) > 2:
        section = sections[2]
    before, number, after, percents = _split(section)
    if not number:
        return before if value == 0 and len(sections) > 2 else ""  # "-" for zero
    shown = _digits(_EXACT.scaleb(value.copy_abs(), 2 * percents), number)
    sign = "-" if value < 0 and re.search("[1-9]", shown) else ""
    return f"{sign}{before}{shown}{after}".strip()


@lru_cache(maxsize=1000)
def _split(section: str) -> tuple[str, str, str, int]:
    """Take a format apart: what stands before the number, its digits, what stands behind, percent signs."""
    words = ["", ""]
    number = ""
    percents = 0
    for token in _TOKEN.finditer(section):
        kind, text = token.lastgroup, token[0]
        if kind == "unknown" or (kind == "number" and number):
            return "", "", "", 0
        if kind == "number":
            number = text
        elif kind == "literal":
            words[bool(number)] += (
                text[2:-1].split("-")[0] if text[0] == "[" else text.strip('"').lstrip("\\")
            )
        elif kind == "sign":
            words[bool(number)] += text
            percents += text == "%"
    return words[0].strip(), number, words[1].rstrip(), percents


def _digits(value: Decimal, number: str) -> str:
    digits = number.rstrip(",")
    whole, _, fraction = digits.partition(".")
    value = _EXACT.scaleb(value, -3 * (len(number) - len(digits)))  # "0,," shows millions
    decimals = min(len(fraction), 30)
    value = _EXACT.quantize(value, Decimal(1).scaleb(-decimals))
    shown = f"{value:,f}" if "," in whole else f"{value:f}"
    integer, _, rest = shown.partition(".")
    must = fraction.rfind("0") + 1
    rest = rest[:must] + rest[must:].rstrip("0")
    integer = integer.rjust(min(whole.count("0"), 30), "0") if "," not in whole else integer
    return f"{integer}.{rest}" if rest else integer
