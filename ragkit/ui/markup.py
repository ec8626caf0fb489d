"""An answer's text as Markdown that can only say what it says: no HTML, image or link of its own.

Chatbot sanitises what it shows, but keeps images and links, and a poisoned document could make an
answer fetch one. So everything that Markdown could read as such is written as a character reference,
and only our own citation links are put in. Pure functions over strings.
"""

from __future__ import annotations

import re
from html import escape

from ragkit.ui.strings import Strings

# Code is shown as it stands, so nothing in it is escaped; but only where any Markdown parser must agree
# that it is code: a fence that begins its line, or a span within one line and one table cell.
_CODE = re.compile(
    r"(?P<fence>^(?P<ticks>`{3,})[\w+-]*\n.*?(?:^(?P=ticks)`*[ \t]*$|\Z))"
    r"|(?P<span>(?<![`\\])`(?!`)[^`\n|]+`(?!`))",
    re.M | re.S,
)
_CITATION = re.compile(r"\[(\d{1,3})\]")
_ACTIVE = {
    "&": "&amp;",
    "<": "&lt;",
    "[": "&#91;",  # links, images, definitions
    "`": "&#96;",  # code that _CODE did not see
    "@": "&#64;",  # e-mail addresses that become links by themselves
}
_AUTOLINK = re.compile(r"(?i)\b(https?|ftp):(?=//)|\bwww\.")


def answer_markdown(text: str, turn: str, sources: int, strings: Strings) -> str:
    """Escape an answer and turn its [1]..[sources] into links to the cards of this turn."""
    parts: list[str] = []
    at = 0
    for code in _CODE.finditer(text):
        parts += [_prose(text[at : code.start()], turn, sources, strings), code[0]]
        at = code.end()
    parts.append(_prose(text[at:], turn, sources, strings))
    return "".join(parts)


def _prose(text: str, turn: str, sources: int, strings: Strings) -> str:
    parts: list[str] = []
    at = 0
    for found in _CITATION.finditer(text):
        if not 1 <= int(found[1]) <= sources:
            continue
        parts += [inert(text[at : found.start()]), citation(turn, int(found[1]), strings)]
        at = found.end()
    return "".join(parts) + inert(text[at:])


def inert(text: str) -> str:
    """Write what would be markup, a link or an image as plain characters; emphasis and lists remain."""
    text = re.sub(r"[&<\[`@]", lambda found: _ACTIVE[found[0]], text)
    return _AUTOLINK.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), text)


def citation(turn: str, number: int, strings: Strings) -> str:
    """A link to card `number` of a turn. No text of a document stands in it."""
    title = escape(strings("source", n=number))
    return f'<a href="#src-{turn}-{number}" class="cite" title="{title}">{number}</a>'


def all_sources(turn: str, number: int, strings: Strings) -> str:
    """A link that brings back the sources of a turn (and, on a narrow screen, shows them at all)."""
    label = escape(strings("show_sources", n=number))
    return f'<a href="#src-{turn}" class="cite-all">{label}</a>'


def note(kind: str, text: str) -> str:
    """A remark of the page beneath an answer: `kind` is a class name, `text` ours, not a document's."""
    return f'<span class="note {kind}">{inert(text)}</span>'
