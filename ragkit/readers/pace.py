"""Signs of life: a reader whose work is slow by nature says that it goes on, so that only what hangs is killed.

Where nobody listens, as in a process that reads for itself, they go nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[], object] | None] = ContextVar("listener", default=None)


def alive() -> None:
    """Say that a page more is done."""
    listener = _listener.get()
    if listener is not None:
        listener()


@contextmanager
def heard_by(listener: Callable[[], object]) -> Iterator[None]:
    """Give the signs of the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
