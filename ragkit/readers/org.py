"""Org: the decoded file as it is, cut at its headlines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragkit.readers.sections import Heading, parse_sections
from ragkit.schema import Parsed

_TITLE = re.compile(r"#\+title:[ \t]*(\S.*)", re.I)
_HEADLINE = re.compile(r"(\*+)[ \t]+(?:(?:TODO|DONE|NEXT|WAITING)[ \t]+)?(?:\[#[A-Z]\][ \t]+)?(\S.*)")
_TAGS = re.compile(r"[ \t]+(?::[\w@#%]+)+:[ \t]*$")


def parse(data: bytes) -> Parsed:
    """Read an .org file; its title is that of #+TITLE, else its first headline of the highest rank."""
    return parse_sections(data, _headline)


def _headline(lines: Sequence[str], at: int) -> Heading | None:
    if title := _TITLE.match(lines[at]):
        return Heading(0, title[1])
    found = _HEADLINE.match(lines[at])
    return Heading(len(found[1]), _TAGS.sub("", found[2])) if found else None
