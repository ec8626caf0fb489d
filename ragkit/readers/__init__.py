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
from ragkit.schema import PageImage, Parsed

READERS_VERSION = 2
"""Raise it when any reader's text or blocks change: files are then read again."""

FORMATS: dict[str, str] = {  # ending -> the module that reads it; the first of a module stands for it
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "plain",
    ".text": "plain",
    ".log": "plain",
    ".adoc": "plain",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
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
    ".epub": "epub",
    ".eml": "eml",
    ".rst": "rst",
    ".tex": "tex",
    ".org": "org",
    **dict.fromkeys(
        # Languages
        ".py .pyi .pyx .js .mjs .cjs .jsx .ts .mts .cts .tsx .vue .svelte .java .kt .kts .scala .groovy .gradle .c .h "
        ".cpp .cxx .cc .hpp .hxx .hh .cu .cuh .m .mm .cs .fs .vb .go .rs .zig .nim .rb .php .swift .dart .lua .r .jl .pl "
        ".pm .ex .exs .erl .hs .ml .mli .clj .lisp .el .scm .f90 .f .for .pas .d .v .sv .vhd .asm .s .sol .sh .bash .zsh "
        ".fish .ps1 .bat .cmd .awk .sql .graphql .gql .proto .thrift .cmake .mk .dockerfile .tf .nix "
        # Pages and settings
        ".css .scss .sass .less .xml .xsd .xsl .toml .ini .cfg .conf .properties .yaml .yml .json5 .jsonc .bib .po "
        ".diff .patch .vim".split(),
        "code",
    ),
}

NAMES: dict[str, str] = {  # names without an ending, in lower case -> the module that reads them
    **dict.fromkeys(
        "readme license licence copying notice copyright authors contributors changelog changes history news install "
        "todo 自述 说明 許可證 许可证".split(),
        "plain",
    ),
    **dict.fromkeys(
        "makefile gnumakefile dockerfile containerfile jenkinsfile vagrantfile procfile gemfile rakefile justfile "
        "brewfile podfile".split(),
        "code",
    ),
}


def page_kind(source: str) -> Literal["page", "slide", "sheet"]:
    """What the page numbers of a document count."""
    suffix = PurePath(source).suffix.lower()
    return "slide" if suffix == ".pptx" else "sheet" if suffix == ".xlsx" else "page"


def supported(name: str) -> bool:
    """Tell by its name alone whether the scan of a folder takes a file.

    Without an ending only well-known names are taken, because a scan must not open every file; `read` reads
    any other file without an ending, too, if it holds text. Hidden files, Office's lock files ("~$") and
    macOS's shadow files ("._") are left out.
    """
    return not name.startswith((".", "~$")) and _format_of(name) is not None


def _format_of(name: str) -> str | None:
    suffix = PurePath(name).suffix.lower()
    return FORMATS.get(suffix) if suffix else NAMES.get(name.lower())


def shown_formats() -> list[str]:
    """One ending for each format, for lists that people read."""
    return list({module: ending for ending, module in reversed(FORMATS.items())}.values())[::-1]


def unsupported(name: str) -> UnsupportedFile:
    """The error for a file that no reader is there for."""
    suffix = PurePath(name).suffix.lower()
    return UnsupportedFile(
        f"Files of the kind {suffix or '(no extension)'} are not read.",
        "Supported: " + " ".join(shown_formats()),
    )


def read(path: Path, *, name: str | None = None) -> Parsed:
    """Parse a file; raise only ReadError. `name` tells the format where `path` has no telling suffix.

    A name without an ending is read as text. Not thread-safe for PDF, because PDFium is not.
    """
    name = PurePath(name or path.name).name
    suffix = PurePath(name).suffix.lower()
    format_name = _format_of(name) or ("" if suffix else "plain")
    if not format_name:
        raise unsupported(name)
    data = _load(path)
    if not data:
        raise EmptyFile("The file is empty (0 bytes).", "Check that it was saved, and add it again.")
    return _parser(format_name)(data)


def draw_page(path: Path, number: int, width: int) -> PageImage:
    """Draw page `number` (1-based) of a PDF, `width` pixels wide; raise only ReadError."""
    from ragkit.readers import pdf_page

    return pdf_page.render(_load(path), number, width)


def _load(path: Path) -> bytes:
    """Read the whole file at once: a parser that maps or streams it would see it change underneath."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would block or never end
            raise UnsupportedFile("This is not a regular file.", "Copy what it holds into one.")
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
