"""PowerPoint: a slide is a page; its title heads the texts, tables, diagrams and notes on it.

The walk goes over the XML itself, because python-pptx's `shapes` leaves out what stands in diagrams
(SmartArt), in alternate content and in equations. Slide numbers, dates and footers are left out.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator

import pptx
from lxml import etree
from pptx.exc import PythonPptxError
from pptx.opc.package import Part, XmlPart
from pptx.oxml.ns import qn
from pptx.presentation import Presentation
from pptx.slide import Slide

from ragkit.errors import BrokenFile
from ragkit.readers.base import MAX_HEADING_CHARS, TextBuilder, one_line
from ragkit.readers.package import open_package
from ragkit.readers.tables import table_text
from ragkit.schema import BlockKind, Parsed

NOTES = "Notes"  # what the speaker's notes are headed with

_SHAPE, _GROUP, _FRAME = qn("p:sp"), qn("p:grpSp"), qn("p:graphicFrame")
_PLACEHOLDER = f"{qn('p:nvSpPr')}/{qn('p:nvPr')}/{qn('p:ph')}"
_PARAGRAPH, _TEXT, _BREAK = qn("a:p"), qn("a:t"), qn("a:br")
_TABLE, _ROW, _CELL = qn("a:tbl"), qn("a:tr"), qn("a:tc")
_MATH_TEXT = qn("m:t")
_DATA, _TREE = qn("r:dm"), f"{qn('p:cSld')}/{qn('p:spTree')}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
_CHART, _CHART_ID = qn("c:chart"), qn("r:id")
_COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_WRAPPERS = frozenset([_COMPATIBILITY + "AlternateContent", _COMPATIBILITY + "Choice", _GROUP])
_FALLBACK = _COMPATIBILITY + "Fallback"  # says the same once more
_TITLES = frozenset(["title", "ctrTitle"])
_FURNITURE = frozenset(["sldNum", "dt", "ftr", "hdr", "sldImg"])

# What a program wrote there, not an author.
_NOT_A_TITLE = re.compile(
    r"(?:microsoft )?powerpoint\b.*|(?:presentation|slide|演示文稿|幻灯片)\s*\d*$", re.I
)


def parse(data: bytes) -> Parsed:
    """Read a .pptx, hidden slides too; its title is that of its properties, else the first slide's."""
    open_package(data, "a PowerPoint presentation (.pptx)").close()
    try:
        return _read(pptx.Presentation(io.BytesIO(data)))
    # What python-pptx raises on damaged packages: parts that are missing, no XML, or the wrong XML.
    except (
        PythonPptxError, zipfile.BadZipFile, zlib.error, etree.XMLSyntaxError, NotImplementedError, EOFError,
        OSError, LookupError, ValueError, AttributeError, TypeError, AssertionError,
    ) as error:  # fmt: skip
        raise BrokenFile(
            f"This presentation is damaged: {error}",
            "Open it in PowerPoint or LibreOffice and save it again.",
        ) from error


def _read(presentation: Presentation) -> Parsed:
    text = TextBuilder()
    without_text = []
    title = one_line(presentation.core_properties.title)
    title = "" if _NOT_A_TITLE.match(title) else title[:MAX_HEADING_CHARS]
    number = 0
    for number, slide in enumerate(presentation.slides, start=1):
        name, has_text = _slide(slide, number, text)
        title = title or name
        if not has_text:
            without_text.append(number)
    parsed = text.build(
        title=title, hint_if_empty="Slides that are pictures need their text recognised (OCR)."
    )
    return Parsed(parsed.text, parsed.blocks, title, pages=number, pages_without_text=tuple(without_text))


def _slide(slide: Slide, number: int, text: TextBuilder) -> tuple[str, bool]:
    """Add a slide's blocks, its title first; tell the title, and whether there was any text."""
    shapes = list(_shapes(slide._element.find(_TREE)))
    titles = [shape for shape in shapes if _role(shape) in _TITLES]
    name = one_line(" ".join(map(_words, titles[:1])))
    heading: tuple[str, ...] = ()
    if name and len(name) <= MAX_HEADING_CHARS:
        heading = (name,)
        text.add(name, "heading", heading=heading, page=number)
        shapes.remove(titles[0])
    has_text = bool(heading)
    for shape in shapes:
        for words, kind in _content(shape, slide.part):
            has_text |= text.add(words, kind, heading=heading, page=number)
    notes = slide.notes_slide._element.find(_TREE) if slide.has_notes_slide else None
    for shape in _shapes(notes):
        for words, _ in _content(shape, slide.notes_slide.part):
            has_text |= text.add(words, heading=(*heading, NOTES), page=number)
    return heading[0] if heading else "", has_text


def _shapes(tree: etree._Element | None) -> Iterator[etree._Element]:
    """Yield the shapes and frames in their order, out of groups and alternate content."""
    for node in () if tree is None else tree:
        if node.tag in _WRAPPERS:
            yield from _shapes(node)
        elif node.tag == _FRAME or (node.tag == _SHAPE and _role(node) not in _FURNITURE):
            yield node


def _role(shape: etree._Element) -> str:
    placeholder = shape.find(_PLACEHOLDER)
    return "" if placeholder is None else str(placeholder.get("type", ""))


def _content(shape: etree._Element, part: Part) -> Iterator[tuple[str, BlockKind]]:
    """Yield the texts and tables of a shape."""
    if shape.tag == _SHAPE:
        yield _words(shape), "text"
        return
    for node in shape.iter(_TABLE, _DIAGRAM, _CHART):
        if node.tag == _TABLE:
            rows = ([one_line(_words(cell)) for cell in row.iter(_CELL)] for row in node.iter(_ROW))
            yield table_text(rows), "table"
        elif node.tag == _DIAGRAM:
            yield _words(_related(part, node.get(_DATA))), "text"
        else:
            yield from _chart(_related(part, node.get(_CHART_ID)))


def _related(part: Part, relation: str | None) -> etree._Element:
    target = part.related_part(relation or "")
    if isinstance(target, XmlPart):
        return target._element
    # Of the parts that python-pptx leaves packed.
    return etree.fromstring(target.blob, etree.XMLParser(resolve_entities=False))


def _chart(chart: etree._Element) -> Iterator[tuple[str, BlockKind]]:
    """Yield a chart's title and the table behind it: a row for each category, a column for each series."""
    title = chart.find(".//{*}chart/{*}title")
    if title is not None:
        yield _words(title), "text"
    series = [_points(one) for one in chart.iter("{*}ser")]
    categories = next((labels for _, labels, _ in series if labels), {})
    table = [["", *(name for name, _, _ in series)]]
    for place in sorted({place for _, _, values in series for place in values}):
        table.append([categories.get(place, ""), *(values.get(place, "") for _, _, values in series)])
    yield table_text(table), "table"


def _points(series: etree._Element) -> tuple[str, dict[int, str], dict[int, str]]:
    """The name of a series, its categories and its values by their place."""

    def cached(*tags: str) -> dict[int, str]:
        held = next((node for tag in tags if (node := series.find(tag)) is not None), None)
        points = () if held is None else held.iter("{*}pt")
        return {int(point.get("idx", "0")): one_line(point.findtext("{*}v") or "") for point in points}

    return " ".join(cached("{*}tx").values()), cached("{*}cat", "{*}xVal"), cached("{*}val", "{*}yVal")


def _words(node: etree._Element) -> str:
    """The paragraphs in a node, a line each."""
    return "\n".join("".join(_parts(paragraph)) for paragraph in node.iter(_PARAGRAPH)).strip("\n")


def _parts(paragraph: etree._Element) -> Iterator[str]:
    walk = etree.iterwalk(paragraph, events=("start",))
    for _, node in walk:
        if node.tag == _FALLBACK:
            walk.skip_subtree()
        elif node.tag in (_TEXT, _MATH_TEXT):
            yield node.text or ""
        elif node.tag == _BREAK:
            yield "\n"
