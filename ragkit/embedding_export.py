"""The process that makes an embedding model's file in int8: the model's folder, its record and the file as arguments.

The last line of its stdout is JSON: "moved", how far int8 moves a text, or "message" and "hint" of what is wrong. It
ends with its stdin, in the middle of an export too, so it cannot outlive its parent.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from ragkit.embedding_records import ModelRecord
from ragkit.errors import ModelError


def main(folder: str, record: str, file: str) -> None:
    """Make the file, and say what came of it."""
    # What a library prints would fall between the lines: fd 1 becomes stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(19)
    answer: dict[str, object]
    try:
        answer = {"moved": _make(Path(folder), _record(record), Path(file))}
    except ModelError as error:
        answer = {"message": error.message, "hint": error.hint}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _make(folder: Path, record: ModelRecord, file: Path) -> float:
    from ragkit.embedding_model import open_model
    from ragkit.embedding_onnx import make

    return make(open_model(folder, record, "cpu").network, record, file)


def _record(told: str) -> ModelRecord:
    values = json.loads(told)
    return ModelRecord(**(values | {"languages": tuple(values["languages"])}))


def _end_with_parent() -> None:
    # Not by sys.stdin: a thread that waits in it when the process is done makes Python abort.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
