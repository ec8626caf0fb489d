"""Source code and settings: the decoded file as it is, in blocks that begin where definitions begin.

No parser of any language: a definition is a line that looks like one, and it ends where the indentation
returns to its own, which holds for formatted code with braces, too. A wrong guess costs a cut in an odd
place, never a character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ragkit.readers.base import text_of, without_text
from ragkit.schema import Block, Parsed

# What fits into one chunk of text that is not Chinese. A longer definition is cut at its own definitions and
# blank lines, and its name heads the parts; a shorter one stays whole and is packed with its neighbours.
_WHOLE_CHARS = 1000
_MAX_DEPTH = 12
_MAX_LINE_CHARS = 240  # a longer line defines nothing: minified code, data
_MAX_NAME_CHARS = 100
_TAB = 4

_DECLARED = re.compile(rb"coding[:=][ \t]*([-\w.]+)|encoding=[\"']([-\w.]+)|@charset \"([-\w.]+)\"")

_WORDS_BEFORE = (
    "export|default|public|private|protected|internal|static|final|abstract|async|override|virtual|inline|"
    "extern|pub|unsafe|const|constexpr|sealed|partial|open|data|case|suspend|declare|local|readonly|mutating|"
    "friend|typedef|create|or|replace|temporary|temp|unique|materialized|if|not|exists"
)
_DEFINES = (
    "class|interface|struct|enum|trait|impl|def|fn|func|function|fun|module|namespace|object|protocol|extension|"
    "message|service|sub|procedure|macro|record|defmodule|defp?|union|mixin|contract|type|table|view|trigger|"
    "index|input|proc|sig|theorem|lemma"
)
# Each gives the name as its last group. The quantifiers are bounded, so that no line takes long.
_DEFINITIONS = (
    # class Foo, def foo, pub(crate) fn foo, func (r *Foo) bar, CREATE TABLE IF NOT EXISTS foo
    re.compile(
        rf"(?:(?:{_WORDS_BEFORE})(?:\([\w: ]{{0,40}}\))?[ \t]+){{0,8}}(?:{_DEFINES})\*?[ \t]+"
        rf"(?:(?:if|not|exists|class)[ \t]+){{0,3}}(?:\([^()]{{0,100}}\)[ \t]*|<[^<>]{{0,100}}>[ \t]*)?"
        r"[`\"\[]?([^\W\d][\w.:$?!]{0,100})",
        re.I,
    ),
    # const foo = (a) =>, foo = function (a), foo <- function(a)
    re.compile(
        r"(?:export[ \t]+)?(?:default[ \t]+)?(?:(?:const|let|var|local)[ \t]+)?([\w.$]{1,100})[ \t]*(?:=|:|<-)[ \t]*"
        r"(?:async[ \t]+)?(?:function\b|\([^()]{0,200}\)[ \t]*(?::[^=]{1,60})?=>|[\w$]{1,60}[ \t]*=>)"
    ),
    # int main(void), static const char *name(int a) {, foo() {, constructor(a) {: not a call, not a declaration
    re.compile(
        r"(?!(?:return|if|else|for|while|switch|catch|do|throw|new|await|yield|assert|print|using|elif|and|or|not|with|"
        r"goto|case|in|match|until|unless|when|foreach|lock|import|from|raise|del|echo|try)\b)"
        r"(?:[\w:<>,\[\]&*.~@]{1,60}[ \t]+){0,6}[*&]{0,3}((?:[A-Za-z_~][\w:~]{0,100}))[ \t]*\([^()]{0,300}\)"
        r"[ \t]*(?:(?:const|noexcept|override|final|throws [\w., ]{1,80}|->[ \t]*[\w:<>*&?]{1,60}|"
        r":[ \t]*[\w<>\[\]?| ]{1,60})[ \t]*){0,4}\{?[ \t]*$"
    ),
)
_SECTION = re.compile(r"\[{1,2}[ \t]*([^\[\]]{1,100}?)[ \t]*\]{1,2}[ \t]*(?:[#;].*)?$")  # of .ini and .toml
# What stands above a definition and belongs to it: decorators, attributes, comments.
_LEAD = re.compile(r"@|#|//|/\*|\*|--|%|;|\[|template\b")
# A line that ends or continues what is open, at the indentation of its beginning.
_CLOSES = re.compile(
    r"[\])}{]|(?:end|fi|done|esac|else|elif|elsif|except|finally|catch|rescue|ensure|then|begin|where|as|is|"
    r"returns|language)\b|(?:public|private|protected)[ \t]*:|#(?:if|else|elif|endif)",
    re.I,
)


def parse(data: bytes) -> Parsed:
    """Read source code. Its title stays empty: no language says where it would stand."""
    text, encoding = text_of(data, declared=_declared(data))
    lines = list(_lines(text))
    if not lines:
        raise without_text(text)
    return Parsed(text, tuple(_blocks(lines, _definitions(lines))), encoding=encoding)


def _declared(data: bytes) -> str:
    """What the first two lines say of the encoding, as Python, XML and CSS do."""
    head = b"\n".join(data[:400].split(b"\n", 2)[:2])
    found = _DECLARED.search(head)
    return next(group for group in found.groups() if group).decode("ascii") if found else ""


class _Line(NamedTuple):
    start: int  # with its indentation
    end: int
    indent: int
    words: str  # without its indentation; the beginning only of a long line
    after_blank: bool


class _Definition(NamedTuple):
    first: int  # line
    last: int
    name: str


def _lines(text: str) -> Iterator[_Line]:
    """Yield the lines that are not blank."""
    at = 0
    after_blank = True
    while at < len(text):
        stop = text.find("\n", at)
        stop = len(text) if stop < 0 else stop
        head = text[at : min(stop, at + _MAX_LINE_CHARS)]
        words = head.lstrip()
        if words or text[at:stop].strip():
            indent = len(head[: len(head) - len(words)].expandtabs(_TAB))
            end = at + len(text[at:stop].rstrip())
            yield _Line(at, end, indent, words, after_blank)
            after_blank = False
        else:
            after_blank = True
        at = stop + 1


def _definitions(lines: list[_Line]) -> list[_Definition]:
    """Find the definitions, in order of their first lines; those of a section file if there are no others."""
    found: list[_Definition] = []
    open_: list[tuple[int, int, str]] = []  # indentation, first line, name
    for number, line in enumerate(lines):
        while open_ and line.indent <= open_[-1][0] and not _CLOSES.match(line.words):
            _, first, name = open_.pop()
            found.append(_Definition(first, number - 1, name))
        name = _name(line)
        if name and len(open_) < _MAX_DEPTH and (not open_ or line.indent > open_[-1][0]):
            open_.append((line.indent, number, name))
    found += [_Definition(first, len(lines) - 1, name) for _, first, name in open_]
    found = [definition._replace(first=_with_lead(lines, definition.first)) for definition in sorted(found)]
    return _apart(found) or _sections(lines)


def _name(line: _Line) -> str:
    if line.end - line.start > _MAX_LINE_CHARS or line.words.endswith((";", ",")) or not line.words:
        return ""
    for pattern in _DEFINITIONS:
        if found := pattern.match(line.words):
            return found[1].rstrip(":.")[:_MAX_NAME_CHARS]
    return ""


def _with_lead(lines: list[_Line], first: int) -> int:
    """Take in the decorators and comments that stand directly above."""
    indent = lines[first].indent
    while (
        first > 0
        and not lines[first].after_blank
        and lines[first - 1].indent >= indent
        and _LEAD.match(lines[first - 1].words)
    ):
        first -= 1
    return first


def _apart(found: list[_Definition]) -> list[_Definition]:
    """End each definition before the lead of the next one that is not inside of it."""
    kept: list[_Definition] = []
    for definition in found:
        for place in range(len(kept) - 1, max(-1, len(kept) - 1 - _MAX_DEPTH), -1):
            other = kept[place]
            if other.last >= definition.first and other.last < definition.last:
                kept[place] = other._replace(last=max(other.first, definition.first - 1))
        kept.append(definition)
    return kept


def _sections(lines: list[_Line]) -> list[_Definition]:
    heads = [
        (number, match[1])
        for number, line in enumerate(lines)
        if line.indent == 0 and (match := _SECTION.match(line.words))
    ]
    if not heads:
        return []
    ends = [number - 1 for number, _ in heads[1:]] + [len(lines) - 1]
    return [_Definition(first, last, name) for (first, name), last in zip(heads, ends, strict=True)]


def _blocks(lines: list[_Line], definitions: list[_Definition]) -> Iterator[Block]:
    """Cut before definitions and after blank lines, but inside of no definition that fits into a chunk."""
    upcoming = iter([*definitions, _Definition(len(lines), len(lines), "")])
    following = next(upcoming)
    inside: list[_Definition] = []  # the long definitions around the line
    whole_to = -1  # the last line of the short definition around it
    start = 0
    path: tuple[str, ...] = ()
    for number, line in enumerate(lines):
        begins = False
        while inside and inside[-1].last < number:
            inside.pop()
        while following.first <= number:
            if number > whole_to:
                begins = True
                if lines[following.last].end - lines[following.first].start > _WHOLE_CHARS:
                    inside.append(following)
                else:
                    whole_to = following.last
            following = next(upcoming)
        here = tuple(definition.name for definition in inside)
        is_within = number <= whole_to and not begins
        if number and (begins or here != path or (line.after_blank and not is_within)):
            yield _block(lines, start, number - 1, path)
            start = number
        path = here
    yield _block(lines, start, len(lines) - 1, path)


def _block(lines: list[_Line], first: int, last: int, path: tuple[str, ...]) -> Block:
    line = lines[first]
    indent = next((at for at, char in enumerate(line.words) if not char.isspace()), 0)
    return Block(line.start + indent, lines[last].end, "code", heading=path)
