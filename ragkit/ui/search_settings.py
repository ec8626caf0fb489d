"""Settings of the search by meaning: which embedding model, and how far its vectors are.

A change is safe: the vectors that are there answer until those of the new model are whole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import gradio as gr

from ragkit import choices, config
from ragkit.choices import EmbeddingChoice
from ragkit.errors import RagkitError
from ragkit.schema import EmbeddingStatus
from ragkit.ui import downloads, render_search
from ragkit.ui.boot import Boot
from ragkit.ui.events import AT_ONCE, html, sent
from ragkit.ui.pace import Pace
from ragkit.ui.strings import Strings
from ragkit.ui.task import Task

logger = logging.getLogger(__name__)

_ACTION: Final = 'element.addEventListener("ragkit", ({ detail }) => trigger("embedding_action", detail))'


class SearchSettings:
    """A list of embedding models; the browser names one by the id of its place there."""

    def __init__(self, boot: Boot, strings_for: Callable[[gr.Request], Strings]) -> None:
        self._boot = boot
        self._downloads = boot.downloads
        self._strings_for = strings_for
        self._change: Task[None] = Task()
        self._began = 0.0  # of time.monotonic: the change
        self._vectors = Pace()  # replaced whole: several windows may look at once
        self._counted: EmbeddingStatus | None = None  # what they are of
        self._listed: list[EmbeddingChoice] = []
        self._seen: object = None  # what was in use, and had come, when it was looked up

    def build(self, opened: gr.Tab) -> tuple[gr.HTML, Any]:
        """Put the list on the page, in `opened`; gives it, and the event after which it changes by itself."""
        with gr.Column(elem_id="search-column"):
            listed = html("", "embeddings", js=_ACTION)
        opened.select(self.open, None, listed, **AT_ONCE)
        acted = listed.embedding_action(self.act, None, listed, trigger_mode="multiple", **AT_ONCE)
        return listed, acted

    def settled(self) -> bool:
        return not self._change.running

    def open(self, request: gr.Request) -> str:
        """Show the list, looked up anew: a model may have come by the command line."""
        self._seen = None
        return self.paint(request)

    def paint(self, request: gr.Request) -> str:
        return self._painted(self._strings_for(request))

    def act(self, event: gr.EventData, request: gr.Request) -> str:
        """Take the model with this id, fetch it, or stop either."""
        strings = self._strings_for(request)
        action, named = sent(event, "action"), sent(event, "id")
        chosen = next((choice for choice in self._choices() if choice.id == named), None)
        trouble = ""
        if action == "cancel":
            changing = chosen is not None and self._change.running and self._change.name == chosen.where
            (self._change if changing else self._downloads).cancel()
        elif chosen is not None and action == "fetch" and not chosen.here:
            trouble = "" if self._downloads.begin(chosen.where) else strings("download_busy")
        elif chosen is not None and action == "discard" and not chosen.here:
            trouble = self._discard(chosen.where, strings)
        elif chosen is not None and action == "embed" and chosen.usable:
            trouble = "" if self._take(chosen.where) else strings("switch_busy")
        return self._painted(strings, trouble)

    def _discard(self, where: str, strings: Strings) -> str:
        """Delete what has come of an unfinished download; gives what stood in the way."""
        if self._downloads.running:
            return strings("download_busy")
        try:
            downloads.discard(where, self._boot.settings.data_dir)
        except RagkitError as error:
            return str(error)
        self._seen = None
        return ""

    def _take(self, where: str) -> bool:
        def work(_note: object, cancel: threading.Event) -> None:
            from ragkit import embedding  # with numpy, which the engine has brought by now

            # Before the lock is taken: it needs none, and it takes a minute.
            if where != "off" and not embedding.prepare(
                where, self._boot.settings.data_dir, cancelled=cancel.is_set
            ):
                return
            with self._boot.slot.libraries:
                changed = self._boot.engine(0).change_embedding(where, cancel.is_set)
            if not changed:
                return
            self._boot.settings = replace(self._boot.settings, embedding=where)
            try:
                config.save(self._boot.settings.data_dir, embedding=None if where == "auto" else where)
            except (OSError, RagkitError) as error:
                logger.warning(
                    "the choice of the embedding model could not be saved: %s", type(error).__name__
                )

        began = self._change.start(where, work)
        if began:
            self._began = time.monotonic()
        return began

    def _choices(self) -> list[EmbeddingChoice]:
        """The list; looked up when it may have changed, for it is painted at every tick of the page's clock."""
        seen = (self._boot.settings.embedding, self._downloads.ended)
        if self._seen != seen:
            self._listed, self._seen = choices.embeddings(self._boot.settings), seen
        return self._listed

    def _painted(self, strings: Strings, trouble: str = "") -> str:
        engine = self._boot.peek()
        if engine is None:
            return ""
        if self._change.error is not None and not trouble:
            trouble = f"{strings('embedding_refused')} {self._change.error}"
        listed, next = self._choices(), engine.embedding_coverage()
        at, status = time.monotonic(), engine.embedding
        pace = Pace() if next.complete or self._counted != status else self._vectors
        self._vectors, self._counted = pace.noted(next.embedded, at), status
        now = render_search.Now(
            where=self._boot.settings.embedding,
            status=status,
            missing={
                choice.where: engine.without_vector(choice.record)
                for choice in listed
                if choice.usable and choice.record is not None
            },
            next=next,
            per_second=None if engine.paused else self._vectors.per_second(at),
            changing=self._change.name if self._change.running else "",
            cancelling=self._change.cancelling,
            seconds=at - self._began,
            trouble=trouble,
        )
        return render_search.embeddings(listed, now, self._downloads, strings)
