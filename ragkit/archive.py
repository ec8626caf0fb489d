"""ZIP archives as folders: which files that can be read are in one, and their bytes.

It runs in the process that holds the library, so nothing that an archive says of itself is trusted: names
are made safe, sizes are counted while unpacking, and what only a bomb does is refused. An inner archive or
a file that cannot be had is a member all the same, and taking it out says why.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Self

from ragkit.errors import EmptyFile, EncryptedFile, FileTooLarge, FileVanished, ReadError, UnsupportedFile
from ragkit.readers import FORMATS, supported
from ragkit.readers.base import MAX_BYTES
from ragkit.readers.zip_file import decoded_names, is_plain_file, mtime_ns, open_zip, pieces, safe_path

MAX_MEMBERS = 10_000  # a folder of documents has some thousands; each one is a row of the library
MAX_DEPTH = 3  # archives within archives: deeper ones are made to nest for ever
MAX_UNPACKED_BYTES = 2_000_000_000  # all members together
MAX_NESTED = 100  # inner archives; each is unpacked to be looked into,
MAX_NESTED_BYTES = 400_000_000  # which takes some seconds for this much
MAX_RATIO = 100  # deflate makes text 3 to 50 times smaller, a bomb 1,000 times
RATIO_COUNTS_FROM_BYTES = 50_000_000  # below this the ratio does not matter
_IN_MEMORY_BYTES = 1_000_000  # of an inner archive; a larger one goes to a temporary file


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. Its path is relative and safe; "inner.zip/a.md" lies in an inner archive."""

    path: str
    size_bytes: int  # as the archive says
    mtime_ns: int  # in the archive's own clock; below a second it tells of the content: see zip_file


def members(archive: Path) -> list[Member]:
    """List the files that can be read, from the archive's directory alone; raise only ReadError."""
    with Archive(archive) as opened:
        return list(opened.members)


def extract(archive: Path, member: str, target: Path) -> None:
    """Write the bytes of one member; for several of them keep an `Archive` open. ReadError, or OSError of `target`."""
    with Archive(archive) as opened:
        opened.extract(member, target)


@dataclass(frozen=True, slots=True)
class _Entry:
    member: Member
    zip: zipfile.ZipFile
    info: zipfile.ZipInfo
    error: ReadError | None  # why it cannot be had


class Archive:
    """An open archive, so that many members cost one look at its directory. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._count = 0
        self._nested = 0
        self._nested_bytes = 0
        self._open = ExitStack()
        try:
            self._entries = self._list(self._opened(path), "", depth=0)
            self._check_totals()
        except BaseException:
            self.close()
            raise

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(entry.member for entry in self._entries.values())

    def extract(self, member: str, target: Path) -> None:
        """Write the bytes of a member; ReadError if they cannot be had, OSError if they cannot be written."""
        entry = self._entries.get(member)
        if entry is None:
            raise FileVanished(f"{member} is no longer in the archive.")
        if entry.error is not None:
            raise entry.error
        try:
            with target.open("wb") as out:
                for piece in pieces(entry.zip, entry.info):
                    out.write(piece)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, path: Path) -> IO[bytes]:
        try:
            return self._open.enter_context(path.open("rb"))
        except OSError as error:
            raise FileVanished(
                f"The archive cannot be opened: {error.strerror or error}.",
                "Check that it still exists and that you may read it.",
            ) from error

    def _list(self, file: IO[bytes], prefix: str, *, depth: int) -> dict[str, _Entry]:
        """The members of an archive; of two with one name the later counts, as unzip does it."""
        opened = self._open.enter_context(open_zip(file))
        wanted = list(_wanted(opened))
        if wanted and all(_is_encrypted(info) for _, info in wanted):
            raise _encrypted("The archive is")
        self._count += len(wanted)
        if self._count > MAX_MEMBERS:
            self._count -= len(wanted)
            raise FileTooLarge(
                f"The archive holds more than {MAX_MEMBERS:,} files.", "Split it into smaller ones."
            )
        entries: dict[str, _Entry] = {}
        for path, info in wanted:
            error = _problem(info)
            if error is None and _is_zip(path):
                try:
                    entries |= self._look_into(opened, info, prefix + path, depth=depth + 1)
                    continue
                except ReadError as reason:
                    error = reason
            member = Member(prefix + path, info.file_size, mtime_ns(info))
            entries[member.path] = _Entry(member, opened, info, error)
        return entries

    def _look_into(
        self, opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, *, depth: int
    ) -> dict[str, _Entry]:
        """The members of an inner archive; ReadError says why there are none, and costs it alone."""
        if depth > MAX_DEPTH:
            raise FileTooLarge(f"Archives lie more than {MAX_DEPTH} deep in each other here.", _UNPACK)
        self._nested += 1
        self._nested_bytes += info.file_size
        if self._nested > MAX_NESTED or self._nested_bytes > MAX_NESTED_BYTES:
            raise FileTooLarge("There are too many or too large archives in the archive.", _UNPACK)
        file = self._open.enter_context(SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))  # noqa: SIM115
        for piece in pieces(opened, info):
            file.write(piece)
        return self._list(file, path + "/", depth=depth)

    def _check_totals(self) -> None:
        if not self._entries:
            raise EmptyFile(
                "There is no file in the archive that can be read.", "Supported: " + " ".join(FORMATS)
            )
        good = [entry.info for entry in self._entries.values() if entry.error is None]
        total, packed = sum(info.file_size for info in good), sum(info.compress_size for info in good)
        if total > MAX_UNPACKED_BYTES or _is_bomb(total, packed):
            raise FileTooLarge(
                f"Unpacked the archive would take {total / 1e6:,.0f} MB.", "Split it into smaller ones."
            )


_UNPACK = "Unpack it and add the files."


def _wanted(opened: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The files that can be read and the inner archives; no folders, links, hidden files, shadows of macOS."""
    infos = opened.infolist()
    for name, info in zip(decoded_names(infos), infos, strict=True):
        path = safe_path(name)
        if path is None or not is_plain_file(name, info):
            continue
        parts = PurePosixPath(path).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if supported(parts[-1]) or _is_zip(path):
            yield path, info


def _problem(info: zipfile.ZipInfo) -> ReadError | None:
    if _is_encrypted(info):
        return _encrypted("This file is")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return UnsupportedFile(  # the decoders of the others may take gigabytes
            "This file is packed by a method that is not read here.",
            "Pack the archive again as a plain ZIP (deflate).",
        )
    if info.file_size > MAX_BYTES or _is_bomb(info.file_size, info.compress_size):
        return FileTooLarge(
            f"Unpacked this file has {info.file_size / 1e6:,.0f} MB; the limit is {MAX_BYTES / 1e6:.0f} MB, "
            f"and {MAX_RATIO} times its packed size.",
            _UNPACK,
        )
    return None


def _is_bomb(size: int, packed: int) -> bool:
    return size > RATIO_COUNTS_FROM_BYTES and size > MAX_RATIO * packed


def _is_encrypted(info: zipfile.ZipInfo) -> bool:
    return bool(info.flag_bits & 0x1)


def _encrypted(subject: str) -> EncryptedFile:
    return EncryptedFile(f"{subject} protected by a password.", _UNPACK)


def _is_zip(path: str) -> bool:
    return path.lower().endswith(".zip")
