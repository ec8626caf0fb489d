"""Embedding models in int8 for the processor, an option: how one is asked for, what it needs, where its file is kept.

Loads nothing: `ragkit.embedding_onnx` makes the file and runs it. Not by optimum-onnx, which sentence-transformers
would use: its newest version (0.1.0) wants transformers below 4.58, and does not import beside 5.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ragkit.embedding_records import INT8_RECIPE, ModelRecord
from ragkit.errors import ModelError

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


def require(file: Path) -> None:
    """Raise ModelError, with the command that helps, where packages are missing that `file` needs."""
    missing = lacking()
    if missing if not file.is_file() else "onnxruntime" in missing:
        raise ModelError(
            f"int8 embedding needs packages that are not installed: {', '.join(missing)}",
            f"Run: {command()}  Or choose the model without {PREFIX!r} in front.",
        )
