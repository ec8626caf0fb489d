"""Excel: a sheet is a page, headed by its name; its rows are the lines of a table.

The walk goes over the XML itself: openpyxl's is six times slower with defusedxml, and tells either the values
or the formulas. Its knowledge of dates and formats is used. Declarations of entities are refused.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from lxml import etree
from openpyxl.utils.cell import range_boundaries
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

from ragkit.errors import BrokenFile, FileTooLarge
from ragkit.readers import number_format
from ragkit.readers.base import MAX_HEADING_CHARS, TextBuilder, check_length, one_line
from ragkit.readers.package import open_package
from ragkit.readers.tables import BETWEEN, table_text
from ragkit.schema import Parsed

_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_COLUMN = re.compile("[A-Z]{1,3}")
_SAVE_AGAIN = "Open it in Excel or LibreOffice and save it again."


def parse(data: bytes) -> Parsed:
    """Read a .xlsx, hidden sheets too, with the values that were stored; its title is that of its properties.

    A formula whose result was never stored is shown as it is written, and the sheet says how many there are.
    """
    with open_package(data, "an Excel workbook (.xlsx)", strict=True) as package:
        try:
            return _Workbook(package).parse()
        except etree.XMLSyntaxError as error:
            if re.search(
                "text node", str(error), re.I
            ):  # libxml2's limit, which its versions word in two ways
                raise FileTooLarge(
                    "A single cell of this workbook holds more than 10 million characters.",
                    "Excel itself allows 32,767; export the sheet anew.",
                ) from error
            raise BrokenFile(f"This workbook is damaged: {error}", _SAVE_AGAIN) from error
        except (
            zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, LookupError, ValueError,
            ArithmeticError, AttributeError, TypeError,
        ) as error:  # fmt: skip
            raise BrokenFile(f"This workbook is damaged: {error}", _SAVE_AGAIN) from error


class _Row(NamedTuple):
    number: int
    cells: dict[int, str]  # by column, without blank ones
    typed: bool  # whether it holds anything but text


class _Workbook:
    def __init__(self, package: zipfile.ZipFile) -> None:
        self._package = package
        self._text = TextBuilder()
        parts = self._related("")
        self._main = next(part for kind, part in parts.values() if kind == "officeDocument")
        self._workbook = self._xml(self._main)
        self._parts = self._related(self._main)
        core = next((part for kind, part in parts.values() if kind == "core-properties"), "")
        self._title = one_line(self._xml(core).findtext(_TITLE) or "") if core in package.namelist() else ""
        properties = self._workbook.find("{*}workbookPr")
        since_1904 = properties is not None and properties.get("date1904") in ("1", "true")
        self._epoch = CALENDAR_MAC_1904 if since_1904 else CALENDAR_WINDOWS_1900
        self._codes = self._format_codes()
        self._strings = self._shared_strings()

    def parse(self) -> Parsed:
        without_text = []
        number = 0
        for number, sheet in enumerate(self._workbook.iterfind("{*}sheets/{*}sheet"), start=1):
            relation = next((value for key, value in sheet.attrib.items() if key.endswith("}id")), "")
            kind, part = self._parts[relation]
            name = one_line(sheet.get("name", ""))[:MAX_HEADING_CHARS]
            if kind != "worksheet" or not self._sheet(part, name, number):
                without_text.append(number)
        title = self._title[:MAX_HEADING_CHARS]
        parsed = self._text.build(title=title)
        return Parsed(parsed.text, parsed.blocks, title, pages=number, pages_without_text=tuple(without_text))

    # ── Parts of the package ──

    def _xml(self, part: str) -> etree._Element:
        root = etree.fromstring(self._package.read(part), etree.XMLParser(resolve_entities=False))
        _refuse_declarations(root)
        return root

    def _elements(self, part: str, *tags: str) -> Iterator[etree._Element]:
        """Yield the elements of a big part one by one; none is kept."""
        with self._package.open(part) as stream:
            wanted = [f"{{*}}{tag}" for tag in tags]
            for place, (_, node) in enumerate(
                etree.iterparse(stream, tag=wanted, resolve_entities=False, remove_comments=True)
            ):
                if not place:
                    _refuse_declarations(node)
                yield node
                node.clear(keep_tail=False)
                parent = node.getparent()
                while parent is not None and node.getprevious() is not None:
                    del parent[0]

    def _related(self, part: str) -> dict[str, tuple[str, str]]:
        """The relations of a part: by their id, the last word of their type and the part they lead to."""
        folder, name = posixpath.split(part)
        relations = self._xml(posixpath.join(folder, "_rels", f"{name}.rels"))
        return {
            relation.get("Id", ""): (
                posixpath.basename(relation.get("Type", "")),
                posixpath.normpath(posixpath.join("/", folder, relation.get("Target", ""))).lstrip("/"),
            )
            for relation in relations.iterfind("{*}Relationship")
            if relation.get("TargetMode") != "External"
        }

    def _part(self, wanted: str) -> str:
        part = next((part for kind, part in self._parts.values() if kind == wanted), "")
        return part if part in self._package.namelist() else ""

    def _format_codes(self) -> list[str]:
        """The format code of each cell style."""
        part = self._part("styles")
        if not part:
            return []
        styles = self._xml(part)
        own = {
            int(form.get("numFmtId", "0")): form.get("formatCode", "")
            for form in styles.iterfind("{*}numFmts/{*}numFmt")
        }
        return [
            number_format.format_code(int(style.get("numFmtId", "0")), own)
            for style in styles.iterfind("{*}cellXfs/{*}xf")
        ]

    def _shared_strings(self) -> list[str]:
        strings: list[str] = []
        chars = 0
        if part := self._part("sharedStrings"):
            for item in self._elements(part, "si"):
                strings.append(_words(item))
                chars += len(strings[-1])
                check_length(chars)
        return strings

    # ── Sheets ──

    def _sheet(self, part: str, name: str, page: int) -> bool:
        """Add the blocks of a sheet; tell whether there is any text."""
        rows, merged, uncalculated = self._rows(part)
        _fill_down(rows, merged)
        if not rows:
            return False
        heading = (name,)
        self._text.add(name, "heading", heading=heading, page=page)
        for region in _regions(rows):
            intro = _intro(region)
            lines = (BETWEEN.join(row.cells.values()) for row in region[:intro])
            self._text.add("\n".join(lines), heading=heading, page=page)
            columns = sorted({column for row in region[intro:] for column in row.cells})
            table = ([row.cells.get(column, "") for column in columns] for row in region[intro:])
            self._text.add(table_text(table), "table", heading=heading, page=page)
        if uncalculated:
            self._text.add(
                f"[Formulas without a stored result on this sheet: {uncalculated}. They are shown as they are "
                "written. To store the results, open the workbook in Excel or LibreOffice and save it.]",
                heading=heading,
                page=page,
            )
        return True

    def _rows(self, part: str) -> tuple[list[_Row], list[str], int]:
        """The rows that hold anything, the merged ranges, and the number of formulas without a result."""
        rows: list[_Row] = []
        merged: list[str] = []
        number = uncalculated = chars = 0
        for node in self._elements(part, "row", "mergeCell"):
            if node.tag.endswith("mergeCell"):
                merged.append(node.get("ref", ""))
                continue
            number = int(node.get("r") or number + 1)
            cells: dict[int, str] = {}
            typed = False
            column = 0
            for cell in node:
                reference = cell.get("r")
                column = _column(reference) if reference else column + 1
                if not len(cell):  # only its style is stored
                    continue
                shown, is_typed, is_formula = self._cell(cell)
                if shown:
                    cells[column] = shown
                    chars += len(shown) + len(BETWEEN)
                    typed |= is_typed
                    uncalculated += is_formula
            if cells:
                check_length(chars)
                rows.append(_Row(number, cells, typed))
        return rows, merged, uncalculated

    def _cell(self, cell: etree._Element) -> tuple[str, bool, bool]:
        """What a cell shows, whether that is more than text, and whether it is a formula instead of a value."""
        space = cell.tag[: cell.tag.index("}") + 1]
        kind = cell.get("t", "n")
        held = cell.find(space + "v")
        if kind == "inlineStr":
            return _words(cell), False, False
        value = (held.text or "") if held is not None else ""
        if not value and kind in ("n", "e"):
            formula = cell.find(space + "f")
            shown = "" if formula is None else one_line(f"={formula.text or '(formula)'}")
            return shown, True, formula is not None
        if not value:  # the result of a formula: an empty text
            return "", False, False
        if kind == "s":
            return self._strings[int(value)], False, False
        if kind == "n":
            style = int(cell.get("s", "0"))
            code = self._codes[style] if style < len(self._codes) else number_format.GENERAL
            return one_line(number_format.show(value, code, self._epoch)), True, False
        if kind == "b":
            return "TRUE" if value.strip() in ("1", "true") else "FALSE", True, False
        if kind == "d":
            return one_line(value.replace("T", " ")), True, False
        return one_line(_unescape(value)), kind != "str", False


def _refuse_declarations(node: etree._Element) -> None:
    if node.getroottree().docinfo.internalDTD is not None:
        raise BrokenFile("This workbook declares entities, which no office program does.", _SAVE_AGAIN)


def _words(item: etree._Element) -> str:
    """The text of a string in all its formats, without the pronunciation."""
    texts = (node for node in item.iter("{*}t") if not node.getparent().tag.endswith("rPh"))
    return one_line(_unescape("".join(node.text or "" for node in texts)))


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text) if "_x" in text else text


def _column(reference: str) -> int:
    letters = _COLUMN.match(reference)
    number = 0
    for letter in letters[0] if letters else "":
        number = number * 26 + ord(letter) - 64
    return number


def _fill_down(rows: list[_Row], merged: list[str]) -> None:
    """Repeat what stands in a range merged over several rows in each of them: it holds for all."""
    numbers = [row.number for row in rows]
    chars = 0
    for reference in merged:
        left, top, _, bottom = range_boundaries(reference)
        first = bisect_left(numbers, top)
        if top == bottom or first == len(rows) or numbers[first] != top:
            continue
        value = rows[first].cells.get(left)
        if value:
            for row in rows[first + 1 : bisect_right(numbers, bottom)]:
                row.cells.setdefault(left, value)
                chars += len(value) + len(BETWEEN)
                check_length(chars)


def _regions(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Tell tables that stand below each other apart: a blank row, and then a row of text only after rows
    with numbers. Other blank rows only make room."""
    region: list[_Row] = []
    has_typed = False
    for row in rows:
        if region and row.number > region[-1].number + 1 and has_typed and not row.typed:
            yield region
            region, has_typed = [], False
        region.append(row)
        has_typed |= row.typed
    if region:
        yield region


def _intro(region: list[_Row]) -> int:
    """How many rows stand above the header: titles and remarks, of a single cell each."""
    if max(len(row.cells) for row in region) == 1:
        return 0
    return next(place for place, row in enumerate(region) if len(row.cells) > 1)
