"""ZIP archives as folders."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from ragkit.errors import BrokenFile
from ragkit.readers import supported


@dataclass(frozen=True, slots=True)
class Member:
    path: str
    size_bytes: int
    mtime_ns: int


def members(archive: Path) -> list[Member]:
    try:
        with zipfile.ZipFile(archive) as z:
            return [Member(i.filename, i.file_size, 0) for i in z.infolist() if supported(i.filename)]
    except zipfile.BadZipFile as e:
        raise BrokenFile("This archive is damaged.", "Again.") from e


def extract(archive: Path, member: str, target: Path) -> None:
    with zipfile.ZipFile(archive) as z:
        target.write_bytes(z.read(member))
