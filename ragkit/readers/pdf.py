"""PDF by PDFium: the text of each page as PDFium gives it, pages joined by a blank line.

Only newlines are normalised. Where a word was broken at a line's end PDFium has already joined it and left
a marker (U+FFFE) for the hyphen; `clean` drops it.
"""

from __future__ import annotations

import re

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ragkit.errors import BrokenFile, EmptyFile, EncryptedFile
from ragkit.readers.base import check_length, clean, mislabelled, one_line, paragraphs
from ragkit.schema import Block, Parsed

_GAP = "\n\n"
# Titles that a program left there, not an author.
_NOT_A_TITLE = re.compile(
    r"(?:untitled|unknown|none|title|document\d*|(?:microsoft|powerpoint) .*|.*\.(?:docx?|pdf|pptx?|xlsx?|tex|dvi|indd|rtf))$",
    re.I,
)


def parse(data: bytes) -> Parsed:
    """Read a PDF; the blocks carry their page."""
    # PDFium looks for the header in the first 1,024 bytes, too.
    if b"%PDF-" not in data[:1024]:
        raise mislabelled(data, "a PDF")
    try:
        with pdfium.PdfDocument(data) as document:
            pages = _page_texts(document)
            title = _title(document)
    except pdfium.PdfiumError as error:
        raise _explain(error) from error
    blocks: list[Block] = []
    start = 0
    for number, page in enumerate(pages, start=1):
        end = start + len(page)
        blocks += (Block(start + low, start + high, page=number) for low, high in paragraphs(page))
        start = end + len(_GAP)
    if not blocks:
        raise EmptyFile(
            f"There is no text on any of the pages ({len(pages)}): this PDF is probably a scan.",
            "Recognise its text (OCR) first, for example: ocrmypdf scan.pdf text.pdf",
        )
    return Parsed(_GAP.join(pages), tuple(blocks), title, pages=len(pages))


def _page_texts(document: pdfium.PdfDocument) -> list[str]:
    texts = []
    chars = 0
    for index in range(len(document)):
        page = document[index]
        textpage = page.get_textpage()
        # A pair of surrogates comes as one character; a lone one is dropped by `clean`.
        text = clean(textpage.get_text_range(errors="surrogatepass"))
        textpage.close()
        page.close()
        chars += len(text) + len(_GAP)
        check_length(chars)
        texts.append(text)
    return texts


def _title(document: pdfium.PdfDocument) -> str:
    title = one_line(document.get_metadata_value("Title"))
    return "" if not 2 <= len(title) <= 200 or "\ufffd" in title or _NOT_A_TITLE.match(title) else title


def _explain(error: pdfium.PdfiumError) -> BrokenFile | EncryptedFile:
    if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
        return EncryptedFile(
            "This PDF is protected by a password.",
            "Save a copy without the password and add that, for example: "
            "qpdf --decrypt --password=... locked.pdf open.pdf",
        )
    return BrokenFile(
        "This PDF is damaged or cut off: "
        + str(error).removeprefix("Failed to load document ").strip("() ."),
        "Fetch or export it again; often this repairs it: qpdf broken.pdf repaired.pdf",
    )
