"""HTML: the text that a browser would show, with the headings, lists, tables and listings in it."""

from __future__ import annotations

import re

from lxml import etree

from ragkit.errors import EmptyFile
from ragkit.readers.base import Outline, TextBuilder, decode, one_line
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
# What browsers take these names for: the larger set that real pages are written in. Only names from here
# are believed; Python knows codecs ("unicode_escape", "idna") that no page may choose.
_LABELS = {
    "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "big5": "big5hkscs", "big5-hkscs": "big5hkscs",
    "shift_jis": "cp932", "euc-jp": "euc_jp", "euc-kr": "cp949", "iso-8859-1": "cp1252", "us-ascii": "cp1252",
    "koi8-r": "koi8-r",
    **{f"windows-125{n}": f"cp125{n}" for n in range(9)},
    **{f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 5, 7, 9, 15)},
}  # fmt: skip


def parse(data: bytes) -> Parsed:
    """Read a page; its title is that of its head, else its first top heading."""
    declared = _DECLARED.search(data, 0, 2048)
    label = declared[1].decode("ascii").lower() if declared else ""
    text, encoding = decode(data, declared=_LABELS.get(label, ""))
    if not text.strip():
        raise EmptyFile("There is no text in this file, only white space.")
    # As bytes, because lxml takes no str with an encoding declaration in it.
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(text.encode("utf-8"), parser)
    page = _Page()
    title = ""
    if root is not None:  # nothing but white space and comments
        title = next((one_line("".join(node.itertext())) for node in root.iter("title")), "")
        etree.strip_elements(root, *_NOT_CONTENT, with_tail=False)
        page.walk(root)
    return page.text.build(title=title or page.first_heading, encoding=encoding, hint_if_empty=_HINT)


_HINT = "If the page builds its text with JavaScript, save it from the browser, or print it to PDF."


class _Page:
    """Walks the tree without recursion (hostile pages nest 2,000 deep) and collects blocks."""

    def __init__(self) -> None:
        self.text = TextBuilder()
        self.first_heading = ""
        self._outline = Outline()
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
        self.text.add(text, kind, heading=self._outline.path, gap=gap)
        self._after_item = False


_SPACE = re.compile(r"[ \t\n\r\f]+")
_AROUND_BREAK = re.compile(" ?\u2028 ?")
