"""What a file really is, by its first bytes, whatever its name says. Knows no parser."""

from __future__ import annotations

import re
from typing import NamedTuple

from ragkit.errors import BrokenFile, EncryptedFile, MislabelledFile


class Kind(NamedTuple):
    """A kind of file: in words, and the ending that its name should have ("" where there are several)."""

    words: str
    ending: str = ""


_IMAGE, _PROGRAM, _ARCHIVE, _SOUND = "an image", "a program", "an archive", "a sound or a film"
_MAGIC = (
    (rb"%PDF-", Kind("a PDF", ".pdf")),
    (rb"\{\\rtf", Kind("an RTF file", ".rtf")),
    (rb"\x89PNG", Kind(_IMAGE, ".png")),
    (rb"\xff\xd8\xff", Kind(_IMAGE, ".jpg")),
    (rb"GIF8[79]a.{0,16}[\0\x80-\xff]", Kind(_IMAGE, ".gif")),
    (rb"RIFF....WEBP", Kind(_IMAGE, ".webp")),
    (rb"II\*\0|MM\0\*", Kind(_IMAGE, ".tif")),
    (rb"BM....\0\0\0\0", Kind(_IMAGE, ".bmp")),
    (rb"\x7fELF", Kind(_PROGRAM)),
    (rb"MZ.{30,64}\0\0", Kind(_PROGRAM, ".exe")),
    (rb"\xca\xfe\xba\xbe\0|\xcf\xfa\xed\xfe\x07", Kind(_PROGRAM)),
    (rb"SQLite format 3\0", Kind("a SQLite database", ".sqlite")),
    (rb"\x1f\x8b\x08", Kind(_ARCHIVE, ".gz")),
    (rb"BZh[1-9]1AY&SY", Kind(_ARCHIVE, ".bz2")),
    (rb"\xfd7zXZ\0", Kind(_ARCHIVE, ".xz")),
    (rb"\x28\xb5\x2f\xfd", Kind(_ARCHIVE, ".zst")),
    (rb"7z\xbc\xaf\x27\x1c", Kind(_ARCHIVE, ".7z")),
    (rb"Rar!\x1a\x07", Kind(_ARCHIVE, ".rar")),
    (rb"ID3[\x02-\x04]|\xff\xfb", Kind(_SOUND, ".mp3")),
    (rb"\0...ftyp", Kind(_SOUND, ".mp4")),
    (rb"OggS\0", Kind(_SOUND, ".ogg")),
    (rb"RIFF....(?:WAVE|AVI )", Kind(_SOUND)),
)
# Parts that stand in every package of a kind. Their names are not compressed.
_PACKAGES = (
    (b"application/epub+zip", Kind("an EPUB book", ".epub")),
    (b"word/document.xml", Kind("a Word document", ".docx")),
    (b"xl/workbook.xml", Kind("an Excel workbook", ".xlsx")),
    (b"ppt/presentation.xml", Kind("a PowerPoint presentation", ".pptx")),
)
_OLD_OFFICE = (
    ("WordDocument", Kind("an old Word document", ".doc")),
    ("Workbook", Kind("an old Excel workbook", ".xls")),
    ("PowerPoint Document", Kind("an old PowerPoint presentation", ".ppt")),
)
_NEWER = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pptx", ".rtf": ".docx"}

_PATTERNS = tuple((re.compile(magic, re.S), kind) for magic, kind in _MAGIC)
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)\b", re.I)
_NOT_IN_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x7f]")


def kind_of(data: bytes) -> Kind | None:
    """Tell the kind of a file that is no text; None for text, and for what is not known."""
    if data.startswith(b"PK\x03\x04"):
        names = data[:4096] + data[-65536:]
        return next((kind for part, kind in _PACKAGES if part in names), Kind("a ZIP archive", ".zip"))
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        streams = ((name.encode("utf-16-le"), kind) for name, kind in _OLD_OFFICE)
        return next((kind for name, kind in streams if name in data), Kind("an old Office file"))
    return next((kind for pattern, kind in _PATTERNS if pattern.match(data)), None)


def looks_like(data: bytes) -> str:
    """Name the kind of file that `data` begins like, or "" if it may be text."""
    kind = kind_of(data)
    return kind.words if kind else ""


def mislabelled(data: bytes, expected: str) -> MislabelledFile | BrokenFile | EncryptedFile:
    """The error for a file whose content is not `expected`, what its name says: what it is instead, or that
    it is damaged."""
    if data.startswith(b"\xd0\xcf\x11\xe0") and "EncryptedPackage".encode("utf-16-le") in data:
        return EncryptedFile(
            "This is an Office file that is protected by a password.",
            "Save a copy without the password and add that.",
        )
    kind = kind_of(data) or _text_kind(data)
    if kind is None:
        return BrokenFile(
            f"This is not {expected}, or it is damaged.", "Open and save it again, or fetch a fresh copy."
        )
    if newer := _NEWER.get(kind.ending):
        hint = f"Open it in Office or LibreOffice and save it as {newer}."
    elif kind.ending:
        hint = f"Let its name end in {kind.ending}, or add the right file."
    else:
        hint = "Files of this kind are not read: export the text from the program that made it."
    return MislabelledFile(f"This is not {expected} but {kind.words}{_in_brackets(kind.ending)}.", hint)


def _in_brackets(ending: str) -> str:
    return f" ({ending})" if ending else ""


def _text_kind(data: bytes) -> Kind | None:
    head = data[:4096]
    if _HTML.match(head):  # the web server's "not found", saved under the document's name
        return Kind("an HTML page", ".html")
    if not head.strip() or _NOT_IN_TEXT.search(head):
        return None
    try:
        head[:-4].decode("utf-8") if len(data) > len(head) else head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return None
    return Kind("a text file", ".txt")
