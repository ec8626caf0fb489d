"""A lock that holds among threads and among processes; the system lets go of it when a process dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class ProcessLock:
    """One holder at a time, in this process and among others. The same thread may take it again."""

    def __init__(self, file: Path) -> None:
        self._thread_lock = threading.RLock()
        # thread_local off: one lock for all our threads, which take turns by the other one.
        self._file_lock = FileLock(file, thread_local=False, poll_interval=0.02)

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock; False when somebody else held it all the time."""
        if not self._thread_lock.acquire(timeout=timeout_s):
            return False
        try:
            self._file_lock.acquire(timeout=timeout_s)
        except Timeout:
            self._thread_lock.release()
            return False
        except BaseException:
            self._thread_lock.release()
            raise
        return True

    def release(self) -> None:
        self._file_lock.release()
        self._thread_lock.release()

    @contextmanager
    def trying(self, timeout_s: float) -> Iterator[bool]:
        """Hold the lock inside, if it can be had; tells whether it could."""
        taken = self.acquire(timeout_s)
        try:
            yield taken
        finally:
            if taken:
                self.release()
