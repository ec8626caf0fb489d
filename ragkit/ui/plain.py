"""Where a passage of Markdown has signs that a reader of a small card can do without. Pure; changes no text."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from ragkit.schema import Hit, Span

_MARKDOWN: Final = frozenset({".md", ".markdown", ".mdx", ".rmd", ".qmd"})
_SIGNS: Final = re.compile(
    r"(?P<fence>^[ \t]*(?:```|~~~).*$\n?)"
    r"|(?P<rule>^[ \t]*\|?[ \t]*:?-{3,}:?[ \t]*(?:\|[ \t:|-]*)?$\n?)"
    r"|(?P<heading>^[ \t]*#{1,6}[ \t]+)(?P<title>[^\n]*)\n?"
    r"|(?P<strong>\*\*(?=\S)|(?<=\S)\*\*)"
    r"|!?\[(?P<words>[^\]\n]*)\](?P<target>\([^)\s]*\))",
    re.M,
)


def signs(hit: Hit) -> list[Span]:
    """The stretches of a passage's text, in order, that only say how it is to be set: the signs of headings, strong
    words, links and tables, and a heading that stands above the card already. None of other kinds of file."""
    if PurePosixPath(hit.source).suffix.lower() not in _MARKDOWN:
        return []
    spans: list[Span] = []
    in_code = False
    for found in _SIGNS.finditer(hit.text):
        if found["fence"] is not None:
            in_code = not in_code
            spans.append(found.span("fence"))
        elif in_code:
            continue
        elif found["heading"] is not None:
            is_told = bool(hit.heading) and found["title"].strip(" #") == hit.heading[-1]
            spans.append(
                (found.start(), _next_line(hit.text, found.end())) if is_told else found.span("heading")
            )
        elif found["target"] is not None:
            low, high = found.span("words")
            spans += [(found.start(), low), (high, found.end())]
        else:
            spans.append(found.span())
    return [span for span in spans if span[0] < span[1]]


def _next_line(text: str, at: int) -> int:
    """Past the blank lines that would be left behind."""
    return at + len(text[at:]) - len(text[at:].lstrip("\n"))
