"""HTML for the knowledge base: documents, a job under way and its outcome, conflicts. Pure functions.

Buttons carry an action and an id, never a path: the server looks the id up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath
from typing import Final

from ragkit.readers import shown_formats
from ragkit.scan import UPLOADS
from ragkit.schema import WAITING, Conflict, Coverage, Document, Failure, Progress, SyncReport
from ragkit.ui import render_folders, render_job
from ragkit.ui.pace import rate, remaining
from ragkit.ui.render import ICON_AGAIN, ICON_ALERT, ICON_BIN, ICON_CLOSE, ICON_PAGES, icon, progress_bar
from ragkit.ui.strings import Strings
from ragkit.ui.table import Page, View, page_of

ICON_LIST: Final = "M9 6h11M9 12h11M9 18h11M4.5 6h.01M4.5 12h.01M4.5 18h.01"
_MAX_LISTED: Final = 8  # failures and conflicts shown by name; the table has them all
UNREAD: Final = "unread"  # stands for the ids of all documents that could not be read
_COLUMNS: Final = (
    ("name", ""),
    ("state", ""),
    ("chunks", "num"),
    ("pages", "num wide"),
    ("size", "num"),
    ("seconds", "num wide"),
)


def size(size_bytes: float) -> str:
    """1536 -> '1.5 KB'."""
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GB"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.05 else "< 0.1 s"


# ── Documents ───────────────────────────────────────────────────────────────────────────────────────


def documents(
    rows: Sequence[Document],
    strings: Strings,
    view: View | None = None,
    *,
    semantic: bool,
    paused: bool = False,
) -> str:
    """The table as a visitor looks at it. `semantic` tells whether new passages get vectors."""
    if not rows:
        return (
            f'<section class="docs-empty">{icon(ICON_PAGES, 40)}<h2>{escape(strings("empty_title"))}</h2>'
            f"<p>{escape(strings('empty_text'))}</p></section>"
        )
    view = view or View()
    page = page_of(rows, view)
    head = "".join(_head(column, css, view, strings) for column, css in _COLUMNS)
    body = "".join(_row(row, strings, semantic=semantic) for row in page.rows)
    none = "" if page.rows else f'<p class="docs-none" role="status">{escape(strings("documents_none"))}</p>'
    waiting = sum(row.state in WAITING for row in rows)
    count = strings("documents_count", documents=len(rows), chunks=sum(row.chunks for row in rows))
    if view.words.strip():
        count += " · " + strings("documents_found", n=page.found)
    return (
        f'{_queue(waiting, strings, paused=paused)}{_unread(len(unread(rows)), strings)}<div class="docs-frame"><table class="docs"><caption>{escape(count)}</caption><thead><tr>{head}'
        f'<th scope="col"><span class="hidden-text">{escape(strings("column_actions"))}</span></th></tr></thead>'
        f"<tbody>{body}</tbody></table>{none}{_pager(page, strings)}</div>"
    )


def _head(column: str, css: str, view: View, strings: Strings) -> str:
    order = ("descending" if view.descending else "ascending") if view.sort == column else "none"
    label = escape(strings(f"column_{column}"))
    return (
        f'<th scope="col" class="{css}" aria-sort="{order}"><button type="button" class="sort" data-action="sort" '
        f'data-id="{column}" title="{escape(strings("sort_by"))}">{label}</button></th>'
    )


def _pager(page: Page, strings: Strings) -> str:
    if page.pages == 1:
        return ""

    def step(to: int, key: str) -> str:
        off = "" if 1 <= to <= page.pages else " disabled"
        return f'<button type="button" class="plain" data-action="turn" data-id="{to}"{off}>{escape(strings(key))}</button>'

    at = escape(strings("documents_page", n=page.number, total=page.pages))
    return f'<nav class="pager">{step(page.number - 1, "page_back")}<span>{at}</span>{step(page.number + 1, "page_forth")}</nav>'


def _queue(waiting: int, strings: Strings, *, paused: bool) -> str:
    """How much still waits, and the buttons to hold it; nothing while nothing waits."""
    if not waiting and not paused:
        return ""
    text = strings("queue_paused" if paused else "queue_waiting", n=waiting)
    buttons = [("resume" if paused else "pause", "queue_resume" if paused else "queue_pause")]
    if waiting:
        buttons.append(("abandon", "queue_drop"))
    drawn = "".join(
        f'<button type="button" class="plain" data-action="{action}">{escape(strings(key))}</button>'
        for action, key in buttons
    )
    return (
        f'<div class="job queue" role="status"><div class="job-body"><p>{escape(text)}</p></div>{drawn}</div>'
    )


def unread(rows: Sequence[Document]) -> list[Document]:
    """Those that failed and say nothing at all; one whose earlier version still answers is not among them."""
    return [row for row in rows if row.state == "failed" and not row.chunks]


def _unread(count: int, strings: Strings) -> str:
    """How many could not be read, and the button to be rid of them; nothing where there is none."""
    if not count:
        return ""
    label, confirm = strings("unread_delete"), strings("unread_delete_confirm", n=count)
    return (
        f'<div class="job queue" role="status"><div class="job-body"><p>{escape(strings("unread_count", n=count))}</p></div>'
        f'<button type="button" class="plain" data-action="delete" data-id="{UNREAD}" data-confirm="{escape(confirm)}" '
        f'title="{escape(label)}">{escape(label)}</button></div>'
    )


def _row(row: Document, strings: Strings, *, semantic: bool) -> str:
    name = PurePosixPath(row.source).name
    folder = folder_of(row)
    place = f'<span class="doc-folder">{escape(folder)}/</span>' if folder else ""
    unread = row.state == "queued" or (row.state == "parsing" and not row.chars)
    size_told, seconds = ("–", "–") if unread else (size(row.size_bytes), _duration(row.seconds))
    read_at = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.updated_at))
    return f"""<tr><td class="doc-name"><div title="{escape(row.source)}">{place}{escape(name)}</div>{_notes(row, strings)}</td>
<td class="doc-state">{_pill(row, strings, semantic=semantic)}</td>
<td class="num" data-label="{escape(strings("column_chunks"))}">{row.chunks or "–"}</td><td class="num wide">{row.pages or "–"}</td>
<td class="num">{size_told}</td>
<td class="num wide" title="{read_at}">{seconds}</td>
<td class="doc-actions">{_action("chunks", ICON_LIST, row, strings) if row.chunks else ""}{_action("reread", ICON_AGAIN, row, strings)}{_action("delete", ICON_BIN, row, strings)}</td></tr>"""


def folder_of(row: Document) -> str:
    """The folder that tells a document from others of its name: below what was dropped, or with the folder that is
    mirrored."""
    folder = str(PurePosixPath(row.path if row.root == UPLOADS.id else row.source).parent)
    return "" if folder == "." else folder


def _notes(row: Document, strings: Strings) -> str:
    """What was found in the file, and what is wrong with it."""
    notes = []
    if row.chars:
        facts = [strings("doc_facts", chars=f"{row.chars:,}"), (row.encoding or "").upper()]
        notes.append(f'<div class="doc-facts">{escape(" · ".join(filter(None, facts)))}</div>')
    if row.error_code:
        old = f" {strings('doc_old_answers')}" if row.chunks else ""
        told = escape(strings.error(row.error_code) + old)
        notes.append(f'<div class="doc-error" title="{escape(row.error)}">{told}</div>')
    if row.pages_without_text:
        key = f"doc_without_text_{row.ocr_state}" if row.ocr_state else "doc_without_text"
        notes.append(_warning(strings(key, pages=_ranges(row.pages_without_text))))
    if row.ocr_pages:
        notes.append(_warning(strings("doc_recognised", n=len(row.ocr_pages))))
    return "".join(notes)


def _warning(text: str) -> str:
    return f'<div class="doc-warning">{escape(text)}</div>'


def _ranges(numbers: Sequence[int], most: int = 8) -> str:
    """(1, 2, 3, 7) -> '1-3, 7'."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    told = [f"{low}-{high}" if high > low else str(low) for low, high in spans]
    return ", ".join(told[:most]) + (" …" if len(told) > most else "")


def _pill(row: Document, strings: Strings, *, semantic: bool) -> str:
    missing = row.state == "ready" and semantic and row.embedded < row.chunks
    state = "embedding" if missing else row.state
    return f'<span class="pill {state}">{escape(strings(f"status_{state}"))}</span>'


def _action(action: str, drawing: str, row: Document, strings: Strings) -> str:
    name = "/".join(filter(None, (folder_of(row), PurePosixPath(row.source).name)))
    label = escape(strings(f"{action}_name", name=name))
    confirm = f' data-confirm="{escape(strings("delete_confirm", name=name))}"' if action == "delete" else ""
    return (
        f'<button type="button" class="row-action {action}" data-action="{action}" data-id="{row.id}"{confirm} '
        f'aria-label="{label}" title="{escape(strings(action))}">{icon(drawing, 17)}</button>'
    )


@dataclass(frozen=True, slots=True)
class About:
    """What the facts beside the table are drawn from."""

    documents: Sequence[Document]
    coverage: Coverage
    disk_bytes: int
    command: str
    privacy: str
    semantic: bool  # passages get vectors
    replacement: tuple[str, float] | None = None  # the model that takes over, and how far it is, 0 to 1
    folders: Sequence[render_folders.Row] = ()  # that are or can be mirrored
    vectors_per_second: float | None = None
    loading: bool = False  # the model that makes the vectors


def about(facts: About, strings: Strings) -> str:
    """What is in this knowledge base, and how else to fill it."""
    coverage = facts.coverage
    failed = sum(row.state == "failed" for row in facts.documents)
    vectors = f"{coverage.embedded} / {coverage.chunks}" if facts.semantic else strings("about_vectors_off")
    if facts.semantic and facts.vectors_per_second and not coverage.complete:
        left = coverage.chunks - coverage.embedded
        vectors += " · " + remaining(left, facts.vectors_per_second, strings)
    elif facts.loading:
        vectors += " · " + strings("about_vectors_loading")
    bar = ""
    if facts.semantic and not coverage.complete:
        bar = progress_bar(coverage.embedded / coverage.chunks, strings("about_vectors"))
    rows = [
        (strings("about_documents"), str(len(facts.documents))),
        (strings("about_failed"), str(failed) if failed else ""),
        (strings("about_waiting"), str(coverage.waiting) if coverage.waiting else ""),
        (strings("about_chunks"), str(coverage.chunks)),
        (strings("about_vectors"), vectors),
        (strings("about_disk"), size(facts.disk_bytes)),
    ]
    if facts.replacement:
        name, share = facts.replacement
        rows.append((strings("about_replacing", name=name), f"{share:.0%}"))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows if value)
    formats = "".join(f"<li>{escape(suffix)}</li>" for suffix in shown_formats())
    return f"""<aside class="about"><h2>{escape(strings("about_title"))}</h2><dl>{listed}</dl>{bar}{render_folders.folders(facts.folders, strings)}
<h2>{escape(strings("about_formats"))}</h2><ul class="formats">{formats}</ul>
<h2>{escape(strings("about_folder"))}</h2><code class="command">{escape(facts.command)}</code>
<p>{escape(facts.privacy)}</p></aside>"""


def drop_note(command: str, strings: Strings) -> str:
    """What goes in, and a button for folders; hidden, what app.js shows when one could not be taken whole."""
    return (
        f'<div id="drop-folder" class="job" role="alert" hidden>{icon(ICON_ALERT, 20)}'
        f'<div class="job-body"><p>{escape(strings("drop_folder"))}</p>'
        f'<code class="command">{escape(command)}</code>'
        f'<p id="drop-large" hidden>{escape(strings("drop_large"))} <span></span></p></div>{close_button(strings)}</div>'
        f'<div class="drop-more"><p class="drop-formats">{escape(strings("drop_formats"))}</p>'
        f'<button type="button" id="choose-folder" class="plain">{escape(strings("choose_folder"))}</button>'
        '<input type="file" id="chosen-folder" webkitdirectory multiple hidden></div>'
    )


# ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────


def job_running(
    progress: Progress | None,
    strings: Strings,
    *,
    cancelling: bool = False,
    per_second: float | None = None,
) -> str:
    """A bar with the file in hand and a button to cancel; how long it takes, where `per_second` is known."""
    if cancelling:
        text = strings("job_cancelling")
    elif progress is None:
        text = strings("job_starting")
    else:
        text = strings(f"job_{progress.stage}", current=PurePosixPath(progress.current).name)
    done, total = (progress.done, progress.total) if progress else (0, 0)
    told = [f"{done} / {total}"] if total else []
    if per_second and not cancelling:
        told += [rate(per_second, strings), remaining(total - done, per_second, strings)]
    cancel = (
        ""
        if cancelling
        else f'<button type="button" class="plain" data-action="cancel">{escape(strings("job_cancel"))}</button>'
    )
    return render_job.running(text, render_job.bar_of(done, total), count=" · ".join(told), button=cancel)


def job_report(report: SyncReport, strings: Strings) -> str:
    """What a job did, in one line; the failures by name with their remedy."""
    counts = (
        ("job_added", len(report.added)),
        ("job_updated", len(report.updated)),
        ("job_moved", len(report.moved)),
        ("job_removed", len(report.removed)),
        ("job_unchanged", report.unchanged),
        ("job_failed", len(report.failed)),
    )
    told = " · ".join(strings(key, n=number) for key, number in counts if number)
    if not told and not report.conflicts and not report.cancelled:
        told = strings("job_nothing")
    ended = "job_cancelled" if report.cancelled else "job_partly" if report.failed else "job_done"
    state = strings(ended) if told or report.cancelled else ""
    conflicts = _conflicts(report.conflicts, strings)
    if not told and not state:
        return conflicts
    failures = "".join(_failure(failure, strings) for failure in report.failed[:_MAX_LISTED])
    return (
        f'<div class="job {"partly" if report.failed else "done"}" role="status"><div class="job-body">'
        f"<p><b>{escape(state)}</b> {escape(told)}</p>{f'<ul>{failures}</ul>' if failures else ''}</div>"
        f"{close_button(strings)}</div>{conflicts}"
    )


def job_error(text: str, cause: str, strings: Strings) -> str:
    """A job that could not run at all."""
    detail = f'<p class="cause">{escape(cause)}</p>' if cause else ""
    return (
        f'<div class="job failed" role="alert">{icon(ICON_ALERT, 20)}<div class="job-body">'
        f"<p>{escape(text)}</p>{detail}</div>{close_button(strings)}</div>"
    )


def _failure(failure: Failure, strings: Strings) -> str:
    name = PurePosixPath(failure.source).name
    text = strings.error(failure.code)
    return f"<li><b>{escape(name)}</b> {escape(text)}</li>"


def _conflicts(conflicts: Sequence[Conflict], strings: Strings) -> str:
    if not conflicts:
        return ""
    names = "".join(f"<li>{escape(conflict.name)}</li>" for conflict in conflicts[:_MAX_LISTED])
    more = len(conflicts) - _MAX_LISTED
    buttons = "".join(
        f'<button type="button" class="{css}" data-action="{action}">{escape(strings(f"conflict_{action}"))}</button>'
        for action, css in (("replace", "primary"), ("keep_both", "plain"), ("skip", "plain"))
    )
    return (
        f'<div class="job conflict" role="alert">{icon(ICON_ALERT, 20)}<div class="job-body">'
        f"<p>{escape(strings('conflict_title'))}</p><ul>{names}{f'<li>+ {more}</li>' if more > 0 else ''}</ul>"
        f'<div class="job-buttons">{buttons}</div></div></div>'
    )


def close_button(strings: Strings) -> str:
    """app.js hides the box that it stands in."""
    label = escape(strings("close"))
    return (
        f'<button type="button" class="row-action" data-close aria-label="{label}" title="{label}">'
        f"{icon(ICON_CLOSE, 16)}</button>"
    )
