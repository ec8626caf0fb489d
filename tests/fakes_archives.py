"""ZIP archives made on the spot: proper ones, and ones with just the bytes that a test wants."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

from ragkit.archive import extract, members
from tests.fakes_documents import write

Name = str | zipfile.ZipInfo


def zipped(*files: tuple[Name, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as package:
        for name, data in files:
            package.writestr(name, data, method)
    return content.getvalue()


def raw_zip(*files: tuple[bytes, bytes], flags: int = 0, overlap: bool = False) -> bytes:
    """An archive whose names are just these bytes; with `overlap` every entry points to the first file."""
    body, directory = bytearray(), bytearray()
    for name, data in files:
        facts = struct.pack("<HHHIII", 0, 0, 0x5A21, zlib.crc32(data), len(data), len(data))
        length = struct.pack("<HH", len(name), 0)
        directory += b"PK\1\2" + struct.pack("<HHH", 20, 20, flags) + facts + length
        directory += struct.pack("<HHHII", 0, 0, 0, 0, 0 if overlap else len(body)) + name
        body += b"PK\3\4" + struct.pack("<HH", 20, flags) + facts + length + name + data
    count = min(len(files), 0xFFFF)
    return bytes(
        body
        + directory
        + b"PK\5\6"
        + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    )


def paths(folder: Path, content: bytes) -> list[str]:
    return [member.path for member in members(write(folder, "a.zip", content))]


def taken_out(folder: Path, content: bytes, member: str) -> bytes:
    target = folder / "out"
    extract(write(folder, "a.zip", content), member, target)
    return target.read_bytes()
