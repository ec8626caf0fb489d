"""LaTeX: the decoded file as it is, cut at its sections."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragkit.readers.sections import Heading, parse_sections
from ragkit.schema import Parsed

_LEVELS = ("title", "part", "chapter", "section", "subsection", "subsubsection", "paragraph")
_SECTION = re.compile(
    rf"[ \t]*\\({'|'.join(_LEVELS)})\*?[ \t]*(?:\[[^\[\]]*\])?[ \t]*\{{((?:[^{{}}]|\{{[^{{}}]*\}})+)\}}"
)
_COMMANDS = re.compile(r"\\(?:label|footnote|index|thanks)\{[^{}]*\}|\\[a-zA-Z]+\*?[ \t]*|[{}$~]")


def parse(data: bytes) -> Parsed:
    r"""Read a .tex file; its title is that of \title, else its first section of the highest rank."""
    return parse_sections(data, _section)


def _section(lines: Sequence[str], at: int) -> Heading | None:
    found = _SECTION.match(lines[at])
    return Heading(_LEVELS.index(found[1]), _COMMANDS.sub(" ", found[2])) if found else None
