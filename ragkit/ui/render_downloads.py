"""HTML of a model that is not on this machine: how its download stands, and the button for it. Pure functions."""

from __future__ import annotations

from html import escape
from typing import Final, Protocol

from ragkit.errors import RagkitError
from ragkit.transfer import Transfer
from ragkit.ui.pace import remaining
from ragkit.ui.render import progress_bar
from ragkit.ui.strings import Strings

_GB: Final = 1 << 30  # as everywhere in ragkit.load_plan


def gigabytes(size_bytes: float) -> str:
    """1932735283 -> '1.8 GB'; below 0.1 GB in MB."""
    if size_bytes < 0.1 * _GB:
        return f"{size_bytes / (1 << 20):.0f} MB"
    return f"{size_bytes / _GB:.1f} GB"


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


def fetching(name: str, downloads: Fetching, id: str, strings: Strings) -> tuple[str, str]:
    """What stands under the name of a model that is not here, and its button."""
    if not downloads.running:
        error = downloads.error if downloads.name == name else None
        told = failure(error) if error else ""
        label = strings("download_again" if error else "download")
        return told, button("fetch", id, label, name)
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
