"""How the next question is asked: of all documents or some, with them, without them, or both. Above the page's chat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import gradio as gr

from ragkit.schema import Document
from ragkit.ui.boot import Boot

_MOST: Final = 500  # places to choose from; what is further down can be typed


class Scope:
    """Two components, inputs of the chat."""

    def __init__(self, boot: Boot, say: Callable[[str], Any]) -> None:
        self._boot = boot
        with gr.Row(elem_id="how"):
            self.mode = gr.Radio(
                [(say(f"mode_{mode}"), mode) for mode in ("documents", "model", "both")],
                value="documents",
                label=say("mode"),
                show_label=False,
                container=False,
                elem_id="mode",
                min_width=120,
            )
            self.places = gr.Dropdown(
                [],
                value=[],
                multiselect=True,
                allow_custom_value=True,
                label=say("scope"),
                show_label=False,
                container=False,
                elem_id="scope",
                min_width=160,
            )

    def refresh(self, chosen: list[str] | None) -> Any:
        """The places that there are now; a chosen one that is gone stays no longer chosen."""
        engine = self._boot.peek()
        there = places(engine.documents()) if engine is not None else []
        return gr.Dropdown(choices=there, value=[one for one in chosen or () if one in there])


def places(documents: Sequence[Document]) -> list[str]:
    """The folders, then the files that can be asked, as Filters.places takes them."""
    sources = sorted(document.source for document in documents if document.chunks)
    folders = sorted(
        {f"{parent}/" for source in sources for parent in PurePosixPath(source).parents} - {"./"}
    )
    return [*folders, *sources][:_MOST]
