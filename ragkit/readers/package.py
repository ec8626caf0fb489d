"""ZIP packages (Office files, e-books): opened only after a look at what they are and what they unpack to."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

from ragkit.errors import (
    BrokenFile,
    EncryptedFile,
    FileTooLarge,
    MislabelledFile,
    ReadError,
    TruncatedFile,
    UnsupportedFile,
)
from ragkit.readers.base import looks_like

_MAX_UNPACKED_BYTES = 400_000_000
_MAX_RATIO = 100  # what deflate makes of real XML stays under 50
_RATIO_COUNTS_FROM_BYTES = 50_000_000
_MAX_MEMBERS = 100_000

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_DIRECTORY_END = b"PK\x05\x06"
_DIRECTORY_END_WITHIN = 22 + 65_535  # bytes from the end: the record and the longest comment

# The streams of the old formats, and what to save them as.
_OLD_FORMATS = (
    ("WordDocument", "an old Word document (.doc)", ".docx"),
    ("PowerPoint Document", "an old PowerPoint presentation (.ppt)", ".pptx"),
    ("Workbook", "an old Excel workbook (.xls)", ".xlsx"),
    ("Book", "a very old Excel workbook (.xls)", ".xlsx"),
)
# What [Content_Types].xml says of the main part. Excel and PowerPoint files with macros are read like those
# without; python-docx opens no other than .docx.
_MAIN_PARTS = (
    (rb"wordprocessingml\.document\.main", "a Word document (.docx)"),
    (rb"wordprocessingml\.template\.main|ms-word\.\w+\.macroEnabled", "a Word template or macro document"),
    (rb"presentationml\.presentation\.main|presentation\.macroEnabled", "a PowerPoint presentation (.pptx)"),
    (rb"presentationml\.\w+\.main|ms-powerpoint\.\w+\.macroEnabled", "a PowerPoint show or template"),
    (rb"spreadsheetml\.(?:sheet|template)\.main|ms-excel\.\w+\.macroEnabled\.main", "an Excel workbook (.xlsx)"),
    (rb"ms-excel\.sheet\.binary", "a binary Excel workbook (.xlsb)"),
    (rb"vnd\.ms-visio", "a Visio drawing (.vsdx)"),
)  # fmt: skip
_MIMETYPES = {
    b"application/epub+zip": "an e-book (.epub)",
    b"application/vnd.oasis.opendocument.text": "an OpenDocument text (.odt)",
    b"application/vnd.oasis.opendocument.spreadsheet": "an OpenDocument spreadsheet (.ods)",
    b"application/vnd.oasis.opendocument.presentation": "an OpenDocument presentation (.odp)",
}
_FOLDERS = {"word/": _MAIN_PARTS[0][1], "ppt/": _MAIN_PARTS[2][1], "xl/": _MAIN_PARTS[4][1]}

_ARCHIVE = "a ZIP archive"
_READ_HERE = (".docx", ".pptx", ".xlsx", ".epub")

_SAVE_AGAIN = "Open it in the program that it is from and save it again, or fetch a fresh copy."
_SAVE_AS = "Open it in Office or LibreOffice and save it as {}."
_RENAME = "Give it the right file extension."


def open_package(data: bytes, expected: str, *, strict: bool = False) -> zipfile.ZipFile:
    """Open a package without unpacking anything big. `expected` names what it should be, with the file
    ending in it: "a Word document (.docx)". `strict` tells that the reader knows Strict Open XML, too.

    Raises a ReadError that says what the file is instead, or what is wrong with it.
    """
    if data.startswith(_OLE):
        raise _old_office(data, expected)
    if not data.startswith(b"PK") or data.startswith(_DIRECTORY_END):
        raise _no_package(data, expected)
    try:
        package = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        end = data.rfind(_DIRECTORY_END, max(0, len(data) - _DIRECTORY_END_WITHIN))
        if end < 0 or len(data) < end + 22:
            raise TruncatedFile(
                "This file is cut off: its end, where its parts are listed, is missing.",
                "Fetch or copy it again.",
            ) from error
        raise BrokenFile(f"This file is damaged: {error}.", _SAVE_AGAIN) from error
    try:
        _check_sizes(package, len(data))
        kind = _kind(package)
        if kind and not _is(kind, expected):
            ending = re.search(r"\.\w+", expected)
            is_read = kind == _ARCHIVE or any(_is(kind, other) for other in _READ_HERE)
            hint = _RENAME if is_read or ending is None else _SAVE_AS.format(ending[0])
            raise MislabelledFile(f"This is not {expected} but {kind}.", hint)
        if not strict:
            _refuse_strict(package)
    except BaseException:
        package.close()
        raise
    return package


def _check_sizes(package: zipfile.ZipFile, packed: int) -> None:
    """Refuse a bomb by what its directory declares; zipfile unpacks no more of a part than that."""
    members = package.infolist()
    unpacked = sum(member.file_size for member in members)
    is_bomb = unpacked > _RATIO_COUNTS_FROM_BYTES and unpacked > _MAX_RATIO * packed
    if is_bomb or unpacked > _MAX_UNPACKED_BYTES:
        raise FileTooLarge(
            f"This file unpacks from {packed / 1e6:.1f} MB to {unpacked / 1e6:.0f} MB.",
            "If you trust it, save it again without its pictures, or as several documents.",
        )
    if len(members) > _MAX_MEMBERS:
        raise FileTooLarge(f"This file is made of {len(members)} parts.", "Save it as several documents.")
    if any(member.flag_bits & 1 for member in members):
        raise _encrypted()


def _kind(package: zipfile.ZipFile) -> str:
    """What the package says that it is; "" if it says nothing that is known here."""
    names = set(package.namelist())
    if "mimetype" in names:
        declared = _part(package, "mimetype").strip()
        if declared in _MIMETYPES:
            return _MIMETYPES[declared]
    if "[Content_Types].xml" in names:
        types = _part(package, "[Content_Types].xml")
        return next((kind for sign, kind in _MAIN_PARTS if re.search(sign, types)), "")
    if "META-INF/container.xml" in names:
        return _MIMETYPES[b"application/epub+zip"]
    folder = next((name[: name.find("/") + 1] for name in names if name.split("/")[0] + "/" in _FOLDERS), "")
    return _FOLDERS.get(folder, _ARCHIVE)


def _refuse_strict(package: zipfile.ZipFile) -> None:
    """Refuse the standard's strict form: the libraries do not know its names and would find nothing."""
    if "_rels/.rels" in package.namelist() and b"purl.oclc.org/ooxml" in _part(package, "_rels/.rels"):
        raise UnsupportedFile(
            "This file is in the rare form “Strict Open XML”.",
            "Open it in Office or LibreOffice and save it in the ordinary form, without “Strict” in its name.",
        )


def _part(package: zipfile.ZipFile, name: str) -> bytes:
    try:
        return package.read(name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise BrokenFile(f"This file is damaged: {error}", _SAVE_AGAIN) from error


def _is(kind: str, expected: str) -> bool:
    ending = re.search(r"\((\.\w+)\)", kind)
    return ending is not None and ending[1].strip(".") in expected.lower()


def _encrypted() -> EncryptedFile:
    return EncryptedFile(
        "This file is protected by a password.", "Save a copy without the password and add that."
    )


def _old_office(data: bytes, expected: str) -> ReadError:
    """Name what stands in an OLE container: an encrypted package, or a file of before 2007."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return _encrypted()
    for stream, kind, ending in _OLD_FORMATS:
        if (stream + "\0").encode("utf-16-le") in data:
            return MislabelledFile(f"This is not {expected} but {kind}.", _SAVE_AS.format(ending))
    return MislabelledFile(
        f"This is not {expected} but an old Office file (.doc, .xls, .ppt).",
        _SAVE_AS.format(".docx, .xlsx or .pptx"),
    )


def _no_package(data: bytes, expected: str) -> ReadError:
    if _ZIP.startswith(data):
        return TruncatedFile("This file is cut off after its first bytes.", "Fetch or copy it again.")
    kind = "an empty ZIP archive" if data.startswith(_DIRECTORY_END) else looks_like(data)
    # Reports that a web page offers "for Excel" are often a table in HTML or plain text.
    if not kind and not re.search(rb"[\x00-\x08\x0e-\x1a]", data[:4096]):
        kind = "a text file"
    if kind:
        return MislabelledFile(f"This is not {expected} but {kind}.", _RENAME)
    return BrokenFile(f"This is not {expected}, or it is damaged.", _SAVE_AGAIN)
