"""Work behind the page: one at a time, cancelled, and never silent about a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ragkit.errors import ModelError
from ragkit.ui.task import Task


def test_one_at_a_time_and_what_it_noted_last_is_there() -> None:
    task: Task[int] = Task()
    go_on = threading.Event()

    def work(note: Callable[[int], None], cancel: threading.Event) -> None:
        note(1)
        go_on.wait(20)
        note(2)

    assert task.start("one", work) and not task.start("other", work)
    assert task.running and task.name == "one"
    go_on.set()
    task.wait(20)
    assert (task.running, task.step, task.error) == (False, 2, None)
    assert task.start("other", work)
    task.wait(20)
    assert task.name == "other"


def test_a_failure_is_kept_until_the_next_and_a_cancelled_one_is_none() -> None:
    task: Task[int] = Task()

    def fail(_: Callable[[int], None], cancel: threading.Event) -> None:
        cancel.wait(0.05)
        raise ModelError("no room", "Make some.")

    task.start("one", fail)
    task.wait(20)
    assert task.error is not None and task.error.hint == "Make some."
    task.start("two", fail)
    task.cancel()
    assert task.cancelling
    task.wait(20)
    assert task.error is None and not task.running


def test_a_fault_of_ours_is_told_too() -> None:
    task: Task[int] = Task()
    task.start("one", lambda note, cancel: note(1 // 0))
    task.wait(20)
    assert task.error is not None and "ZeroDivisionError" in task.error.message
