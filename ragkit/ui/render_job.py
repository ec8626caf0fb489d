"""HTML of a box that says what is under way. Pure."""

from __future__ import annotations

from html import escape
from typing import Final

WITHOUT_END: Final = "<progress></progress>"


def bar_of(done: int, total: int) -> str:
    """A bar of `done` among `total`; of a job that cannot tell, one that only moves."""
    return f'<progress max="{total}" value="{done}"></progress>' if total else WITHOUT_END


def running(
    text: str, bar: str = WITHOUT_END, *, count: str | None = None, more: str = "", button: str = ""
) -> str:
    """What is being done, how much of it beside that, and a bar; `more` below it and `button` are HTML."""
    told = "" if count is None else f'<span class="job-count">{escape(count)}</span>'
    return (
        f'<div class="job running"><div class="job-body"><p><span class="job-text">{escape(text)}</span>{told}</p>'
        f"{bar}{more}</div>{button}</div>"
    )
