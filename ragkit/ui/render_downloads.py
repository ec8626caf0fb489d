"""HTML of a model that is not on this machine: how its download stands, and the button for it. Pure functions."""

from __future__ import annotations

from html import escape
from typing import Protocol

from ragkit.errors import RagkitError
from ragkit.sizes import gigabytes
from ragkit.transfer import Transfer
from ragkit.ui.pace import remaining
from ragkit.ui.render import progress_bar
from ragkit.ui.strings import Strings


class Fetching(Protocol):
    """How a download stands: `ragkit.ui.downloads.Downloads`."""

    @property
    def running(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def step(self) -> Transfer | None: ...
    @property
    def cancelling(self) -> bool: ...
    @property
    def error(self) -> RagkitError | None: ...


def fetching(
    name: str, downloads: Fetching, id: str, strings: Strings, unfinished_bytes: int | None = None
) -> tuple[str, str]:
    """What stands under the name of a model that is not here, and its buttons."""
    if not downloads.running:
        error = downloads.error if downloads.name == name else None
        told, label = failure(error) if error else "", strings("download_again" if error else "download")
        if unfinished_bytes is None:
            return told, button("fetch", id, label, name)
        size = gigabytes(unfinished_bytes)
        told += f'<p class="model-facts">{escape(strings("download_unfinished", size=size))}</p>'
        ask = strings("download_discard_confirm", name=name, size=size)
        discard = button("discard", id, strings("delete"), name, confirm=ask)
        return told, button("fetch", id, label if error else strings("download_go_on"), name) + discard
    if downloads.name != name:
        return "", ""
    if downloads.cancelling:
        return f'<p class="model-facts">{escape(strings("job_cancelling"))}</p><progress></progress>', ""
    at = downloads.step
    if at is None or not at.total_bytes:
        told = f'<p class="model-facts">{escape(strings("download_begins"))}</p><progress></progress>'
    else:
        parts = [f"{gigabytes(at.done_bytes)} / {gigabytes(at.total_bytes)}"]
        if at.rate_bytes_s > 0:
            parts.append(f"{at.rate_bytes_s / 1e6:.1f} MB/s")
            parts.append(remaining(max(0, at.total_bytes - at.done_bytes), at.rate_bytes_s, strings))
        told = f'<p class="model-facts">{escape(" · ".join(parts))}</p>'
        told += progress_bar(at.done_bytes / at.total_bytes, name)
    return told, button("cancel", id, strings("cancel"), name)


def failure(error: RagkitError) -> str:
    """What went wrong, and the next step on a line of its own."""
    hint = f'<p class="model-facts">{escape(error.hint)}</p>' if error.hint else ""
    return f'<p class="model-fit short">{escape(error.message)}</p>{hint}'


def button(action: str, id: str, text: str, name: str, *, confirm: str = "") -> str:
    """A button of a list; `confirm` is asked before it does anything."""
    ask = f' data-confirm="{escape(confirm)}" title="{escape(text)}"' if confirm else ""
    return (
        f'<button type="button" class="plain" data-action="{action}" data-id="{escape(id)}"{ask} '
        f'aria-label="{escape(f"{text}: {name}")}">{escape(text)}</button>'
    )
