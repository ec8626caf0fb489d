"""HTML of the passage in its document: a dialog that app.js opens as soon as it is there. Pure functions."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import PurePosixPath
from typing import Final

from ragkit.readers import page_kind
from ragkit.schema import Box, Document, Hit
from ragkit.store import StoredChunk
from ragkit.ui.plain import Sign, signs_of, within, without
from ragkit.ui.render import ICON_ALERT, ICON_CLOSE, icon, merge
from ragkit.ui.strings import Strings
from ragkit.viewing import View

CHUNKS: Final = 50  # a page of the list of passages
ICON_BACK: Final = "M15 5l-7 7 7 7"
ICON_FORTH: Final = "M9 5l7 7-7 7"
ICON_FETCH: Final = "M12 4v11m0 0l-4-4m4 4l4-4M5 20h14"


def document(place: str, hit: Hit, shown: View, strings: Strings, hidden: Sequence[Sign] = ()) -> str:
    """The dialog with one page or window, without the signs `hidden` of the whole text; `place` is what the buttons
    send back."""
    source = shown.document.source  # what it is called now; the passage may be older
    name = PurePosixPath(source).name
    kind = page_kind(hit.source) if shown.image is not None else "part"
    at = strings(f"view_{kind}", n=shown.number, total=shown.count)
    body = _page(shown, f"{name}, {at}") if shown.image is not None else _text(shown, hidden)
    note = strings.error(shown.trouble) if shown.trouble else ""
    if shown.image is not None and not shown.marks and shown.number == hit.page:
        note = strings("view_unmarked")
    steps = (
        _step("page", place, shown.number - 1, shown.count, "view_previous", ICON_BACK, strings)
        + f'<span class="view-at" role="status">{escape(at)}</span>'
        + _step("page", place, shown.number + 1, shown.count, "view_next", ICON_FORTH, strings)
    )
    fetch = (
        f'<button type="button" class="tool" data-action="download" data-id="{escape(place)}" '
        f'title="{escape(strings("view_download"))}" aria-label="{escape(strings("view_download"))}">{icon(ICON_FETCH)}</button>'
    )
    head = f'<h2 id="view-name" title="{escape(source)}">{escape(name)}</h2>'
    told = f'<p class="view-note">{icon(ICON_ALERT, 16)} {escape(note)}</p>' if note else ""
    return _dialog(f"{head}<div class='view-steps'>{steps}</div>{fetch}", told + body, strings)


def chunks(
    row: Document,
    all_chunks: Sequence[StoredChunk],
    page: int,
    strings: Strings,
    hidden: Sequence[Sign] = (),
) -> str:
    """The dialog with the passages that a document was cut into, CHUNKS a page, without its signs `hidden`."""
    pages = max(1, math.ceil(len(all_chunks) / CHUNKS))
    page = min(max(1, page), pages)
    first = CHUNKS * (page - 1)
    items = "".join(
        _chunk(first + n, one, strings, hidden) for n, one in enumerate(all_chunks[first : first + CHUNKS], 1)
    )
    at = strings("chunks_count", n=len(all_chunks))
    steps = ""
    if pages > 1:
        at += " · " + strings("documents_page", n=page, total=pages)
        steps = _step("chunks", str(row.id), page - 1, pages, "page_back", ICON_BACK, strings)
        steps += _step("chunks", str(row.id), page + 1, pages, "page_forth", ICON_FORTH, strings)
    name = PurePosixPath(row.source).name
    head = (
        f'<h2 id="view-name" title="{escape(row.source)}">{escape(name)}</h2>'
        f'<div class="view-steps"><span class="view-at" role="status">{escape(at)}</span>{steps}</div>'
    )
    return _dialog(head, f'<ol class="chunks" start="{first + 1}">{items}</ol>', strings)


def _chunk(number: int, one: StoredChunk, strings: Strings, hidden: Sequence[Sign]) -> str:
    page = strings(page_kind(one.source), n=one.page) if one.page else ""
    where = " · ".join(
        filter(None, (page, " › ".join(one.heading), strings("chunks_place", start=one.start, end=one.end)))
    )
    text = without(one.text, 0, len(one.text), within(hidden, one.start, one.end)).strip("\n")
    lead = (
        f'<div class="chunk-lead">{escape(without(one.lead, 0, len(one.lead), signs_of(one.lead, one.source)))}</div>'
        if one.lead
        else ""
    )
    return f'<li><div class="src-where">{number} · {escape(where)}</div>{lead}<div class="chunk-text">{escape(text)}</div></li>'


def trouble(text: str, strings: Strings) -> str:
    """The dialog when the document cannot be shown at all."""
    head = f'<h2 id="view-name">{escape(strings("view_failed"))}</h2>'
    return _dialog(head, f'<p class="view-note">{icon(ICON_ALERT, 16)} {escape(text)}</p>', strings)


def _dialog(head: str, body: str, strings: Strings) -> str:
    close = escape(strings("close"))
    return (
        f'<dialog class="view" aria-labelledby="view-name"><header>{head}'
        f'<button type="button" class="tool" data-action="close" title="{close}" aria-label="{close}">{icon(ICON_CLOSE)}</button>'
        f'</header><div class="view-body" tabindex="0">{body}</div></dialog>'
    )


def _step(action: str, place: str, to: int, count: int, key: str, drawing: str, strings: Strings) -> str:
    """A button to page `to` of `count`; dead where there is none."""
    label = escape(strings(key))
    off = "" if 1 <= to <= count else " disabled"
    return (
        f'<button type="button" class="tool" data-action="{action}" data-id="{escape(place)}-{to}" title="{label}" '
        f'aria-label="{label}"{off}>{icon(drawing)}</button>'
    )


def _page(shown: View, label: str) -> str:
    image = shown.image
    assert image is not None
    picture = b64encode(image.webp).decode("ascii")
    marks = "".join(_mark(box, image.width, image.height) for box in shown.marks)
    return (
        f'<div class="view-page"><img src="data:image/webp;base64,{picture}" alt="{escape(label)}" '
        f'width="{image.width}" height="{image.height}">{marks}</div>'
    )


def _mark(box: Box, width: int, height: int) -> str:
    left, top = 100 * box[0] / width, 100 * box[1] / height
    wide, tall = 100 * (box[2] - box[0]) / width, 100 * (box[3] - box[1]) / height
    return f'<i style="left:{left:.2f}%;top:{top:.2f}%;width:{wide:.2f}%;height:{tall:.2f}%"></i>'


def _text(shown: View, hidden: Sequence[Sign]) -> str:
    own = within(hidden, shown.start, shown.start + len(shown.text))

    def words(low: int, high: int) -> str:
        return escape(without(shown.text, low, high, own))

    parts: list[str] = []
    at = 0
    for start, end in merge(shown.spans):
        marked = words(start, end)
        parts += [words(at, start), f'<mark class="cited">{marked}</mark>' if marked else ""]
        at = end
    return f'<div class="view-text">{"".join(parts)}{words(at, len(shown.text))}</div>'
