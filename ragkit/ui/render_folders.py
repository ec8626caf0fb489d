"""HTML about folders: one that is being uploaded, those that can be mirrored, and what has changed in them.

Pure functions. Buttons carry an action and an id, never a path.
"""

from __future__ import annotations

from html import escape

from ragkit.ui.strings import Strings

# ── A dropped folder ──


def parcel(batch: str = "", state: str = "") -> str:
    """What app.js waits for between two batches of a dropped folder; nobody sees it."""
    return f'<i data-batch="{escape(batch)}" data-state="{state}"></i>'


def uploading(here: int, total: str, strings: Strings) -> str:
    """How many files of a dropped folder came so far; `total` is the browser's word."""
    count = f"{here} / {int(total)}" if total.isascii() and total.isdecimal() and len(total) < 9 else ""
    return (
        f'<div class="job running"><div class="job-body"><p><span class="job-text">{escape(strings("job_uploading"))}'
        f'</span><span class="job-count">{count}</span></p><progress></progress></div></div>'
    )
