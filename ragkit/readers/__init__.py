"""Files to text with exact offsets. `read` parses in this process; `client.ReaderProcess` in one that can be killed.

Light to import: a parser library is loaded with the first file of its format.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePath
from typing import Literal

from ragkit.errors import EmptyFile, FileTooLarge, FileVanished, UnsupportedFile
from ragkit.readers.base import MAX_BYTES
from ragkit.schema import Parsed

READERS_VERSION = 2
"""Raise it when any reader's text or blocks change: files are then read again."""

FORMATS: dict[str, str] = {  # ending -> the module that reads it
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "plain",
    ".text": "plain",
    ".log": "plain",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".ipynb": "ipynb",
}


def page_kind(source: str) -> Literal["page", "slide", "sheet"]:
    """What the page numbers of a document count."""
    suffix = PurePath(source).suffix.lower()
    return "slide" if suffix == ".pptx" else "sheet" if suffix == ".xlsx" else "page"


def supported(name: str) -> bool:
    """Tell by its name whether a file can be read. Office's lock files and macOS's shadow files cannot."""
    return PurePath(name).suffix.lower() in FORMATS and not PurePath(name).name.startswith(("~$", "._"))


def unsupported(name: str) -> UnsupportedFile:
    """The error for a file that no reader is there for."""
    suffix = PurePath(name).suffix.lower()
    return UnsupportedFile(
        f"Files of the kind {suffix or '(no extension)'} are not read.", "Supported: " + " ".join(FORMATS)
    )


def read(path: Path, *, name: str | None = None) -> Parsed:
    """Parse a file; raise only ReadError. `name` tells the format where `path` has no telling suffix.

    Not thread-safe for PDF, because PDFium is not.
    """
    suffix = PurePath(name or path.name).suffix.lower()
    if suffix not in FORMATS:
        raise unsupported(name or path.name)
    data = _load(path)
    if not data:
        raise EmptyFile("The file is empty (0 bytes).")
    return _parser(FORMATS[suffix])(data)


def _load(path: Path) -> bytes:
    """Read the whole file at once: a parser that maps or streams it would see it change underneath."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would block or never end
            raise UnsupportedFile("This is not a regular file.")
        if status.st_size > MAX_BYTES:
            raise FileTooLarge(
                f"The file has {status.st_size / 1e6:.0f} MB; the limit is {MAX_BYTES / 1e6:.0f} MB.",
                "Split it into smaller files.",
            )
        return path.read_bytes()
    except OSError as error:
        raise FileVanished(
            f"The file cannot be opened: {error.strerror or error}.",
            "Check that it still exists and that you may read it.",
        ) from error


def _parser(format_name: str) -> Callable[[bytes], Parsed]:
    parse: Callable[[bytes], Parsed] = import_module(f"ragkit.readers.{format_name}").parse
    return parse
