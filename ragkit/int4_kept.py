"""4-bit weights on disk: rounded once, read at every later start.

Owns the folder that they lie in and how it is told whether they still are those of a checkpoint. What is kept are
the plain nibbles and scales, never the packed ones: their layout is another on another processor.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

logger = logging.getLogger(__name__)

STAMP = "source.json"  # written last: a folder without it was not finished
_FORMAT = 1
_SHARD_BYTES = 256 << 20  # held in memory until they are written
_MARGIN_BYTES = 1 << 30  # of the disk, stays free
_SAMPLE_BYTES = 64 << 10
_SAMPLES = 64  # in one file

Tensors = dict[str, torch.Tensor]


class Source:
    """The files that weights were made of, and their stamp.

    Where names, sizes and times are those of the stamp, and samples of the contents too (milliseconds: a file that
    was changed with its time kept), the files count as the same. Where a time differs (copied, downloaded again, a
    restored backup) the hash of all they hold decides: 4 to 5 s for 3.8 GB, against a minute of rounding.
    """

    def __init__(self, files: Sequence[Path], settings: dict[str, object]) -> None:
        """`settings`: what else the weights depend on, as JSON holds it."""
        self._files = files
        self._settings = {"format": _FORMAT, **settings}

    def is_of(self, place: Path) -> bool:
        """Whether the weights in `place` are whole and of these files."""
        stamp = _read(place)
        if any(stamp.get(key) != value for key, value in self._settings.items()):
            return False
        if stamp.get("files") == self._files_now() and stamp.get("samples") == self._samples():
            return True
        sizes = [[name, size] for name, size, _ in self._files_now()]
        kept = stamp.get("files")
        if not isinstance(kept, list) or [entry[:2] for entry in kept] != sizes:
            return False
        if stamp.get("content") != (content := self.content()):
            return False
        self.write(place, content)
        return True

    def content(self) -> str:
        """Hash everything that the files hold."""
        whole = hashlib.blake2b(digest_size=16)
        for file in self._files:
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "blake2b").digest())
        return whole.hexdigest()

    def write(self, place: Path, content: str) -> None:
        """Stamp `place`; a crash leaves the old stamp or the new one."""
        stamp = {
            **self._settings,
            "files": self._files_now(),
            "samples": self._samples(),
            "content": content,
        }
        part = place / f"{STAMP}.part"
        part.write_text(json.dumps(stamp), encoding="utf-8")
        _to_disk(part)
        part.replace(place / STAMP)

    def _files_now(self) -> list[list[object]]:
        stats = [(file.name, file.stat()) for file in self._files]
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]

    def _samples(self) -> str:
        found = hashlib.blake2b(digest_size=16)
        for file in self._files:
            size = file.stat().st_size
            with file.open("rb") as stream:
                # The beginning holds a safetensors file's header.
                for at in range(0, size, max(size // _SAMPLES, _SAMPLE_BYTES)):
                    stream.seek(at)
                    found.update(stream.read(_SAMPLE_BYTES))
        return found.hexdigest()


def read(place: Path) -> Tensors:
    """Map the kept weights; raise OSError, ValueError or SafetensorError where they are broken."""
    tensors: Tensors = {}
    for file in sorted(place.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


class Writing:
    """Weights on their way to disk; that they cannot be kept is a warning and no error.

    Use as a context: what was not finished is removed. No more than one shard of them is held.
    """

    def __init__(self, place: Path | None, source: Source, size_bytes: int) -> None:
        """`place` None: nothing is to be kept. `size_bytes`: of all that will be added, about."""
        self._place = place
        self._source = source
        self._waiting: Tensors = {}
        self._shards = 0
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        # All is read from the disk for the rounding anyway, which takes longer.
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._content: Future[str] | None = None
        if place is None:
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(place.parent).free < size_bytes + _MARGIN_BYTES:
                logger.warning("too little disk space to keep the 4-bit weights in %s", place)
                return
            self._scratch = tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent)
            self._content = self._pool.submit(source.content)
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False)
        if self._scratch:
            self._scratch.cleanup()

    def add(self, tensors: Tensors) -> None:
        if self._scratch is None:
            return
        self._waiting |= tensors
        if sum(each.nbytes for each in self._waiting.values()) >= _SHARD_BYTES:
            self._write(Path(self._scratch.name))

    def finish(self) -> None:
        """Stamp the weights and put them in their place, all at once."""
        if self._scratch is None or self._content is None or self._place is None:
            return
        scratch = Path(self._scratch.name)
        self._write(scratch)
        try:
            if self._scratch:
                self._source.write(scratch, self._content.result())
                _swap(scratch, self._place)
        except OSError as error:
            self._give_up(error)

    def _write(self, scratch: Path) -> None:
        self._shards += 1
        file = scratch / f"int4-{self._shards:05d}.safetensors"
        try:
            save_file(self._waiting, file)
            _to_disk(file)
        except (OSError, SafetensorError) as error:
            self._give_up(error)
        self._waiting = {}

    def _give_up(self, error: Exception) -> None:
        logger.warning("the 4-bit weights cannot be kept in %s: %s", self._place, error)
        scratch, self._scratch = self._scratch, None
        if scratch:
            scratch.cleanup()


def _swap(new: Path, place: Path) -> None:
    """Give `new` the name `place`; what lay there is of other files or broken."""
    if place.exists():
        shutil.rmtree(place)
    new.rename(place)
    new.mkdir()  # for TemporaryDirectory, which removes it


def _read(place: Path) -> dict[str, Any]:
    try:
        stamp = json.loads((place / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _to_disk(file: Path) -> None:
    """Wait until the file is on the disk: a stamp must not outlive a power cut that its weights did not."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
