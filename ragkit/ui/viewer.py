"""The passage in its document, over the page: which one is looked up on the server, never told by the browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from shutil import copyfile
from typing import Any, Final

import gradio as gr
from gradio.utils import get_upload_folder

from ragkit.errors import RagkitError
from ragkit.schema import Document, Hit
from ragkit.ui import render, render_viewer
from ragkit.ui.boot import Boot
from ragkit.ui.chat import Conversation
from ragkit.ui.events import AT_ONCE, html, sent
from ragkit.ui.plain import signs_of
from ragkit.ui.strings import Strings
from ragkit.viewing import view

_VIEW_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => '
    'trigger({ download: "fetch_original", chunks: "browse_action" }[detail.action] ?? "view_action", detail))'
)
_DOCUMENT: Final = re.compile(r"(\d{1,12})(?:-(\d{1,6}))?")  # id, page of its list
_PLACE: Final = re.compile(r"(\w{1,32})-(\d{1,3})(?:-(\d{1,6}))?")  # turn, number of the passage, page


class Viewer:
    """The dialog and its handlers; each takes the id of a place, "turn-number" or "turn-number-page"."""

    def __init__(self, boot: Boot, strings_for: Callable[[gr.Request], Strings]) -> None:
        self._boot = boot
        self._strings_for = strings_for

    def build(self) -> None:
        """Put the dialog on the page, outside of its tabs: a hidden one would hide it."""
        self._shown = html("", "viewer", js=_VIEW_ACTION)
        self._fetched = gr.DownloadButton("", elem_id="fetched", visible="hidden")

    def show_sources(self, panel: gr.HTML, conversation: gr.State) -> None:
        """Let `panel` ask for a passage by its event open_source."""
        shown, fetched = self._shown, self._fetched
        panel.open_source(self.act, conversation, shown, **AT_ONCE)
        shown.view_action(self.act, conversation, shown, trigger_mode="multiple", **AT_ONCE)
        shown.fetch_original(self.fetch, conversation, fetched, **AT_ONCE).then(
            None, None, None, js='() => document.querySelector("#fetched").click()'
        )

    def show_chunks(self, table: gr.HTML) -> None:
        """Let `table` ask for the passages of a document by its event browse_action."""
        for asking in (table, self._shown):
            asking.browse_action(self.browse, None, self._shown, trigger_mode="multiple", **AT_ONCE)

    def browse(self, event: gr.EventData, request: gr.Request) -> str:
        """Show the passages that a document was cut into; the id is "document" or "document-page"."""
        strings = self._strings_for(request)
        found = _DOCUMENT.fullmatch(sent(event, "id"))
        if not found:
            return ""
        try:
            engine = self._boot.engine(0)
            document = engine.document(int(found[1]))
            # Of the whole text: a passage may begin within a block of code.
            hidden = signs_of(engine.text(document.id), document.source)
            all_chunks = engine.chunks(document.id)
            return render_viewer.chunks(document, all_chunks, int(found[2] or 1), strings, hidden)
        except RagkitError as error:
            return render_viewer.trouble(strings.error(error.code), strings)

    def act(self, conversation: Conversation, event: gr.EventData, request: gr.Request) -> str:
        """Show a place, or nothing any more."""
        strings = self._strings_for(request)
        place = sent(event, "id")
        found = _PLACE.fullmatch(place)
        if sent(event, "action") == "close" or not found:
            return ""
        try:
            document, hit, spans = self._find(conversation, found)
            page = int(found[3]) if found[3] else None
            engine = self._boot.engine(0)
            shown = view(engine, document, spans, hit.page, page)
            hidden = signs_of(engine.text(document.id), document.source)
        except RagkitError as error:
            return render_viewer.trouble(strings.error(error.code), strings)
        return render_viewer.document(f"{found[1]}-{found[2]}", hit, shown, strings, hidden)

    def fetch(self, conversation: Conversation, event: gr.EventData) -> Any:
        """Lay the original out for the browser to fetch: a copy, since nothing in the library is served itself."""
        found = _PLACE.fullmatch(sent(event, "id"))
        if not found:
            return gr.skip()
        engine = self._boot.engine(0)
        document, _, _ = self._find(conversation, found)
        copy = Path(get_upload_folder(), f"original-{document.id}", PurePosixPath(document.path).name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with engine.original(document.id) as file:
            copyfile(file, copy)
        return gr.DownloadButton(value=str(copy))

    def _find(
        self, conversation: Conversation, found: re.Match[str]
    ) -> tuple[Document, Hit, list[tuple[int, int]]]:
        """The document and the passage of a place, and what to mark in it. Raises RagkitError."""
        exchange = conversation.exchanges.get(found[1])
        number = int(found[2])
        if (
            exchange is None
            or exchange.kb != self._boot.engine(0).settings.kb
            or not 1 <= number <= len(exchange.answer.hits)
        ):
            raise RagkitError("The sources of this answer are no longer kept.", "Ask again.")
        hit = exchange.answer.hits[number - 1]
        document = self._boot.engine(0).document(hit.doc_id)
        cited = render.cited_spans(exchange.answer, number)
        return (
            document,
            hit,
            [(hit.start + low, hit.start + high) for low, high in cited] or [(hit.start, hit.end)],
        )
