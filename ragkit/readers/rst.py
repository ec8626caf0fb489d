"""reStructuredText: the decoded file as it is; underlined lines are headings, ranked as they first come."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragkit.readers.sections import FindHeading, Heading, parse_sections
from ragkit.schema import Parsed

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*$")


def parse(data: bytes) -> Parsed:
    """Read an .rst file; its title is its first heading of the highest rank."""
    return parse_sections(data, _ranked())


def _ranked() -> FindHeading:
    styles: list[tuple[str, bool]] = []  # the character of the line, and whether there is one above, too

    def find(lines: Sequence[str], at: int) -> Heading | None:
        over = _ADORNMENT.match(lines[at])
        words = at + 1 if over else at
        under = _ADORNMENT.match(lines[words + 1]) if words + 1 < len(lines) else None
        name = lines[words].strip() if words < len(lines) else ""
        if not under or not name or _ADORNMENT.match(name) or len(under[0].rstrip()) < len(name):
            return None
        if (over and over[1] != under[1]) or (not over and lines[words][:1].isspace()):
            return None
        style = (under[1], over is not None)
        if style not in styles:
            styles.append(style)
        return Heading(styles.index(style) + 1, name, 3 if over else 2)

    return find
