"""HTML: the text that a browser would show, with the headings, lists, tables and listings in it."""

from __future__ import annotations

import re
from typing import NamedTuple

from lxml import etree

from ragkit.readers.base import Outline, TextBuilder, decode, one_line, without_text
from ragkit.schema import BlockKind, Parsed

_NOT_CONTENT = (
    "head", "script", "style", "template", "noscript", "nav", "svg", "iframe", "object", "select", "textarea",
    "rt", "rp",  # pronunciation between the characters of a word
)  # fmt: skip
_BLOCKS = frozenset(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form "
    "header hr html legend li main ol p pre section summary table tbody tfoot thead tr td th caption ul".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
# Whoever puts these into a table draws a page with it.
_LAYOUT_SIGNS = ("table", "ul", "ol", "pre", "blockquote", *_HEADINGS)

_DECLARED = re.compile(rb"<(?:meta[^>]*?charset|\?xml[^>]*?encoding)\s*=\s*[\"']?\s*([\w-]+)", re.I)
_IS_XHTML = re.compile(r"\s*<\?xml|[^>]*<html[^>]*\sxmlns=", re.I)
_SELF_CLOSED = re.compile(r"<([a-zA-Z][\w:-]*)(\s[^<>]*)?/>")
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())

_HINT = "If the page builds its text with JavaScript, save it from the browser, or print it to PDF."


def parse(data: bytes) -> Parsed:
    """Read a page; its title is that of its head, else its first top heading."""
    markup, encoding = decode_page(data)
    text = TextBuilder()
    page = add_page(markup, text)
    if not page.has_text:
        raise without_text(markup, _HINT)
    return text.build(title=page.title or page.first_heading, encoding=encoding, hint_if_empty=_HINT)


def decode_page(data: bytes, *, declared: str = "") -> tuple[str, str]:
    """Decode a page; with its encoding. What came with it (in a mail) counts before what stands in it."""
    inside = _DECLARED.search(data, 0, 2048)
    return decode(data, declared=declared or (inside[1].decode("ascii") if inside else ""))


class Page(NamedTuple):
    """What a page says of itself."""

    title: str
    first_heading: str
    has_text: bool


def add_page(
    markup: str,
    text: TextBuilder,
    *,
    outline: Outline | None = None,
    chapter: str = "",
    above: tuple[str, ...] = (),
) -> Page:
    """Add the blocks of a page to `text`.

    `above` stands before every path of headings. `outline` is where the page before this one ended;
    `chapter` heads a page that has no heading of its own at the top.
    """
    if _IS_XHTML.match(markup[:2048]):  # HTML takes <title/> for the beginning of a title
        markup = _SELF_CLOSED.sub(_open_and_close, markup)
    # As bytes, because lxml takes no str with an encoding declaration in it.
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(markup.encode("utf-8"), parser) if markup.strip() else None
    if root is None:  # nothing but white space and comments
        return Page("", "", False)
    title = next((one_line("".join(node.itertext())) for node in root.iter("title")), "")
    etree.strip_elements(root, *_NOT_CONTENT, with_tail=False)
    walker = _Walker(text, outline or Outline(), chapter, above)
    walker.walk(root)
    return Page(title, walker.first_heading, walker.has_text)


def _open_and_close(tag: re.Match[str]) -> str:
    name, attributes = tag[1], tag[2] or ""
    return tag[0] if name.lower() in _VOID else f"<{name}{attributes}></{name}>"


class _Walker:
    """Walks the tree without recursion (hostile pages nest 2,000 deep) and collects blocks."""

    def __init__(self, text: TextBuilder, outline: Outline, chapter: str, above: tuple[str, ...]) -> None:
        self.first_heading = ""
        self.has_text = False
        self._text = text
        self._outline = outline
        self._chapter = chapter
        self._above = above
        self._inline: list[str] = []  # text since the last block began or ended
        self._whole: etree._Element | None = None  # the heading or cell that is open: nothing inside ends it
        self._listing: etree._Element | None = None  # the <pre> that is open
        self._table: etree._Element | None = None  # the table of data that is open
        self._rows: list[list[str]] = []
        self._bullet = False  # the next text opens a list item
        self._after_item = False

    def walk(self, root: etree._Element) -> None:
        for event, node in etree.iterwalk(root, events=("start", "end")):
            if event == "start":
                self._start(node)
                self._inline.append(node.text or "")
            else:
                self._end(node)
                self._inline.append(node.tail or "")
        self._flush()

    def _start(self, node: etree._Element) -> None:
        tag = node.tag
        if tag == "br":
            self._inline.append("\u2028")  # not white space to `_paragraph`; `clean` makes it a newline
        elif self._whole is not None or self._listing is not None:
            self._inline.append(" " if tag in _BLOCKS and self._listing is None else "")
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._flush()
            if tag in _HEADINGS or (tag in ("td", "th") and self._table is not None):
                self._whole = node
            elif tag == "pre":
                self._listing = node
            elif tag == "li":
                self._bullet = True
            elif tag == "table" and next(node.iterdescendants(*_LAYOUT_SIGNS), None) is None:
                self._table, self._rows = node, []
            elif tag == "tr":
                self._rows.append([])

    def _end(self, node: etree._Element) -> None:
        tag = node.tag
        if node is self._whole:
            self._whole = None
            if tag in _HEADINGS:
                self._heading(_HEADINGS[tag])
            else:
                if not self._rows:
                    self._rows.append([])
                self._rows[-1].append(one_line(self._take()))
        elif node is self._listing:
            self._flush("code")
            self._listing = None
        elif self._whole is not None or self._listing is not None:
            self._inline.append(("\n" if self._listing is not None else " ") if tag in _BLOCKS else "")
        elif tag in _BLOCKS:
            self._flush()
            if tag == "li":
                self._bullet = False
            elif node is self._table:
                self._table = None
                self._add("\n".join(" | ".join(row) for row in self._rows if any(row)), "table")

    def _take(self) -> str:
        taken = "".join(self._inline)
        self._inline.clear()
        return taken

    def _heading(self, level: int) -> None:
        words = one_line(self._take())
        if not words:
            return
        if level == 1:
            self.first_heading = self.first_heading or words
        self._outline.enter(level, words)
        self._add(words, "heading")

    def _flush(self, kind: BlockKind = "text") -> None:
        text = self._take()
        if kind == "text":
            text = _SPACE.sub(" ", text)
            text = _AROUND_BREAK.sub("\u2028", text).strip(" \u2028")
        if text:
            bullet = self._bullet and kind == "text"
            self._add(
                "- " + text if bullet else text, kind, gap="\n" if bullet and self._after_item else "\n\n"
            )
            self._bullet, self._after_item = False, bullet

    def _add(self, text: str, kind: BlockKind, *, gap: str = "\n\n") -> None:
        if not text.strip():
            return
        if self._chapter and not self.has_text and kind != "heading":
            self._outline.enter(1, self._chapter)
            self._text.add(self._chapter, "heading", heading=self._path)
        self._text.add(text, kind, heading=self._path, gap=gap)
        self.has_text = True
        self._after_item = False

    @property
    def _path(self) -> tuple[str, ...]:
        return self._above + self._outline.path


_SPACE = re.compile(r"[ \t\n\r\f]+")
_AROUND_BREAK = re.compile(" ?\u2028 ?")
