"""HTML about folders: one that is being uploaded, those that can be mirrored, and what has changed in them.

Pure functions. Buttons carry an action and an id, never a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from ragkit.schema import SyncReport
from ragkit.ui import render_job
from ragkit.ui.strings import Strings

MOST_LISTED: Final = 8  # names of a kind

# ── A dropped folder ──


def parcel(batch: str = "", state: str = "") -> str:
    """What app.js waits for between two batches of a dropped folder; nobody sees it."""
    return f'<i data-batch="{escape(batch)}" data-state="{state}"></i>'


def uploading(here: int, total: str, strings: Strings) -> str:
    """How many files of a dropped folder came so far; `total` is the browser's word."""
    count = f"{here} / {int(total)}" if total.isascii() and total.isdecimal() and len(total) < 9 else ""
    return render_job.running(strings("job_uploading"), count=count)


# ── Folders of this computer ──


@dataclass(frozen=True, slots=True)
class Row:
    """A folder that is or can be mirrored."""

    id: str
    label: str
    place: str
    state: str  # in words
    there: bool
    gone: int = 0  # so many files of a watched folder wait to be forgotten


def folders(rows: Sequence[Row], strings: Strings) -> str:
    """A list of them, each with what can be done."""
    if not rows:
        return ""
    return f'<h2>{escape(strings("folders_title"))}</h2><ul class="folders">{"".join(_folder(row, strings) for row in rows)}</ul>'


def _folder(row: Row, strings: Strings) -> str:
    def button(action: str, css: str, confirm: str = "") -> str:
        label = escape(strings(f"folder_{action}_name", name=row.label))
        asked = f' data-confirm="{escape(confirm)}"' if confirm else ""
        told = escape(strings(f"folder_{action}"))
        return (
            f'<button type="button" class="{css}" data-action="{action}" data-id="{escape(row.id)}"{asked} '
            f'aria-label="{told}: {label}" title="{told}">{told}</button>'
        )

    buttons = button("check", "plain") if row.there else ""
    if row.gone:
        confirm = strings("folder_forget_confirm", n=row.gone, name=row.label)
        buttons = button("forget", "primary", confirm) + buttons
    return (
        f'<li title="{escape(row.place)}"><b>{escape(row.label)}</b><small>{escape(row.state)}</small>'
        f'{f"""<div class="job-buttons">{buttons}</div>""" if buttons else ""}</li>'
    )


# ── What has changed in one ──


def looking(label: str, strings: Strings) -> str:
    """While a folder is looked through."""
    return render_job.running(strings("changes_looking", name=label))


def changes(report: SyncReport, label: str, strings: Strings, *, mostly_gone: bool) -> str:
    """What a sync would do, with names, and the buttons to do it or not."""
    renamed = dict(zip(report.moved, report.moved_from, strict=True))
    told = "".join(
        _names(strings(f"changes_{key}", n=len(sources)), sources, renamed)
        for key, sources in (
            ("added", report.added),
            ("updated", report.updated),
            ("moved", report.moved),
            ("removed", report.removed),
            ("failed", [failure.source for failure in report.failed]),
        )
        if sources
    )
    is_work = bool(report.added or report.updated or report.moved or report.removed)
    warning = strings("changes_mostly_gone") if mostly_gone else ""
    title = strings("changes_title" if told else "changes_none", name=label)
    apply = (
        f'<button type="button" class="primary" data-action="apply"'
        f'{f""" data-confirm="{escape(warning)}" """ if warning else " "}'
        f'title="{escape(strings("changes_apply"))}">{escape(strings("changes_apply"))}</button>'
        if is_work
        else ""
    )
    leave = escape(strings("cancel" if is_work else "close"))
    return (
        f'<div class="job {"conflict" if warning else "changes"}" role="status"><div class="job-body">'
        f"<p><b>{escape(title)}</b></p>{f'<p><b>{escape(warning)}</b></p>' if warning else ''}{told}"
        f'<div class="job-buttons">{apply}<button type="button" class="plain" data-action="leave">{leave}</button>'
        "</div></div></div>"
    )


def _names(title: str, sources: Sequence[str], renamed: Mapping[str, str]) -> str:
    """The first few, below the root that all of them have in common; before a new name the old one."""

    def told(source: str) -> str:
        both = (renamed[source], source) if source in renamed else (source,)
        return " → ".join(escape(one.partition("/")[2]) for one in both)

    names = "".join(f"<li>{told(source)}</li>" for source in sources[:MOST_LISTED])
    more = len(sources) - MOST_LISTED
    return f"<p>{escape(title)}</p><ul>{names}{f'<li>+ {more}</li>' if more > 0 else ''}</ul>"
