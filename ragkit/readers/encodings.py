"""Bytes to text, by rule: a mark, what the document declares, UTF-8, the likeliest encoding of East Asia, and
charset-normalizer for the rest. Nothing is ever left out or replaced.

GB18030, Big5, Shift_JIS, EUC-KR and EUC-JP decode most of each other's bytes without an error, into rubbish,
and statistics over bytes need long texts (8 bytes of GB18030 were once taken for cp949). What tells is the
characters that come out: each of these standards put the common characters of its language into a plane of
their own, so that Python's codecs hold nearly all the knowledge of frequencies that is needed. Wrong on pieces
of cmrc2018 and its traditional twin in GB18030 and Big5: 4 in 1,000 of 4 characters, 1 in 1,000 of 6 to 10,
none of 15 and more.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from ragkit.errors import BrokenFile, TruncatedFile

SAVE_AS_UTF8 = "If it is text, open it in an editor and save it as UTF-8."

# What documents call them -> what it is here: the larger set that real documents are written in. Only names
# from here are believed; Python knows codecs ("unicode_escape", "idna") that no document may choose.
_LABELS = {
    "utf-8": "utf-8", "utf8": "utf-8", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
    "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030",
    "hz-gb-2312": "hz", "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "cp950": "big5hkscs",
    "shift_jis": "cp932", "windows-31j": "cp932", "euc-jp": "euc_jp", "iso-2022-jp": "iso2022_jp",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949",
    "iso-8859-1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252",
    "koi8-r": "koi8-r", "koi8-u": "koi8-u",
    **{f"windows-125{n}": f"cp125{n}" for n in range(9)},
    **{f"cp125{n}": f"cp125{n}" for n in range(9)},
    **{f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 5, 7, 9, 15)},
}  # fmt: skip
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# ESC, BS and the separators are not counted: logs with colours are text.
_BINARY = [*range(8), *range(0x0E, 0x1B)]
_BINARY_SHARE = 0.02  # random bytes hold 0.09 of these
_CUT_OFF = ("unexpected end of data", "incomplete multibyte sequence", "truncated data")
_ONE_BYTE = ("cp125", "iso8859", "koi8")


_HIGH = re.compile(rb"[\x80-\xff]")
# A letter with an accent between others. East Asian text has such bytes where one character stands alone.
_LATIN = re.compile(rb"(?<![\x80-\xff])[\x80-\xff][a-z](?![\x80-\xff])")


def known(label: str) -> str:
    """The codec for a name that a document declares, or "" for a name that is not believed."""
    return _LABELS.get(label.strip().lower(), "")


def to_text(data: bytes, declared: str = "") -> tuple[str, str]:
    """Decode, and name the encoding. `declared` is a codec out of `known`, or ""; raise BrokenFile or
    TruncatedFile."""
    failures: list[UnicodeDecodeError] = []
    is_binary = False
    for encoding in _in_order(data, declared):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            failures.append(error)
            continue
        is_binary = sum(text.count(chr(code)) for code in _BINARY) > _BINARY_SHARE * len(text)
        if not is_binary:
            return text, encoding
    raise _explain(data, failures, is_binary)


def _in_order(data: bytes, declared: str) -> Iterator[str]:
    """What to try. More than one of them decodes a file, so that the order is the rule."""
    if bom := next((name for mark, name in _BOMS if data.startswith(mark)), ""):
        yield bom
        return
    # One byte a character decodes anything: such a declaration says nothing against good UTF-8. Latin-1 and
    # ASCII are declared by programs that did not look; there the bytes are believed first.
    is_default = declared == "cp1252"
    is_late = declared.startswith(_ONE_BYTE)
    yield from filter(None, ("utf-8", "" if is_default else declared) if is_late else (declared, "utf-8"))
    if _is_damaged_utf8(data):
        return
    plausible = [guess.encoding for guess in guesses(data) if guess.is_plausible]
    best = next(iter(plausible), None)
    if best:
        yield best
        if best.startswith("utf-16"):  # its last character may be none
            yield from [other for other in plausible if not other.startswith("utf-16")][:1]
    if is_default:
        yield declared
    elif best is None and sum(map(data.count, _BINARY)) <= _BINARY_SHARE * len(data):
        yield from filter(None, [_other_alphabet(data)])


def _explain(data: bytes, failures: list[UnicodeDecodeError], is_binary: bool) -> BrokenFile | TruncatedFile:
    """The error for bytes that nothing decodes. The last failure is the likeliest encoding's: what comes
    after it in the order decodes anything."""
    if is_binary or not failures:
        return BrokenFile("This is not a text file: it is full of control characters.", SAVE_AS_UTF8)
    likely = failures[-1]
    if likely.encoding == "utf-8" and not _is_damaged_utf8(data):
        return BrokenFile("The text is damaged, or in an encoding that is not known here.", SAVE_AS_UTF8)
    if likely.end == len(data) and likely.reason in _CUT_OFF:
        return TruncatedFile(
            f"The text is cut off in the middle of its last character ({likely.encoding}).",
            "Copy or download it again; or open it in an editor and save it as UTF-8.",
        )
    return BrokenFile(
        f"The text is damaged: it seems to be {likely.encoding}, but not at byte {likely.start:,}.",
        SAVE_AS_UTF8,
    )


def _is_damaged_utf8(data: bytes) -> bool:
    """GB18030 decodes most broken UTF-8 without complaint, into garbage: tell such a file by its whole
    three-byte sequences, which are rare in true GB18030 (1 in 100 characters)."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    whole = len(re.findall("[\u0800-\ufffc\U00010000-\U0010ffff]", text))
    return whole > broken > 0


# ── East Asia ───────────────────────────────────────────────────────────────────────────────────────

_SAMPLE_BYTES = 16_000  # of the lines that are not plain ASCII: thousands of characters, a few milliseconds
# Mean log-likelihood of the characters beyond ASCII: texts lie above -10, rubbish below -13.
_PLAUSIBLE = -12.0
_PLAUSIBLE_WIDE = -10.0  # of all characters: any even number of bytes is UTF-16 of something
_ASCII, _RARE = -6.5, -18.0  # rare: private use, other scripts, control characters
_ACCENT = -8.0  # what a letter with an accent says against East Asia
_SPACE = 5.0  # what it adds to the likelihood of Korean, the only one of these with spaces between words
# The logarithm of how likely a file without a mark is Japanese, Korean, or UTF-16 without a single NUL in it,
# before it is looked at: some ten Korean syllables outweigh it, four characters of Chinese never do.
_UNLIKELY = -10.0
_CANDIDATES = {
    "gb18030": "zh", "big5hkscs": "zh", "utf-16-le": "any", "utf-16-be": "any",
    "cp932": "ja", "euc_jp": "ja", "cp949": "ko",
}  # fmt: skip
# The characters that make up half of any Chinese text, simplified and traditional.
_FREQUENT = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行"
    "所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它"
    "与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新"
    "這個們來為國說時會對於著過發後裡種經麼學現當沒動還進樣開從實無與長機關點業將兩間問應戰頭體見產軍"
)
_PUNCTUATION = "\u3000，。、：；？！（）「」『』《》〈〉【】“”‘’—…·～％─"


class Guess(NamedTuple):
    """An encoding that fits, the log-likelihood of what comes out, and whether that is language at all."""

    encoding: str
    score: float
    is_plausible: bool


def guesses(data: bytes) -> list[Guess]:
    """Rank the encodings of East Asia, and UTF-16 of any language, by the text they make of `data`."""
    found = []
    lines = _sample(data)
    latin = _ACCENT * len(_LATIN.findall(lines))
    for encoding, language in _CANDIDATES.items():
        is_wide = language == "any"
        sample = data[:_SAMPLE_BYTES] if is_wide else lines  # newlines of UTF-16 are two bytes
        try:  # the sample may end within a character, hence incremental
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeDecodeError:
            continue
        weights = _weights(language)
        scores = [weights.get(ord(char), _RARE) for char in text]
        telling = scores if is_wide else [weights.get(ord(char), _RARE) for char in text if char > "\x7f"]
        if not telling:
            continue
        prior = 0.0 if is_wide else latin
        if language in ("ja", "ko") or (is_wide and b"\0" not in data):
            prior += _UNLIKELY
        mean = sum(telling) / len(telling)
        is_plausible = mean + prior / len(telling) > _PLAUSIBLE and not (is_wide and mean < _PLAUSIBLE_WIDE)
        spaces = _SPACE * text.count(" ") if language == "ko" else 0.0
        found.append(Guess(encoding, sum(scores) + prior + spaces, is_plausible))
    return sorted(found, key=lambda guess: -guess.score)


def _sample(data: bytes) -> bytes:
    """Lines with more than ASCII in them, without what lies far before, up to _SAMPLE_BYTES."""
    lines = bytearray()
    at = 0
    while len(lines) < _SAMPLE_BYTES and (high := _HIGH.search(data, at)):
        start = max(at, data.rfind(b"\n", at, high.start()) + 1, high.start() - 200)
        end = data.find(b"\n", high.start(), start + _SAMPLE_BYTES)
        at = start + _SAMPLE_BYTES if end < 0 else end + 1
        lines += data[start:at]
    return bytes(lines[:_SAMPLE_BYTES])


@lru_cache(maxsize=4)
def _weights(language: str) -> dict[int, float]:
    """The log-likelihood of each code point in a text of that language; what is not there is _RARE."""
    weights = dict.fromkeys(range(0x4E00, 0xA000), -14.2)
    weights |= dict.fromkeys((*range(0x3041, 0x30FF), *range(0xC0, 0x250), *range(0x391, 0x452)), -13.5)
    weights |= dict.fromkeys(range(0xFF01, 0xFF5F), -10.0)  # full-width letters
    if language in ("zh", "any"):
        weights |= dict.fromkeys(chain(_plane("gb2312", 0xB0, 0xD7), _plane("big5", 0xA4, 0xC6)), -9.4)
        weights |= dict.fromkeys(map(ord, _FREQUENT), -5.6)
    if language == "any":
        weights |= dict.fromkeys((*range(0xA0, 0x180), *range(0x370, 0x600), *range(0x3041, 0x30FF)), -8.0)
    if language == "ja":
        weights |= dict.fromkeys(_plane("euc_jp", 0xB0, 0xCF), -9.2)
        weights |= dict.fromkeys(range(0x30A1, 0x30FD), -6.8) | dict.fromkeys(range(0x3041, 0x3094), -5.2)
        weights |= dict.fromkeys(range(0xFF61, 0xFFA0), -13.0)  # half-width kana: one byte each
    if language in ("ko", "any"):
        weights |= dict.fromkeys(_plane("euc_kr", 0xB0, 0xC8), -8.6)
    # Korean takes the punctuation of ASCII.
    weights |= dict.fromkeys(map(ord, _PUNCTUATION), -11.0 if language == "ko" else -5.6)
    return weights | dict.fromkeys((9, 10, 13, 27, *range(32, 127)), _ASCII)


def _plane(encoding: str, first: int, last: int) -> Iterator[int]:
    """The code points of the two-byte characters whose lead byte lies in that range."""
    for lead in range(first, last + 1):
        for trail in range(0x40, 0xFF):
            try:
                yield ord(bytes((lead, trail)).decode(encoding))
            except (UnicodeDecodeError, TypeError):  # a gap in the plane; two characters from two bytes
                continue


# ── Other alphabets ─────────────────────────────────────────────────────────────────────────────────

# What charset-normalizer may choose from. Left to itself it also finds the code pages of mainframes and old
# Macs in short texts.
_WORD_BEYOND_ASCII = re.compile(rb"[\xc0-\xff]{4}")  # of a language that does not use the Latin letters
_ALPHABETS = ["cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"]


def _other_alphabet(data: bytes) -> str:
    """Ask charset-normalizer; of those that it finds equally good take the commonest."""
    from charset_normalizer import from_bytes

    sample = _sample(data)
    found = list(from_bytes(sample, cp_isolation=_ALPHABETS))
    best = [
        match for match in found if (match.chaos, match.coherence) == (found[0].chaos, found[0].coherence)
    ]
    equal = {name for match in best for name in match.could_be_from_charset}
    commonest = "cp1251" if _WORD_BEYOND_ASCII.search(sample) else "cp1252"
    return commonest if commonest in equal else best[0].encoding if best else ""
