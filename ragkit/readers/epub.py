"""E-books: the pages of the spine in reading order, through the HTML reader; chapters head what lies in them."""

from __future__ import annotations

import lzma
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from urllib.parse import unquote

from lxml import etree

from ragkit.errors import BrokenFile, EncryptedFile, FileTooLarge, NoText
from ragkit.readers.base import MAX_HEADING_CHARS, Outline, TextBuilder, one_line
from ragkit.readers.html import add_page, decode_page
from ragkit.readers.package import open_package
from ragkit.schema import Parsed

_MAX_UNPACKED_BYTES = 100_000_000  # of the pages; pictures are never unpacked
_MAX_PAGES = 20_000
_MAX_LEVELS = 8  # of the table of contents

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
# Fonts are scrambled in books without copy protection, too.
_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGE_TYPES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_FETCH_AGAIN = "Fetch the book again, or convert it in Calibre and add the result."


def parse(data: bytes) -> Parsed:
    """Read an .epub; its title is that of its metadata."""
    try:
        with open_package(data, "an e-book (.epub)") as package:
            return _Book(package).read()
    # What zipfile and lxml raise on damaged packages.
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, etree.XMLSyntaxError, NotImplementedError,
        EOFError, OSError, KeyError, ValueError,
    ) as error:  # fmt: skip
        raise BrokenFile(f"This e-book is damaged: {error}", _FETCH_AGAIN) from error


class _Book:
    def __init__(self, package: zipfile.ZipFile) -> None:
        self._package = package
        self._names = set(package.namelist())
        self._left_bytes = _MAX_UNPACKED_BYTES
        self._package_file = self._find_package_file()
        self._opf = _xml(self._read(self._package_file))
        self._manifest = {
            item.get("id", ""): (
                self._path(item.get("href", "")),
                item.get("media-type", ""),
                item.get("properties", ""),
            )
            for item in _all(self._opf, "item")
        }

    def read(self) -> Parsed:
        pages = list(self._spine())
        self._refuse_copy_protection(pages)
        chapters = self._chapters()
        text = TextBuilder()
        outline = Outline()
        encoding = None
        has_text = False
        title, above = "", list[str]()
        for name in pages:
            markup, used = decode_page(self._read(name))
            encoding = encoding or used
            if name in chapters:  # a page that is not named goes on where the one before it ended
                *above, title = chapters[name]
                outline = Outline()
            page = add_page(markup, text, outline=outline, chapter=title, above=tuple(above))
            has_text |= page.has_text
            title = ""
        if not has_text:
            raise NoText(
                f"There is no text on any of the pages ({len(pages)}): this e-book is made of pictures.",
                "Recognise its text (OCR) first, or look for an edition with text.",
            )
        name_of_book = next((_words(node) for node in _all(self._opf, "title")), "")
        return text.build(title=name_of_book, encoding=encoding)

    def _find_package_file(self) -> str:
        container = _xml(self._read(_CONTAINER))
        paths = (node.get("full-path", "") for node in _all(container, "rootfile"))
        name = next((path for path in paths if path in self._names), "")
        if not name:
            raise BrokenFile("This e-book is damaged: the list of its pages is missing.", _FETCH_AGAIN)
        return name

    def _read(self, name: str) -> bytes:
        """Unpack a part, within what is left of the budget: sizes in the directory may lie."""
        if self._package.getinfo(name).flag_bits & 1:
            raise EncryptedFile("This e-book is protected by a password.", "Add a copy without the password.")
        with self._package.open(name) as stream:
            content = stream.read(self._left_bytes + 1)
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise FileTooLarge(
                f"The pages of this e-book unpack to more than {_MAX_UNPACKED_BYTES / 1e6:.0f} MB.",
                "Add its volumes one by one.",
            )
        return content

    def _path(self, href: str, base: str | None = None) -> str:
        """The name in the package that a link from `base` (the package file) leads to."""
        folder = posixpath.dirname(self._package_file if base is None else base)
        return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))

    def _spine(self) -> Iterator[str]:
        """The pages in reading order, without the table of contents, each once."""
        seen: set[str] = set()
        for item in _all(self._opf, "itemref"):
            name, kind, properties = self._manifest.get(item.get("idref", ""), ("", "", ""))
            if name not in self._names or name in seen or "nav" in properties.split():
                continue
            if kind in _PAGE_TYPES or name.lower().endswith((".xhtml", ".html", ".htm")):
                seen.add(name)
                yield name
                if len(seen) >= _MAX_PAGES:
                    raise FileTooLarge(
                        f"This e-book has more than {_MAX_PAGES} pages.", "Add its volumes one by one."
                    )

    def _refuse_copy_protection(self, pages: list[str]) -> None:
        if _ENCRYPTION not in self._names:
            return
        scrambled = set()
        for data in _all(_xml(self._read(_ENCRYPTION)), "EncryptedData"):
            algorithm = next((node.get("Algorithm", "") for node in _all(data, "EncryptionMethod")), "")
            if algorithm not in _FONT_ALGORITHMS:
                scrambled |= {unquote(node.get("URI", "")) for node in _all(data, "CipherReference")}
        if scrambled.intersection(pages):
            raise EncryptedFile(
                "This e-book is protected against copying (DRM).",
                "Add an edition without copy protection: many publishers and shops offer one to their buyers.",
            )

    def _chapters(self) -> dict[str, tuple[str, ...]]:
        """Where the table of contents first names each page: the titles above it, and its own."""
        chapters: dict[str, tuple[str, ...]] = {}
        for name, kind, properties in self._manifest.values():
            if name not in self._names:
                continue
            if "nav" in properties.split():
                entries = _nav_entries(_xml(self._read(name)))
            elif kind == "application/x-dtbncx+xml":
                entries = _ncx_entries(_xml(self._read(name)))
            else:
                continue
            for href, titles in entries:
                if titles and titles[-1]:
                    chapters.setdefault(self._path(href, name), titles)
        return chapters


def _nav_entries(page: etree._Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The links of an EPUB 3 table of contents: lists in lists."""
    for nav in _all(page, "nav"):
        if not any(key.endswith("type") and "toc" in value.split() for key, value in nav.attrib.items()):
            continue
        for item in _all(nav, "li"):
            if links := _own(item, "a"):
                above = [_label(li, ("a", "span")) for li in islice(item.iterancestors("{*}li"), _MAX_LEVELS)]
                yield links[0].get("href", ""), (*filter(None, reversed(above)), _words(links[0]))


def _ncx_entries(toc: etree._Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The entries of an EPUB 2 table of contents: points in points."""
    for point in _all(toc, "navPoint"):
        if targets := _own(point, "content"):
            above = [
                _label(node, ("navLabel",))
                for node in islice(point.iterancestors("{*}navPoint"), _MAX_LEVELS)
            ]
            yield targets[0].get("src", ""), (*filter(None, reversed(above)), _label(point, ("navLabel",)))


def _label(node: etree._Element, names: tuple[str, ...]) -> str:
    return next((_words(label) for name in names for label in _own(node, name)), "")


def _words(node: etree._Element) -> str:
    return one_line("".join(node.itertext()))[:MAX_HEADING_CHARS]


def _xml(data: bytes) -> etree._Element:
    """Parse without entities, network or DTD; what is not quite XML is repaired."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True)
    root = etree.fromstring(data, parser)
    if root is None:
        raise BrokenFile("This e-book is damaged: the description of its pages is no XML.", _FETCH_AGAIN)
    return root


def _all(node: etree._Element, name: str) -> Iterator[etree._Element]:
    """The elements of that name below `node`, whatever their namespace."""
    yield from node.iter(f"{{*}}{name}")


def _own(node: etree._Element, name: str) -> list[etree._Element]:
    return list(node.iterchildren(f"{{*}}{name}"))
