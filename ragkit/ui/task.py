"""One piece of work at a time behind the page, with a place where it stands. Knows no Gradio and no HTML."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ragkit import log
from ragkit.errors import RagkitError

logger = logging.getLogger(__name__)

Step = TypeVar("Step")


class Task(Generic[Step]):
    """`start(name, work)` runs `work(note, cancel)` in a thread; what it notes last is `step`.

    `error` is why the last one failed, None also for one that was cancelled.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self.name = ""
        self.running = False
        self.step: Step | None = None
        self.error: RagkitError | None = None

    def start(self, name: str, work: Callable[[Callable[[Step], None], threading.Event], None]) -> bool:
        """Begin and return at once. False: another one is under way."""
        with self._lock:
            if self.running:
                return False
            self.name, self.running, self.step, self.error = name, True, None, None
            self._cancel = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(work, self._cancel), name="ragkit-task", daemon=True
            )
            self._thread.start()
            return True

    def cancel(self) -> None:
        """Ask it to stop; `running` tells when it has."""
        self._cancel.set()

    @property
    def cancelling(self) -> bool:
        return self.running and self._cancel.is_set()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(
        self, work: Callable[[Callable[[Step], None], threading.Event], None], cancel: threading.Event
    ) -> None:
        try:
            work(self._note, cancel)
        except RagkitError as error:
            self.error = None if cancel.is_set() else error
        except Exception as error:  # noqa: BLE001  # the thread's edge: nobody above would see it
            log.failed(logger, self.name, error)
            self.error = RagkitError(f"{type(error).__name__}: {error}", "The log file says where.")
        finally:
            self.running = False

    def _note(self, step: Step) -> None:
        self.step = step
