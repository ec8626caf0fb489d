"""The caller's side of the parsing process: starts it, watches over it, replaces it."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragkit.errors import ReaderFailed, ReadError
from ragkit.readers.frames import BadFrame, as_image, as_parsed, pack, receive
from ragkit.readers.worker import SAVE_SIMPLER
from ragkit.schema import PageImage, Parsed

log = logging.getLogger(__name__)

TIMEOUT_S = 120.0  # without a sign of life; 200 pages of Chinese take PDFium four seconds on a slow machine
LONGEST_S = 1800.0  # one file with signs of life: a scan whose pages are recognised takes seconds a page
MEMORY_BYTES = 2 << 30
FILES_PER_WORKER = 200  # what the parsers leak goes with the process; starting one costs a tenth of a second
# On Linux the system itself limits the worker; elsewhere its memory is looked at this often.
_MEMORY_POLL_S = math.inf if sys.platform == "linux" else 0.2
_CANCEL_POLL_S = 0.1

_ROOT = Path(__file__).resolve().parents[2]  # as its working directory it makes ragkit importable
_GARBLED = "The parser answered with garbage on this file."
_LONGEST_WORDS = 10_000  # of an error's message
_ERRORS = {cls.__name__: cls for cls in ReadError.__subclasses__()}


@dataclass(frozen=True, slots=True)
class _Answer:
    result: Parsed | PageImage | ReadError
    spent: bool = False  # the worker asks to be replaced


class ReaderProcess:
    """Reads files in a process of its own, so that a broken or hostile file costs nothing but itself.

    Thread-safe; one file at a time. The process starts with the first file.
    """

    def __init__(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        files_per_worker: int = FILES_PER_WORKER,
        command: Sequence[str] = (sys.executable, "-m", "ragkit.readers.worker"),
    ) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._files_per_worker = files_per_worker
        self._command = command
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._files = 0  # that the worker of now has read
        self._requests = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None while there is none."""
        worker = self._worker
        return None if worker is None else worker.pid

    def read(self, path: Path, *, name: str | None = None, cancel: threading.Event | None = None) -> Parsed:
        """Parse a file; raise only ReadError. `name` tells the format where `path` has no telling suffix.

        Setting `cancel` ends it at once, as ReaderFailed.
        """
        result = self._ask({"path": str(path.absolute()), "name": name}, cancel)
        if not isinstance(result, Parsed):
            raise ReaderFailed(_GARBLED, SAVE_SIMPLER)
        return result

    def draw_page(self, path: Path, number: int, width: int) -> PageImage:
        """Draw page `number` (1-based) of a PDF, `width` pixels wide; raise only ReadError."""
        result = self._ask({"path": str(path.absolute()), "page": number, "width": width}, None)
        if not isinstance(result, PageImage):
            raise ReaderFailed(_GARBLED, SAVE_SIMPLER)
        return result

    def _ask(self, message: dict[str, object], cancel: threading.Event | None) -> Parsed | PageImage:
        with self._lock:
            worker = self._running_worker()
            self._requests += 1
            request = pack(message | {"id": self._requests})
            watch = _Watch(worker, self._timeout_s, self._memory_bytes, cancel)
            answer = None
            try:
                answer = _exchange(worker, request, self._requests, watch)
                garbled = False
            except BadFrame as error:
                log.warning("the parsing process sent garbage: %s", error)
                garbled = True
            finally:  # after Ctrl-C too: what is left in the pipe would answer for the next file
                reason = watch.stop()
                self._files += 1
                if answer is None or reason or answer.spent or self._files >= self._files_per_worker:
                    self._discard()
        if answer is None:
            reason = reason or (_GARBLED if garbled else self._ending(worker))
            raise ReaderFailed(reason, SAVE_SIMPLER)
        if isinstance(answer.result, ReadError):
            raise answer.result
        return answer.result

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End the worker at once, and for good; a file being read in another thread fails."""
        self._closed = True
        worker = self._worker
        if worker is not None:
            worker.kill()  # without the lock, which the reading thread holds
        with self._lock:
            self._discard()

    def _running_worker(self) -> subprocess.Popen[bytes]:
        if self._worker is not None and self._worker.poll() is not None:  # killed between two files
            self._discard()
        if self._worker is None and not self._closed:
            try:
                self._worker = subprocess.Popen(
                    [*self._command, str(self._memory_bytes)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=_ROOT,
                )
            except OSError as error:
                raise ReaderFailed(f"The parsing process does not start: {error}.") from error
            self._files = 0
        worker = self._worker
        if worker is None or self._closed:  # looked at after the start: close() or this line sees the worker
            self._discard()
            raise ReaderFailed("The reader is closed.")
        return worker

    def _discard(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        for stream in (worker.stdin, worker.stdout):
            if stream is not None:
                with suppress(OSError):  # closing flushes into a broken pipe
                    stream.close()
        worker.wait()

    def _ending(self, worker: subprocess.Popen[bytes]) -> str:
        if self._closed:
            return "The reader was closed while it read this file."
        log.warning("the parsing process ended with code %s", worker.returncode)
        return "The parser crashed on this file."


class _Watch:
    """Kills the worker when a file takes too long, is given up, or takes too much memory where the system
    sets no limit."""

    def __init__(
        self,
        worker: subprocess.Popen[bytes],
        timeout_s: float,
        memory_bytes: int,
        cancel: threading.Event | None,
    ) -> None:
        self._worker = worker
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._cancel = cancel
        self._reason = ""
        self._done = threading.Event()
        now = time.monotonic()
        self._last = now + max(LONGEST_S, timeout_s)
        self._deadline = now + timeout_s
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def alive(self) -> None:
        """Give it its time once more, but not for ever: what sends the signs may be the hostile file."""
        self._deadline = min(time.monotonic() + self._timeout_s, self._last)

    def stop(self) -> str:
        """Return why the worker was killed, or ""."""
        self._done.set()
        self._thread.join()
        return self._reason

    def _run(self) -> None:
        poll_s = _MEMORY_POLL_S if self._cancel is None else min(_MEMORY_POLL_S, _CANCEL_POLL_S)
        while not self._done.wait(max(0.0, min(poll_s, self._deadline - time.monotonic()))):
            self._reason = self._verdict()
            if self._reason:
                self._worker.kill()
                return

    def _verdict(self) -> str:
        now = time.monotonic()
        if self._cancel is not None and self._cancel.is_set():
            return "Reading this file was cancelled."
        if now >= self._last:
            return "The parser did not come to an end with this file."
        if now >= self._deadline:
            return f"The parser took longer than {self._timeout_s:g} s on this file."
        if not math.isinf(_MEMORY_POLL_S) and resident_bytes(self._worker.pid) > self._memory_bytes:
            return "The parser ran out of memory on this file."
        return ""


def resident_bytes(pid: int) -> int:
    """The memory that a process holds; 0 where psutil is not installed or the process is gone."""
    try:
        import psutil
    except ImportError:
        return 0
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _exchange(
    worker: subprocess.Popen[bytes], request: bytes, request_id: int, watch: _Watch
) -> _Answer | None:
    assert worker.stdin is not None and worker.stdout is not None
    try:
        worker.stdin.write(request)
        worker.stdin.flush()
        while (message := receive(worker.stdout)) is not None:
            if message.get("id") != request_id:  # of another file: the worker said more than it was asked
                raise BadFrame("an answer to another request")
            if message.get("alive") is not True:
                return _understood(message)
            watch.alive()
    except OSError:
        pass  # a pipe that broke: as good as an end
    return None


def _understood(message: dict[str, Any]) -> _Answer:
    if "image" in message:
        return _Answer(as_image(message["image"]))
    if "error" not in message:
        return _Answer(as_parsed(message.get("parsed")))
    error = _ERRORS.get(str(message["error"]))
    words = [message.get("message"), message.get("hint")]
    if error is None or not all(isinstance(word, str) and len(word) < _LONGEST_WORDS for word in words):
        raise BadFrame("no error of ours")
    return _Answer(error(*map(str, words)), spent=message.get("spent") is True)
