"""The process that parses, one file at a time: requests come on stdin, answers go to stdout.

A frame is four bytes of length and that much JSON. The process ends with its stdin, in the middle of a file
too, so it cannot outlive its parent, however that one ends.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import struct
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from ragkit.errors import ReadError
from ragkit.readers import read
from ragkit.schema import Parsed

log = logging.getLogger(__name__)

_LENGTH = struct.Struct(">I")
SAVE_SIMPLER = "Save it in a simpler form (text or PDF), or split it."


def pack(message: dict[str, Any]) -> bytes:
    """Make a frame. File names on Linux may hold bytes that are no UTF-8, hence surrogatepass."""
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(body)) + body


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read a frame, or None if the other side is gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length)
    if len(body) < length:
        return None
    message: dict[str, Any] = json.loads(body.decode("utf-8", "surrogatepass"))
    return message


def answer(request: dict[str, Any]) -> bytes:
    """Read the requested file; the frame holds what came of it. "spent" asks to be replaced."""
    try:
        return pack({"parsed": _as_json(read(Path(request["path"]), name=request["name"]))})
    except ReadError as error:
        return pack({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    except MemoryError:
        return pack(
            {
                "error": "ReaderFailed",
                "message": "The parser ran out of memory on this file.",
                "hint": SAVE_SIMPLER,
                "spent": True,
            }
        )
    except Exception as error:  # the last border: whatever else a parser throws costs this file only
        log.exception("unexpected error in a parser")
        return pack(
            {
                "error": "ReaderFailed",
                "message": f"The parser failed on this file: {type(error).__name__}.",
                "hint": SAVE_SIMPLER,
            }
        )


def _as_json(parsed: Parsed) -> dict[str, Any]:
    values = {field.name: getattr(parsed, field.name) for field in fields(Parsed)}
    blocks = [(block.start, block.end, block.kind, block.page, block.heading) for block in parsed.blocks]
    return values | {"blocks": blocks}


def main(memory_bytes: int) -> None:
    """Serve until stdin ends; take at most `memory_bytes` more address space than at the start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    # What a library prints would fall between the frames: fd 1 becomes stderr, answers get one of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(memory_bytes)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        answers.write(answer(requests.get()))
        answers.flush()


def _listen(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Beside the parsing, so that the end of stdin is seen while a file hangs."""
    while (request := receive(sys.stdin.buffer)) is not None:
        requests.put(request)
    os._exit(0)


def _limit_memory(more_bytes: int) -> None:
    if sys.platform == "linux":  # elsewhere RLIMIT_AS is missing or ignored, and the client watches
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + more_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
