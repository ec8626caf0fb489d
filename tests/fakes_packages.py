"""E-books and e-mails, made on the spot."""

from __future__ import annotations

import io
import zipfile

CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
    '<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
XHTML = (
    '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" '
    'xmlns:epub="http://www.idpf.org/2007/ops"><head><title/></head><body>{}</body></html>'
)
NAV = XHTML.format(
    '<nav epub:type="landmarks"><ol><li><a href="c1.xhtml">Start</a></li></ol></nav>'
    '<nav epub:type="toc"><ol><li><span>上卷</span><ol><li><a href="c1.xhtml">第一章 出发</a></li></ol></li>'
    '<li><a href="c%202.xhtml#top">Chapter Two</a></li></ol></nav>'
)
NCX = (
    '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>上卷</text></navLabel>'
    '<content src="nowhere.xhtml"/><navPoint><navLabel><text>第一章 出发</text></navLabel><content src="c1.xhtml"/>'
    "</navPoint></navPoint><navPoint><navLabel><text>Chapter Two</text></navLabel>"
    '<content src="c%202.xhtml#top"/></navPoint></navMap></ncx>'
)
PAGES = {
    "c1.xhtml": "<p>他出发了。</p><p>天很冷。</p>",
    "c1b.xhtml": "<p>The chapter goes on.</p>",
    "c 2.xhtml": "<h2>Two of them</h2><p>They met.</p>",
}


def package(parts: dict[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def book(
    pages: dict[str, str] | None = None,
    *,
    title: str = "远行",
    contents: str = "nav",
    extra: dict[str, str | bytes] | None = None,
) -> bytes:
    """A book of these pages with a table of contents of EPUB 3 ("nav") or EPUB 2 ("ncx")."""
    pages = PAGES if pages is None else pages
    items = "".join(
        f'<item id="p{n}" href="{name.replace(" ", "%20")}" media-type="application/xhtml+xml"/>'
        for n, name in enumerate(pages)
    )
    if contents == "nav":
        items += '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    else:
        items += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    refs = '<itemref idref="nav"/>' + "".join(f'<itemref idref="p{n}"/>' for n in range(len(pages)))
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{refs}</spine></package>"
    )
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": opf,
        "OEBPS/nav.xhtml": NAV,
        "OEBPS/toc.ncx": NCX,
    }
    parts |= {f"OEBPS/{name}": XHTML.format(page) for name, page in pages.items()}
    return package(parts | (extra or {}))


def mail(body: str | bytes = "Hello.", *, subject: str = "Greetings", **headers: str) -> bytes:
    """A message whose headers and body are written as they are given."""
    lines = {"From": "Ann <ann@example.org>", "To": "bob@example.org", "Subject": subject}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return head.encode("utf-8") + b"\r\n" + (body.encode() if isinstance(body, str) else body)


def multipart(
    *parts: tuple[str, str | bytes], kind: str = "mixed", boundary: str = "B"
) -> dict[str, str | bytes]:
    """The body and the content type of a message out of parts: (headers, content)."""
    body = b""
    for headers, content in parts:
        body += f"--{boundary}\r\n{headers}\r\n\r\n".encode() + (
            content.encode() if isinstance(content, str) else content
        )
        body += b"\r\n"
    return {
        "body": body + f"--{boundary}--\r\n".encode(),
        "Content_Type": f'multipart/{kind}; boundary="{boundary}"',
    }
