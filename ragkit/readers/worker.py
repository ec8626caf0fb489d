"""The process that parses, one file at a time: requests come on stdin, answers go to stdout.

The process ends with its stdin, in the middle of a file too, so it cannot outlive its parent, however that
one ends.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragkit.errors import FileTooLarge, ReadError
from ragkit.readers import draw_page, pace, read
from ragkit.readers.frames import MAX_BLOCKS, BadFrame, as_json, image_as_json, pack, receive

log = logging.getLogger(__name__)

SAVE_SIMPLER = "Save it in a simpler form (text or PDF), or split it."


def answer(request: dict[str, Any], send: Callable[[bytes], object]) -> bytes:
    """Read the requested file, or draw a page of it; the frame holds what came of it. "spent" asks to be replaced.

    Every frame carries the request's id. While a slow file goes on, `send` gets signs of life.
    """
    mark = {"id": request["id"]}
    failure: dict[str, Any]
    try:
        if "page" in request:
            image = draw_page(Path(request["path"]), request["page"], request["width"])
            return pack(mark | {"image": image_as_json(image)})
        with pace.heard_by(lambda: send(pack(mark | {"alive": True}))):
            parsed = read(Path(request["path"]), name=request["name"])
        if len(parsed.blocks) > MAX_BLOCKS:
            raise FileTooLarge(
                f"The file holds more than {MAX_BLOCKS:,} paragraphs.", "Split it into smaller files."
            )
        return pack(mark | {"parsed": as_json(parsed)})
    except ReadError as error:
        failure = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    except BadFrame:
        failure = {
            "error": "FileTooLarge",
            "message": "What was read from this file is too large: it repeats long headings very often.",
            "hint": SAVE_SIMPLER,
        }
    except MemoryError:
        failure = {
            "error": "ReaderFailed",
            "message": "The parser ran out of memory on this file.",
            "hint": SAVE_SIMPLER,
            "spent": True,
        }
    except Exception as error:  # the last border: whatever else a parser throws costs this file only
        log.exception("unexpected error in a parser")
        failure = {
            "error": "ReaderFailed",
            "message": f"The parser failed on this file: {type(error).__name__}.",
            "hint": SAVE_SIMPLER,
        }
    return pack(mark | failure)


def main(memory_bytes: int) -> None:
    """Serve until stdin ends; take at most `memory_bytes` more address space than at the start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    # What a library prints would fall between the frames: fd 1 becomes stderr, answers get one of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(memory_bytes)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def send(frame: bytes) -> None:
        answers.write(frame)
        answers.flush()

    while True:
        send(answer(requests.get(), send))


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
