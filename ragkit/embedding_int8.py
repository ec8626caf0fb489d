"""Embedding models in int8 for the processor, an option: how one is asked for, what it needs, where its file is kept.

Loads nothing: `ragkit.embedding_export` makes the file, in a process of its own, and `ragkit.embedding_onnx` runs it.
Not by optimum-onnx, which sentence-transformers would use: its newest version (0.1.0) wants transformers below 4.58,
and does not import beside 5.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

from ragkit.embedding_records import INT8_RECIPE, ModelRecord
from ragkit.errors import ModelError

logger = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[1]  # as its working directory it makes ragkit importable
_CANCEL_POLL_S: Final = 0.1
_MOST_SAID: Final = 8000  # bytes of what the libraries said that go into the log

PREFIX: Final = "onnx-int8:"  # before what a model is named by: onnx-int8:auto
# As they were tried together; only the first is needed once the file is made.
PACKAGES: Final = {"onnxruntime": "1.32.0", "onnx": "1.23.2", "onnxscript": "0.7.2"}


def command() -> str:
    """What brings the packages."""
    return f"{sys.executable} -m pip install " + " ".join(f"{name}=={v}" for name, v in PACKAGES.items())


def lacking() -> list[str]:
    """The packages that are not installed. Imports none."""
    return [name for name in PACKAGES if find_spec(name) is None]


def kept_file(folder: Path, record: ModelRecord, data_dir: Path) -> Path:
    """Where the model in `folder` is kept in int8: named by its weights, its config.json and how the file is made.

    Weights that change get another file; a folder that is moved keeps its own.
    """
    shape = (folder / "config.json").read_bytes()
    content = b"\0".join((record.revision.encode(), shape, str(INT8_RECIPE).encode()))
    name = record.name.rpartition("/")[2]
    key = hashlib.blake2b(content, digest_size=8).hexdigest()
    return data_dir / "models" / ".quantised" / f"{name}-{key}-int8.onnx"


def require(*, made: bool) -> None:
    """Raise ModelError, with the command that helps, where packages are missing to run a file, or to make one."""
    missing = lacking()
    if "onnxruntime" in missing if made else missing:
        raise ModelError(
            f"int8 embedding needs packages that are not installed: {', '.join(missing)}",
            f"Run: {command()}  Or choose the model without {PREFIX!r} in front.",
        )


def make(
    folder: Path, record: ModelRecord, file: Path, *, cancelled: Callable[[], bool] = lambda: False
) -> bool:
    """Make `file` of the model in `folder`, which takes about a minute. False: it was cancelled, and nothing is kept.

    In a process of its own, the last in the queue for the processor: exporting is pure Python, and in this one every
    question would wait for it; there it can be ended at any time, and what its libraries say stays off the terminal.
    Raises ModelError.
    """
    require(made=False)
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ragkit.embedding_export",
                str(folder.resolve()),
                json.dumps(asdict(record)),
                str(file.absolute()),
            ],
            stdin=subprocess.PIPE,  # it ends with it, and so with this process, however that one ends
            stdout=told,
            stderr=said,
            cwd=_ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            creationflags=getattr(
                subprocess, "IDLE_PRIORITY_CLASS", 0
            ),  # Windows; elsewhere it does so itself
        )
        try:
            while (code := _waited(process)) is None:
                if cancelled():
                    return False
        finally:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        answer = _last_line(told)
        logger.log(logging.DEBUG if code == 0 else logging.WARNING, "making int8: %s", _end(said))
    if "message" in answer:
        raise ModelError(str(answer["message"]), str(answer.get("hint", "")))
    if code != 0 or not file.is_file():
        raise ModelError(
            f"{record.name} could not be made int8: its process ended with code {code}",
            f"The memory may have run out: close other programs and try again, or choose the model without {PREFIX!r} "
            "in front.",
        )
    logger.info("%s in int8: a text moves by %.1f %%", record.name, 100 * float(answer.get("moved", 0)))
    return True


def _waited(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_CANCEL_POLL_S)
    except subprocess.TimeoutExpired:
        return None


def _end(stream: IO[bytes]) -> str:
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - _MOST_SAID))
    return stream.read().decode(errors="replace").strip()


def _last_line(stream: IO[bytes]) -> dict[str, Any]:
    try:
        answer = json.loads(_end(stream).rpartition("\n")[2])
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
