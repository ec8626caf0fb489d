"""What every download needs, wherever it comes from: progress, cancel, room on the disk, whole files."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ragkit.errors import ModelError
from ragkit.models import FileRecord, Manifest
from ragkit.sizes import gigabytes

# Nothing else is ever asked for: pickles (.bin, .pt) and Python files run code when they are loaded.
ALLOWED = (
    "*.safetensors",
    "*.gguf",
    "*.json",
    "*.txt",
    "tokenizer.model",
    "LICENSE",
    "LICENSE.md",
    "README.md",
)
MODULE_SETTINGS = r"\d+_[A-Za-z]+/config\.json"  # of an embedding model: 1_Pooling/config.json
BLOCK_BYTES = 1 << 20
_MARGIN_BYTES = 500_000_000  # left free: the disk is not ours alone
_TELL_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where a download stands. `total_bytes` is 0 while it is not known."""

    file: str
    done_bytes: int
    total_bytes: int
    rate_bytes_s: float


OnTransfer = Callable[[Transfer], None]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a hub offers."""

    name: str
    size_bytes: int
    etag: str  # 64 digits: sha256 of the content; 40 digits: git's sha1 of it


class Job:
    """One download: what it brings, into which folder, who is told, whether it is still wanted."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        progress: OnTransfer | None,
        cancel: threading.Event | None,
        free_bytes: Callable[[Path], int],
    ) -> None:
        self.name, self.folder = name, folder
        self.total_bytes = 0
        self._progress, self._cancel, self._free_bytes = progress, cancel or threading.Event(), free_bytes
        self._done = 0
        self._fresh = 0  # bytes that came over the line since the last report
        self._rate = 0.0
        self._told = time.monotonic()

    def check(self) -> None:
        """Raise ModelError when the download is no longer wanted."""
        self.pause(0)

    def pause(self, seconds: float) -> None:
        if self._cancel.wait(seconds):
            raise ModelError(f"the download of {self.name} was stopped", "Start it again to go on from here.")

    def need(self, size_bytes: int) -> None:
        """Raise ModelError when the disk has no room for so much more."""
        free, wanted = self._free_bytes(self.folder), size_bytes + _MARGIN_BYTES
        if free < wanted:
            raise ModelError(
                f"{self.name} needs {gigabytes(wanted)} of disk ({gigabytes(_MARGIN_BYTES)} of it stay free), "
                f"{self.folder.parent} has {gigabytes(free)} free",
                "Make room, or set RAGKIT_DATA to a folder on a larger disk.",
            )

    def advance(self, file: str, size_bytes: int, *, fresh: bool = True) -> None:
        """Count bytes, of which `fresh` ones came over the line. Raises ModelError on cancel."""
        self.check()
        self._done += size_bytes
        self._fresh += size_bytes if fresh else 0
        passed_s = time.monotonic() - self._told
        if passed_s < _TELL_EVERY_S and self._done != self.total_bytes:
            return
        rate = self._fresh / max(passed_s, 0.001)
        self._rate = 0.7 * self._rate + 0.3 * rate if self._rate else rate
        self._told, self._fresh = time.monotonic(), 0
        if self._progress:
            self._progress(Transfer(file, self._done, self.total_bytes, self._rate))

    def finish(self, source: str, revision: str, sha256: dict[str, str]) -> None:
        """Write down what came, last of all."""
        files = {name: FileRecord((self.folder / name).stat().st_size, sha256[name]) for name in sha256}
        Manifest(self.name, source, revision, files).save(self.folder)


class Part:
    """A file on its way, as FILE.part, with the hashes of what it holds.

    Begins with what an earlier run left under either name, and hashes that too: nothing is believed.
    """

    def __init__(self, job: Job, file: RemoteFile) -> None:
        self.file, self._job = file, job
        self._whole, self._path = job.folder / file.name, job.folder / f"{file.name}.part"
        self._path.parent.mkdir(exist_ok=True)
        if self._whole.is_file():
            self._whole.replace(self._path)
        self._stream = self._path.open("a+b")
        self._start_counting()

    def __enter__(self) -> Self:
        self._stream.seek(0)
        while self.size <= self.file.size_bytes and (block := self._stream.read(BLOCK_BYTES)):
            self._count(block, fresh=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, block: bytes) -> None:
        self._stream.write(block)
        self._count(block, fresh=True)

    def restart(self) -> None:
        self._stream.truncate(0)
        size = self.size
        self._start_counting()
        self._job.advance(self.file.name, -size, fresh=False)

    def is_right(self) -> bool:
        return self.file.etag in (self._sha256.hexdigest(), self._git_sha1.hexdigest())

    def keep(self) -> str:
        """Give the file its name, when it is on the disk for certain; tell its sha256."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()  # Windows renames no open file
        self._path.replace(self._whole)
        return self._sha256.hexdigest()

    def _start_counting(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git_sha1 = hashlib.sha1(b"blob %d\0" % self.file.size_bytes, usedforsecurity=False)

    def _count(self, block: bytes, *, fresh: bool) -> None:
        self._sha256.update(block)
        if len(self.file.etag) == 40:
            self._git_sha1.update(block)
        self.size += len(block)
        self._job.advance(self.file.name, len(block), fresh=fresh)


def bytes_here(folder: Path, file: RemoteFile) -> int:
    """Tell how much of a file lies here already, under its own name or as a part."""
    places = (folder / file.name, folder / f"{file.name}.part")
    return min(file.size_bytes, max(p.stat().st_size if p.is_file() else 0 for p in places))
