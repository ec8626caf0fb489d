"""Rate and remaining time, on made-up times."""

from __future__ import annotations

import pytest

from ragkit.ui.pace import Pace, rate, remaining
from ragkit.ui.strings import Strings

EN, ZH = Strings("en"), Strings("zh")


def after(*steps: tuple[float, int]) -> Pace:
    pace = Pace()
    for at, done in steps:
        pace = pace.noted(done, at)
    return pace


def test_the_rate_is_what_got_done_over_the_time_that_it_took() -> None:
    assert after((0, 0), (1, 4), (2, 8), (4, 12)).per_second(4) == 3


@pytest.mark.parametrize(
    "steps", [(), ((0, 0),), ((0, 0), (10, 1), (20, 2)), ((0, 0), (0.1, 9), (0.2, 18), (0.3, 27))]
)
def test_there_is_no_rate_before_it_means_something(steps: tuple[tuple[float, int], ...]) -> None:
    assert after(*steps).per_second(steps[-1][0] if steps else 0) is None


def test_only_the_last_half_minute_counts() -> None:
    slow = [(float(at), at) for at in range(0, 100)]
    fast = [(100 + at / 10, 100 + at) for at in range(400)]
    assert after(*slow).per_second(99) == pytest.approx(1)
    assert after(*slow, *fast).per_second(139.9) == pytest.approx(10)


def test_a_slow_job_keeps_its_last_steps() -> None:
    assert after(*((60.0 * step, step) for step in range(9))).per_second(480) == pytest.approx(1 / 60)


def test_the_rate_falls_while_nothing_gets_done() -> None:
    pace = after((0, 0), (1, 4), (2, 8), (4, 12)).noted(12, 8)
    assert pace.per_second(12) == 1


def test_less_done_than_before_is_another_job() -> None:
    assert after((0, 0), (1, 4), (2, 8), (4, 12), (5, 2)).seen == ((5, 2),)


@pytest.mark.parametrize(
    ("per_second", "told"), [(3.14, "3.1 files/s"), (1, "1.0 files/s"), (0.2, "12.0 files/min")]
)
def test_a_rate_is_told_by_the_second_or_by_the_minute(per_second: float, told: str) -> None:
    assert rate(per_second, EN) == told


@pytest.mark.parametrize(
    ("left", "told", "in_chinese"),
    [
        (1, "about 5 s left", "约剩 5 秒"),
        (42, "about 40 s left", "约剩 40 秒"),
        (58, "about 1 min left", "约剩 1 分钟"),
        (600, "about 10 min left", "约剩 10 分钟"),
        (7200, "about 2 h left", "约剩 2 小时"),
    ],
)
def test_what_remains_is_told_in_a_unit_that_fits(left: int, told: str, in_chinese: str) -> None:
    assert remaining(left, 1.0, EN) == told and remaining(left, 1.0, ZH) == in_chinese
