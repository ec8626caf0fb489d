"""Word documents: paragraphs and tables in document order, under the headings that their styles make.

The walk goes over the XML itself, because python-docx's `paragraphs` leaves out content controls, tracked
insertions and text boxes.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator

import docx
from docx.document import Document
from docx.opc.exceptions import OpcError
from docx.oxml.exceptions import XmlchemyError
from docx.oxml.ns import qn
from lxml import etree

from ragkit.errors import BrokenFile
from ragkit.readers.base import MAX_HEADING_CHARS, Outline, TextBuilder, one_line
from ragkit.readers.package import open_package
from ragkit.schema import Parsed

_P, _TABLE, _TEXT, _BOX = qn("w:p"), qn("w:tbl"), qn("w:t"), qn("w:txbxContent")
_WRAPPERS = frozenset(
    qn(f"w:{name}") for name in ("sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo")
)
_PROPERTIES, _STYLE, _OUTLINE, _VALUE = qn("w:pPr"), qn("w:pStyle"), qn("w:outlineLvl"), qn("w:val")
_SIGNS = {
    qn("w:tab"): "\t",
    qn("w:ptab"): "\t",
    qn("w:br"): "\n",
    qn("w:cr"): "\n",
    qn("w:noBreakHyphen"): "-",
}
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # says the same once more
# Properties, what was deleted or moved away, pronunciation, text boxes (they are paragraphs of their own).
_SKIPPED = frozenset(
    [qn(f"w:{name}") for name in ("pPr", "rPr", "del", "moveFrom", "rt")] + [_BOX, _FALLBACK]
)

_HEADING_NAME = re.compile(r"(?:heading|标题|標題)\s*([1-9])$", re.I)
_TITLE_NAME = re.compile(r"(?:title|标题|標題)$", re.I)
_CONTENTS_NAME = re.compile(r"(?:toc|目录|目錄)\s*[1-9]$", re.I)
_TITLE, _BODY, _CONTENTS = 0, -1, -2  # beside the heading levels 1 to 9


def parse(data: bytes) -> Parsed:
    """Read a .docx; its title is that of its properties, else the paragraph in the style Title, else the
    first top heading."""
    open_package(data, "a Word document (.docx)").close()
    try:
        document = docx.Document(io.BytesIO(data))
        return _Reader(document).parse()
    # What python-docx raises on damaged packages: parts that are missing, no XML, or the wrong XML.
    except (
        OpcError, XmlchemyError, zipfile.BadZipFile, zlib.error, etree.XMLSyntaxError, NotImplementedError,
        EOFError, KeyError, ValueError, AttributeError, IndexError, TypeError,
    ) as error:  # fmt: skip
        raise BrokenFile(f"This Word document is damaged: {error}", _SAVE_AGAIN) from error


_SAVE_AGAIN = "Open it in Word or LibreOffice and save it again."


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._levels = _style_levels(document)
        self._outline = Outline()
        self._text = TextBuilder()
        self._titles: dict[int, str] = {}  # the first heading of each level

    def parse(self) -> Parsed:
        for node in _content(self._document.element.body):
            if node.tag == _TABLE:
                rows = (" | ".join(cells) for cells in _rows(node) if any(cells))
                self._text.add("\n".join(rows), "table", heading=self._outline.path)
            else:
                self._paragraph(node)
        title = one_line(self._document.core_properties.title)
        if title == "Word Document":  # what python-docx fills in where there are no properties
            title = ""
        return self._text.build(title=title or self._titles.get(_TITLE) or self._titles.get(1, ""))

    def _paragraph(self, node: etree._Element) -> None:
        text = _words(node)
        level = self._level(node)
        if level == _CONTENTS:  # page numbers beside copies of the headings: noise to a search
            return
        heading = one_line(text) if level >= _TITLE else ""
        if not heading or len(heading) > MAX_HEADING_CHARS:
            self._text.add(text, heading=self._outline.path)
            return
        self._titles.setdefault(level, heading)
        self._outline.enter(level, heading)
        self._text.add(heading, "heading", heading=self._outline.path)

    def _level(self, node: etree._Element) -> int:
        own = node.find(f"{_PROPERTIES}/{_OUTLINE}")
        if own is not None:
            return _outline_level(own)
        style = node.find(f"{_PROPERTIES}/{_STYLE}")
        return _BODY if style is None else self._levels.get(style.get(_VALUE, ""), _BODY)


def _style_levels(document: Document) -> dict[str, int]:
    """What each paragraph style is, by its name, its outline level, or the style that it builds on.

    Word keeps the English names of its own styles in the file, whatever the language of its menus.
    """
    styles = {style.styleId: style for style in document.styles.element.style_lst}

    def level(style_id: str | None) -> int:
        seen = set()
        while style_id in styles and style_id not in seen:
            seen.add(style_id)
            style = styles[style_id]
            name = style.name_val or ""
            if numbered := _HEADING_NAME.match(name):
                return int(numbered[1])
            if _TITLE_NAME.match(name):
                return _TITLE
            if _CONTENTS_NAME.match(name):
                return _CONTENTS
            outline = style.find(f"{_PROPERTIES}/{_OUTLINE}")
            if outline is not None:
                return _outline_level(outline)
            style_id = style.basedOn_val
        return _BODY

    return {style_id: level(style_id) for style_id in styles if style_id}


def _outline_level(outline: etree._Element) -> int:
    value = int(outline.get(_VALUE, "9"))
    return value + 1 if value < 9 else _BODY  # 9 is Word's number for body text


def _content(parent: etree._Element) -> Iterator[etree._Element]:
    """Yield paragraphs and tables in document order, out of their wrappers and text boxes."""
    for node in parent:
        if node.tag == _P:
            yield node
            for part in _parts(node):
                if part.tag == _BOX:
                    yield from _content(part)
        elif node.tag == _TABLE:
            yield node
        elif node.tag in _WRAPPERS:
            yield from _content(node)


def _parts(paragraph: etree._Element) -> Iterator[etree._Element]:
    """Yield the elements of a paragraph that stand for text, and the text boxes in it."""
    walk = etree.iterwalk(paragraph, events=("start",))
    for _, node in walk:
        if node.tag in _SKIPPED:
            walk.skip_subtree()
        if node.tag == _TEXT or node.tag == _BOX or node.tag in _SIGNS:
            yield node


def _words(node: etree._Element) -> str:
    if node.tag == _TABLE:
        return " ".join(cell for row in _rows(node) for cell in row)
    return "".join(_SIGNS.get(part.tag) or part.text or "" for part in _parts(node) if part.tag != _BOX)


def _rows(table: etree._Element) -> Iterator[list[str]]:
    """Yield the cells of each row; a nested table is flattened into its cell."""
    for row in table.xpath("./w:tr | ./w:sdt/w:sdtContent/w:tr"):
        cells = row.xpath("./w:tc | ./w:sdt/w:sdtContent/w:tc")
        yield [one_line(" ".join(map(_words, _content(cell)))) for cell in cells]
