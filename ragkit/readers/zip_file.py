"""The ZIP format where it is not to be trusted: opening, names, times, and bytes that are counted."""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from calendar import timegm
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import IO

from ragkit.errors import BrokenFile, EmptyFile, FileTooLarge, FileVanished, TruncatedFile
from ragkit.readers.base import mislabelled

MAX_DIRECTORY_BYTES = (
    8_000_000  # 10,000 long Chinese paths take 3 MB; a hostile 8 MB cost a second and 100 MB
)
MAX_PATH_CHARS = 1_000

_PIECE_BYTES = 1 << 16
_HEADER_BYTES = 30  # of a file, before its name
_TAIL_BYTES = 22 + 0xFFFF  # the archive's end and the longest comment
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OverflowError)
_INVISIBLE = frozenset(["Cc", "Cs", "Zl", "Zp"])  # controls, lone surrogates, line separators
_DRIVE = re.compile("[A-Za-z]:")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def broken() -> BrokenFile:
    return BrokenFile("The archive is damaged.", "Fetch or pack it again.")


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """Read the directory of an archive; EmptyFile, MislabelledFile, TruncatedFile, BrokenFile or FileTooLarge."""
    file.seek(0)
    head = file.read(8)
    if not head:
        raise EmptyFile("The archive is empty (0 bytes).")
    try:
        opened = zipfile.ZipFile(_Guarded(file))
    except _DAMAGE as error:
        if not head.startswith(b"PK"):
            raise mislabelled(head, "a ZIP archive") from error
        if not _has_end(file):
            raise TruncatedFile(
                "The archive is cut off: its end is missing.", "Copy or download it again."
            ) from error
        raise broken() from error
    _check_places(opened)
    return opened


class _Guarded:
    """A file that gives no more at once than a directory may take: zipfile asks for what the archive claims."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1, /) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise FileTooLarge(
                "The list of files in this archive is too long.", "Split it into smaller archives."
            )
        return self._file.read(size if size >= 0 else MAX_DIRECTORY_BYTES)


def _has_end(file: IO[bytes]) -> bool:
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    return b"PK\x05\x06" in file.read(_TAIL_BYTES)


def _check_places(opened: zipfile.ZipFile) -> None:
    """Refuse files that lie over each other: a bomb lets thousands share one stretch of bytes."""
    places = sorted(
        (info.header_offset, info.header_offset + _HEADER_BYTES + len(_raw_name(info)) + info.compress_size)
        for info in opened.infolist()
    )
    places.append((opened.start_dir, opened.start_dir))
    if places[0][0] < 0 or any(end > start for (_, end), (start, _) in pairwise(places)):
        raise BrokenFile(
            "Files lie over each other in this archive: it is damaged, or made to do harm.",
            "Do not use it unless you trust where it comes from; then pack it again.",
        )


def pieces(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Unpack a member piece by piece; BrokenFile unless it has just the size and the checksum it should."""
    left = info.file_size
    try:
        with opened.open(info) as source:
            while piece := source.read(_PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
    except _DAMAGE as error:
        raise broken() from error
    except OSError as error:
        raise FileVanished(f"The archive cannot be read: {error.strerror or error}.") from error
    if left:
        raise broken()


def decoded_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The names of all members. Those not marked as UTF-8 are decoded alike: one program wrote them."""
    unmarked = [_raw_name(info) for info in infos if not _is_marked(info)]
    encoding = _encoding(b"\n".join(unmarked))
    return [info.orig_filename if _is_marked(info) else _raw_name(info).decode(encoding) for info in infos]


def _encoding(raw: bytes) -> str:
    """UTF-8 (macOS and Linux often do not mark it), GBK (Windows in Chinese), else what the format says."""
    for encoding in ("utf-8", "gb18030"):
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or not _is_western(raw):
            return encoding
    return "cp437"


def _is_western(raw: bytes) -> bool:
    """Tell accented letters of cp437 from GBK, of which many pairs of them are valid characters too: most
    bytes of Chinese are signs for drawing frames in cp437."""
    letters = sum(0x80 <= byte <= 0xA5 or byte == 0xE1 for byte in raw)  # 0xE1 is the German sharp s
    frames = sum(byte > 0xA5 and byte != 0xE1 for byte in raw)
    return letters >= frames


def _is_marked(info: zipfile.ZipInfo) -> bool:
    return bool(info.flag_bits & 0x800)


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if _is_marked(info) else "cp437")


def safe_path(name: str) -> str | None:
    """Make a name a relative POSIX path that stays where it is put, or None where nothing is left of it.

    As unzip does: "..", drives and leading slashes go, a backslash parts folders.
    """
    plain = name.isascii() and name.isprintable()
    parts = _kept((name if plain else _shown(name)).replace("\\", "/").split("/"))
    while parts and _DRIVE.match(parts[0]):
        parts = _kept([parts[0][2:], *parts[1:]])
    path = "/".join(parts)
    return path if 0 < len(path) <= MAX_PATH_CHARS else None


def _shown(name: str) -> str:
    kept = (char for char in name if char not in _TURNING and unicodedata.category(char) not in _INVISIBLE)
    return unicodedata.normalize("NFC", "".join(kept))


def _kept(parts: list[str]) -> list[str]:
    return [part for part in (part.strip() for part in parts) if part not in ("", ".", "..")]


def is_plain_file(name: str, info: zipfile.ZipInfo) -> bool:
    """Tell files from folders, links and devices."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return not name.endswith(("/", "\\")) and kind in (0, stat.S_IFREG)


def mtime_ns(info: zipfile.ZipInfo) -> int:
    """When the member was changed, by the archive's clock, which knows no zone and only even seconds.

    The nanoseconds are made of its checksum, so that another content has another time.
    """
    try:
        seconds = timegm(datetime(*info.date_time, tzinfo=UTC).timetuple())
    except ValueError:  # month 0: no date was written
        seconds = 0
    return seconds * 1_000_000_000 + info.CRC % 1_000_000_000
