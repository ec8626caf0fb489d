"""An answer's text as Markdown that can only say what it says: no HTML, image or link of its own.

Chatbot sanitises what it shows, but keeps images and links, and a poisoned document could make an
answer fetch one. So everything that Markdown could read as such is written as a character reference,
and only our own citation links are put in. Pure functions over strings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from ragkit.schema import Citation, Span
from ragkit.ui.strings import Strings

# Code is shown as it stands, so nothing in it is escaped; but only where any Markdown parser must agree
# that it is code: a fence that begins its line, or a span within one line and one table cell.
_CODE = re.compile(
    r"(?P<fence>^(?P<ticks>`{3,})[\w+-]*\n.*?(?:^(?P=ticks)`*[ \t]*$|\Z))"
    r"|(?P<span>(?<![`\\])`(?!`)[^`\n|]+`(?!`))",
    re.M | re.S,
)
_FRAME = re.compile(
    r"(?P<lead>\s*(?:(?:[-*+]|\d{1,3}[.)])\s+|#{1,6}\s+|>\s*|\|\s*)*[*_]{0,3})(?P<words>.*?)(?P<trail>[*_]{0,3}[\s|]*)",
    re.S,
)
_CITATION = re.compile(r"\[(\d{1,3})\]")
_SAID = re.compile(r"[^\s|>*+#-] $")  # something that a number may stand behind, on the same line
_ACTIVE = {
    "&": "&amp;",
    "<": "&lt;",
    "[": "&#91;",  # links, images, definitions
    "`": "&#96;",  # code that _CODE did not see
    "@": "&#64;",  # e-mail addresses that become links by themselves
}
_AUTOLINK = re.compile(r"(?i)\b(https?|ftp):(?=//)|\bwww\.")


def answer_markdown(
    text: str,
    turn: str,
    sources: int,
    strings: Strings,
    *,
    citations: Sequence[Citation] = (),
    unsupported: Sequence[Span] = (),
) -> str:
    """Escape an answer, turn its [1]..[sources] into links to the cards of this turn, each to what its own
    sentence rests on as far as `citations` tell, and mark what is `unsupported`."""
    codes = [code.span() for code in _CODE.finditer(text)]
    edges = sorted({0, len(text), *(edge for span in (*codes, *unsupported) for edge in span)})
    parts: list[str] = []
    for low, high in pairwise(edges):
        is_code = any(start <= low < end for start, end in codes)
        doubted = any(start <= low < end for start, end in unsupported)
        piece = text[low:high] if is_code else _prose(text, low, high, turn, sources, citations, strings)
        parts.append(_doubted(piece) if doubted and not is_code else piece)
        if any(end == high for _, end in unsupported):
            fenced = any(end == high and "\n" in text[start:end] for start, end in codes)
            parts.append(("\n\n" if fenced else " ") + doubt(strings))
    return "".join(parts)


def _doubted(piece: str) -> str:
    """Underlined, the marks of Markdown at its ends left outside: a list stays a list."""
    found = _FRAME.fullmatch(piece)
    if found is None or "\n\n" in found["words"]:
        return piece
    return f'{found["lead"]}<span class="unsupported">{found["words"]}</span>{found["trail"]}'


def doubt(strings: Strings) -> str:
    """The tag behind a sentence that no passage supports."""
    return f'<span class="doubt">{escape(strings("unsupported"))}</span>'


def _prose(
    text: str,
    low: int,
    high: int,
    turn: str,
    sources: int,
    citations: Sequence[Citation],
    strings: Strings,
) -> str:
    parts: list[str] = []
    at = low
    for found in _CITATION.finditer(text, low, high):
        if not 1 <= int(found[1]) <= sources:
            continue
        number, place = int(found[1]), found.start()
        sentence = next(
            (
                one.at[0]
                for one in citations
                if one.number == number and one.at and one.at[0] <= place < one.at[1]
            ),
            None,
        )
        before = inert(text[at:place])
        if before.endswith(" ") and _SAID.search(text[max(0, place - 2) : place]):
            before = before[:-1] + "\N{NO-BREAK SPACE}"  # a number alone on a line says nothing
        parts += [before, citation(turn, number, strings, sentence)]
        at = found.end()
    return "".join(parts) + inert(text[at:high])


def inert(text: str) -> str:
    """Write what would be markup, a link or an image as plain characters; emphasis and lists remain."""
    text = re.sub(r"[&<\[`@]", lambda found: _ACTIVE[found[0]], text)
    return _AUTOLINK.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), text)


def citation(turn: str, number: int, strings: Strings, sentence: int | None = None) -> str:
    """A link to card `number` of a turn, and to what it holds for the sentence that begins at `sentence`. No
    text of a document stands in it."""
    title = escape(strings("source", n=number))
    place = "" if sentence is None else f"-{sentence}"
    return f'<a href="#src-{turn}-{number}{place}" class="cite" title="{title}">{number}</a>'


def all_sources(turn: str, number: int, strings: Strings) -> str:
    """A link that brings back the sources of a turn (and, on a narrow screen, shows them at all)."""
    label = escape(strings("show_sources", n=number))
    return f'<a href="#src-{turn}" class="cite-all">{label}</a>'


def pair(columns: Sequence[tuple[str, str]]) -> str:
    """Texts in Markdown beside each other, each below its title, which is ours."""
    inner = "".join(f"<section>\n\n**{inert(title)}**\n\n{text}\n\n</section>" for title, text in columns)
    return f'<div class="pair">{inner}</div>'


def note(kind: str, text: str) -> str:
    """A remark of the page beneath an answer: `kind` is a class name, `text` ours, not a document's."""
    return f'<span class="note {kind}">{inert(text)}</span>'
