"""How fast a long job goes, and how long it still takes. Pure: the caller says what time it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ragkit.ui.strings import Strings

WINDOW_S: Final = 30.0  # files differ in size: what was an hour ago says little
_FEWEST_STEPS: Final = 3  # a slow job's last steps count even when they are older than the window
_SHORTEST_S: Final = 2.0  # less says more about the first file than about the rest


@dataclass(frozen=True, slots=True)
class Pace:
    """When how much was done, oldest first."""

    seen: tuple[tuple[float, int], ...] = ()

    def noted(self, done: int, now: float) -> Pace:
        """The pace after one more look. Less done than before is another job, and begins anew."""
        if not self.seen or done < self.seen[-1][1]:
            return Pace(((now, done),))
        if done == self.seen[-1][1]:
            return self
        seen = (*self.seen, (now, done))
        old = sum(now - at > WINDOW_S for at, _ in seen)
        return Pace(seen[max(0, min(old, len(seen) - 1 - _FEWEST_STEPS)) :])

    def per_second(self, now: float) -> float | None:
        """The rate up to now, so that it falls while nothing gets done; None until it means something."""
        if len(self.seen) <= _FEWEST_STEPS:
            return None
        (began, first), (_, last) = self.seen[0], self.seen[-1]
        return (last - first) / (now - began) if now - began >= _SHORTEST_S else None


def rate(per_second: float, strings: Strings) -> str:
    """3.14 -> '3.1 files/s'; slow jobs by the minute."""
    if per_second >= 1:
        return strings("pace_second", n=f"{per_second:.1f}")
    return strings("pace_minute", n=f"{60 * per_second:.1f}")


def remaining(left: int, per_second: float, strings: Strings) -> str:
    """How long `left` more take, in a unit that does not pretend to know better."""
    seconds = left / per_second
    if seconds < 55:
        return strings("left_seconds", n=max(5, 5 * round(seconds / 5)))
    if seconds < 90 * 60:
        return strings("left_minutes", n=max(1, round(seconds / 60)))
    return strings("left_hours", n=round(seconds / 3600))
