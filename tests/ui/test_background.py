"""Work in a thread, followed in steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ragkit.ui.background import Background


def test_items_come_in_order_and_then_the_result() -> None:
    def work(put: Callable[[int], None]) -> str:
        for number in range(100):
            put(number)
        return "done"

    job = Background(work)
    assert [item for item in job if item is not None] == list(range(100))
    assert job.result == "done"


def test_a_heartbeat_comes_while_nothing_else_does() -> None:
    go_on = threading.Event()

    def work(put: Callable[[int], None]) -> None:
        go_on.wait(10)

    for item in Background(work):
        assert item is None
        go_on.set()


def test_an_error_is_raised_where_the_work_is_followed() -> None:
    def work(put: Callable[[int], None]) -> None:
        put(1)
        raise ValueError("no")

    seen: list[int | None] = []
    with pytest.raises(ValueError, match="no"):
        for item in Background(work):
            seen.append(item)
    assert 1 in seen
