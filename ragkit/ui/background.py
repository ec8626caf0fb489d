"""Run blocking work in a thread and let a generator follow it in steps that can be closed at any time.

Gradio stops a handler only at its `yield`, and closes it on its event loop. So a handler must never
block for long, and its `finally` must only set a flag.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

HEARTBEAT_S = 0.1

Item = TypeVar("Item")
Result = TypeVar("Result")


class Background(Generic[Item, Result]):
    """`for item in Background(work)`: what `work` puts, in order, and None whenever a heartbeat brought nothing.

    An exception of `work` is raised in the loop. A loop that is left early leaves the thread running:
    the caller tells it to stop by a flag of its own.
    """

    def __init__(self, work: Callable[[Callable[[Item], None]], Result]) -> None:
        self._work = work
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._results: list[Result] = []
        self._failure: BaseException | None = None
        self._over = threading.Event()
        threading.Thread(target=self._run, name="ragkit-handler", daemon=True).start()

    def __iter__(self) -> Iterator[Item | None]:
        while not (self._over.is_set() and self._items.empty()):
            try:
                yield self._items.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                if not self._over.is_set():
                    yield None
        if self._failure is not None:
            raise self._failure

    @property
    def result(self) -> Result:
        """What `work` gave back; only after the loop has ended by itself."""
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._items.put))
        except BaseException as error:  # noqa: BLE001  # relayed to the loop, not swallowed
            self._failure = error
        finally:
            self._over.set()
