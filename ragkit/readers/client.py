"""The caller's side of the parsing process: starts it, watches over it, replaces it."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragkit.errors import ReaderFailed, ReadError
from ragkit.readers.worker import SAVE_SIMPLER, pack, receive
from ragkit.schema import Block, Parsed

log = logging.getLogger(__name__)

TIMEOUT_S = 120.0  # one file; 200 pages of Chinese take PDFium four seconds on a slow machine
MEMORY_BYTES = 2 << 30
FILES_PER_WORKER = 200  # what the parsers leak goes with the process; starting one costs a tenth of a second
# On Linux the system itself limits the worker; elsewhere its memory is looked at this often.
_MEMORY_POLL_S = math.inf if sys.platform == "linux" else 0.2

_ROOT = Path(__file__).resolve().parents[2]  # as its working directory it makes ragkit importable
_ERRORS = {cls.__name__: cls for cls in ReadError.__subclasses__()}


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
    ) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._files_per_worker = files_per_worker
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._files = 0  # that the worker of now has read
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

    def read(self, path: Path, *, name: str | None = None) -> Parsed:
        """Parse a file; raise only ReadError. `name` tells the format where `path` has no telling suffix."""
        request = pack({"path": str(path.absolute()), "name": name})
        with self._lock:
            worker = self._running_worker()
            watch = _Watch(worker, self._timeout_s, self._memory_bytes)
            answer = None
            try:
                answer = _exchange(worker, request)
            finally:  # after Ctrl-C too: what is left in the pipe would answer for the next file
                reason = watch.stop()
                self._files += 1
                if answer is None or reason or "spent" in answer or self._files >= self._files_per_worker:
                    self._discard()
        if answer is None:
            raise ReaderFailed(reason or self._ending(worker), SAVE_SIMPLER)
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["message"], answer["hint"])
        return _as_parsed(answer["parsed"])

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
                    [sys.executable, "-m", "ragkit.readers.worker", str(self._memory_bytes)],
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
    """Kills the worker when a file takes too long, or too much memory where the system sets no limit."""

    def __init__(self, worker: subprocess.Popen[bytes], timeout_s: float, memory_bytes: int) -> None:
        self._worker = worker
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._reason = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """Return why the worker was killed, or ""."""
        self._done.set()
        self._thread.join()
        return self._reason

    def _run(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._done.wait(max(0.0, min(_MEMORY_POLL_S, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                self._reason = f"The parser took longer than {self._timeout_s:g} s on this file."
            elif not math.isinf(_MEMORY_POLL_S) and resident_bytes(self._worker.pid) > self._memory_bytes:
                self._reason = "The parser ran out of memory on this file."
            if self._reason:
                self._worker.kill()
                return


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


def _exchange(worker: subprocess.Popen[bytes], request: bytes) -> dict[str, Any] | None:
    assert worker.stdin is not None and worker.stdout is not None
    try:
        worker.stdin.write(request)
        worker.stdin.flush()
        return receive(worker.stdout)
    except OSError:
        return None


def _as_parsed(values: dict[str, Any]) -> Parsed:
    blocks = tuple(
        Block(start, end, kind, page, tuple(heading)) for start, end, kind, page, heading in values["blocks"]
    )
    lists = {name: tuple(values[name]) for name in ("pages_without_text", "ocr_pages")}
    return Parsed(**{**values, **lists, "blocks": blocks})
