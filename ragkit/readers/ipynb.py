"""Jupyter notebooks: the notes as Markdown under their headings, the code, and what it printed.

Pictures, HTML and widgets among the outputs are dropped; so are pictures that stand in the notes as data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ragkit.errors import MislabelledFile
from ragkit.readers import markdown
from ragkit.readers.base import Outline, TextBuilder, check_length, clean, decode, one_line
from ragkit.readers.json import documents
from ragkit.schema import Parsed

_EMBEDDED = re.compile(r"\((?:data|attachment):[^)\s]*")  # a picture in a link of Markdown
_ESCAPES = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?)"
)  # colours of a terminal


def parse(data: bytes) -> Parsed:
    """Read a .ipynb; its title is that of its metadata, else the first top heading."""
    check_length(len(data) // 8)  # pictures in base64 are most of many notebooks
    text, encoding = decode(data)
    notebook = next(documents(text, dict), None)
    if not isinstance(notebook, dict) or not notebook.keys() & {"cells", "worksheets"}:
        raise MislabelledFile("This is not a notebook (.ipynb) but another JSON file.", "Name it .json.")
    reader = _Reader()
    for sheet in (notebook, *_dicts(notebook.get("worksheets"))):  # of before version 4
        for cell in _dicts(sheet.get("cells")):
            reader.cell(cell)
    metadata = notebook.get("metadata")
    title = metadata.get("title") if isinstance(metadata, dict) else None
    title = one_line(title)[:200] if isinstance(title, str) else ""
    return reader.text.build(title=title or reader.title, encoding=encoding)


class _Reader:
    def __init__(self) -> None:
        self.text = TextBuilder()
        self.title = ""
        self._outline = Outline()

    def cell(self, cell: dict[str, Any]) -> None:
        kind = cell.get("cell_type")
        source = _text(cell.get("source", cell.get("input")))
        if kind == "heading":  # before version 4
            level = cell.get("level")
            kind, source = (
                "markdown",
                "#" * (int(level) if level in list("123456") else 1) + " " + one_line(source),
            )
        if kind == "markdown":
            self._markdown(source)
        else:
            self.text.add(source, "code" if kind == "code" else "text", heading=self._outline.path)
        for output in _dicts(cell.get("outputs")):
            self._output(output)

    def _markdown(self, source: str) -> None:
        shown = clean(_EMBEDDED.sub("(", source))
        scanner = markdown.Scanner(shown, outline=self._outline)
        at = 0
        for block in scanner.blocks():
            between = shown[at : block.start]
            gap = between if at and between.isspace() else "\n\n"
            self.text.add(shown[block.start : block.end], block.kind, heading=block.heading, gap=gap)
            at = block.end
        self.title = self.title or scanner.first_top_heading

    def _output(self, output: dict[str, Any]) -> None:
        kind = output.get("output_type")
        if kind == "stream":
            self._printed(_text(output.get("text")))
        elif kind in ("error", "pyerr"):
            self._printed(": ".join(filter(None, (_text(output.get("ename")), _text(output.get("evalue"))))))
        else:
            held = output.get("data")
            held = held if isinstance(held, dict) else output  # before version 4
            note = _text(held.get("text/markdown"))
            # Beside a picture the text only says that there is one: <Figure size 640x480>.
            if note:
                self._markdown(note)
            elif not any(str(name).startswith("image/") or name in ("png", "jpeg", "svg") for name in held):
                self._printed(_text(held.get("text/plain", held.get("text"))))

    def _printed(self, text: str) -> None:
        lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
        # Progress bars draw over themselves: what stands last in a line is what is seen.
        shown = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
        self.text.add(shown, "code", heading=self._outline.path)


def _text(value: Any) -> str:
    """A text, which notebooks hold whole or as a list of lines."""
    if isinstance(value, list):
        return "".join(part for part in value if type(part) is str)
    return value if type(value) is str else ""  # a number is a Literal


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))
