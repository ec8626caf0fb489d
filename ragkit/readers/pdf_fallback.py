"""PDF by pypdf, for what PDFium does not take: slower, but it mends other kinds of damage."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from ragkit.errors import BrokenFile, EncryptedFile, TruncatedFile
from ragkit.readers.base import clean

if TYPE_CHECKING:  # it takes a third of a second, and hardly any file needs it
    from pypdf import PdfReader

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of each thing that it mends

_TAIL_BYTES = 2048  # some servers and mailers append a little behind the end


class Fallback:
    """The same document once more, opened when it is first asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._reader: PdfReader | None = None
        self._pages: int | None = None  # 0 where it cannot be opened either

    def pages(self) -> int:
        """Open the document and count; BrokenFile, TruncatedFile or EncryptedFile if that fails."""
        from pypdf import PdfReader

        try:
            reader = PdfReader(io.BytesIO(self._data), strict=False)
            if reader.is_encrypted and not reader.decrypt(""):
                raise locked()
            self._reader, self._pages = reader, len(reader.pages)
        except (MemoryError, EncryptedFile):
            raise
        except Exception as error:  # on damage pypdf fails with whatever Python raises
            raise damaged(self._data) from error
        return self._pages

    def text(self, index: int, *, of: int) -> str | None:
        """The text of a page, or None: that page fails, or there are not `of` pages, so that it may be another."""
        if self._pages is None:
            try:
                self.pages()
            except (BrokenFile, TruncatedFile, EncryptedFile):
                self._pages = 0
        if self._reader is None or self._pages != of:
            return None
        try:
            return clean(self._reader.pages[index].extract_text())
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - as above; the page is then named as one without text
            return None


def locked() -> EncryptedFile:
    """The error for a PDF that a password keeps shut; one that only its owner may change opens without."""
    return EncryptedFile(
        "The file is protected by a password.",
        "Remove the password and add it again. For example: qpdf --decrypt --password=... locked.pdf open.pdf",
    )


def damaged(data: bytes) -> BrokenFile | TruncatedFile:
    """The error for a PDF that nothing opens: its end is missing, or it is damaged in another way.

    It begins as the page tells it in English, by its code.
    """
    if b"%%EOF" not in data[-_TAIL_BYTES:]:
        return TruncatedFile(
            "The end of the file is missing.",
            "Copy or download it again. Often what is there can be saved: qpdf broken.pdf repaired.pdf",
        )
    return BrokenFile(
        "The file is damaged.",
        "Open it in its own program, save it anew, add it again. Often this repairs it: qpdf broken.pdf repaired.pdf",
    )
