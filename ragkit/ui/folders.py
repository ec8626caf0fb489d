"""Folders on the Knowledge base tab: one that is dropped, with everything in it."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr

from ragkit.ui import render_folders
from ragkit.ui.events import AT_ONCE, html
from ragkit.ui.library import Library

_PARCEL_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => '
    'trigger(detail.action === "announce" ? "announce_batch" : "unpack_parcel", detail))'
)


class Folders:
    """Components of the tab, and their events."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def build_parcel(self) -> None:
        """Beside the drop zone."""
        self._parcel = html(render_folders.parcel(), "parcel", js=_PARCEL_ACTION)

    def take_uploads(
        self, drop: gr.File, job: gr.HTML, table: gr.HTML, desk: gr.State, one_at_a_time: dict[str, Any]
    ) -> list[Any]:
        """Read what comes through the drop zone: files at once, a folder when all of it is here."""
        library, parcel = self._library, self._parcel
        parcel.announce_batch(library.announce, desk, [job, parcel], trigger_mode="multiple", **AT_ONCE)
        # "multiple": files dropped while others are read wait for their turn instead of being lost.
        taken = (
            drop.upload(library.take, [drop, desk], [drop, job, parcel], trigger_mode="multiple", **AT_ONCE),
            parcel.unpack_parcel(library.unpack, desk, job, trigger_mode="multiple", **AT_ONCE),
        )
        return [
            one.then(library.add, desk, [job, table], trigger_mode="multiple", **one_at_a_time)
            for one in taken
        ]
