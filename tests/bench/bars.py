"""A bar beside what was reached."""

from __future__ import annotations

from typing import Any


def bar(
    what: str,
    reached: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    counts: bool = True,
) -> dict[str, Any]:
    """`counts`: the run was as large as the bar asks for; else it is only told."""
    ok = reached <= at_most if at_most is not None else reached >= (at_least or 0)
    told = f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}"
    return {"what": what, "bar": told, "reached": round(reached, 4), "ok": ok if counts else None}
