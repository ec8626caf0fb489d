"""Which knowledge base is open, beside its documents: another one, a new one, one from a file, one to a file.

The browser names a knowledge base by its id, and a new one by its name; no path comes from there but that of an
upload, which Gradio has checked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import gradio as gr
from gradio.utils import get_upload_folder

from ragkit import config, log, shelf
from ragkit.errors import RagkitError
from ragkit.schema import Progress
from ragkit.shelf import Shelved
from ragkit.ui import render_job, render_library, render_shelf
from ragkit.ui.background import Background
from ragkit.ui.boot import Boot, is_default_library
from ragkit.ui.events import QUIETLY, html, sent
from ragkit.ui.strings import Strings

logger = logging.getLogger(__name__)

SUFFIX: Final = ".ragkit"
_ACTION: Final = 'element.addEventListener("ragkit", ({ detail }) => trigger("shelf_action", detail))'
_CLICK: Final = '() => document.querySelector("#exported")?.click()'


class ShelfPanel:
    """The list and its handlers. Each gives (job, list), and what else it changes."""

    def __init__(self, boot: Boot, strings_for: Callable[[gr.Request], Strings], log_file: str) -> None:
        self._boot = boot
        self._strings_for = strings_for
        self._log_file = log_file
        self._listed: list[Shelved] = []
        self._seen: object = None  # what was open, and how much was in it, when they were looked up

    def build(self, say: Callable[[str], Any]) -> list[Any]:
        """Put it on the page; gives the events after which another knowledge base may be open."""
        self.listed = html("", "shelf", js=_ACTION)
        job = html("", "shelf-job")
        with gr.Row(elem_id="shelf-new-row"):
            name = gr.Textbox(
                elem_id="shelf-new",
                label=say("shelf_new"),
                placeholder=say("shelf_new"),
                show_label=False,
                container=False,
                max_length=shelf.MAX_NAME,
                max_lines=1,
                submit_btn=say("shelf_make"),
            )
            file = gr.UploadButton(
                say("shelf_import"), elem_id="shelf-import", file_types=[SUFFIX, ".zip"], size="sm"
            )
        exported = gr.DownloadButton("", elem_id="exported", visible="hidden")
        one_at_a_time: dict[str, Any] = {**QUIETLY, "concurrency_id": "shelf", "concurrency_limit": 1}
        outcome = [job, self.listed]
        acted = self.listed.shelf_action(self.act, None, [*outcome, exported], **one_at_a_time)
        acted.then(None, None, None, js=_CLICK)
        return [
            acted,
            name.submit(self.make, name, [*outcome, name], **one_at_a_time),
            file.upload(self.take, file, [*outcome, file], **one_at_a_time),
        ]

    def forget(self) -> None:
        """Look the list up anew when it is painted next: another program may have made or changed one."""
        self._seen = None

    def paint(self, request: gr.Request) -> str:
        """The list as it was looked up, again where the open one has changed since: every tick of the clock paints it,
        and a look asks for the size of every file."""
        strings = self._strings_for(request)
        return self._painted(strings) if self._seen == self._now() else self._list(strings)

    def make(self, name: str, request: gr.Request) -> Iterator[tuple[object, object, object]]:
        """Make an empty knowledge base of this name and open it."""
        strings = self._strings_for(request)

        def work(_: Callable[[Progress], None]) -> None:
            self._open(shelf.place_of(name, self._boot.settings.data_dir))

        for job, listed in self._job(strings("shelf_opening", name=name[: shelf.MAX_NAME]), work, strings):
            yield job, listed, "" if job == "" else gr.skip()

    def take(self, file: str | None, request: gr.Request) -> Iterator[tuple[object, object, object]]:
        """Make a knowledge base of an exported file and open it."""
        strings = self._strings_for(request)
        if not file:
            return
        name = Path(file).name.removesuffix(".zip").removesuffix(SUFFIX)

        def work(_: Callable[[Progress], None]) -> None:
            from ragkit.portable import import_library

            place = shelf.free_place(name, self._boot.settings.data_dir)
            import_library(Path(file), place)
            self._open(place)

        for job, listed in self._job(strings("shelf_importing", name=Path(file).name), work, strings):
            yield job, listed, None

    def act(self, event: gr.EventData, request: gr.Request) -> Iterator[tuple[object, object, object]]:
        """Open, delete or export what the browser names by its id."""
        strings, action = self._strings_for(request), sent(event, "action")
        chosen = shelf.find(self._shelved(), sent(event, "id"))
        if chosen is None:
            yield "", self._list(strings), None
        elif action == "open":
            text = strings("shelf_opening", name=chosen.name)
            for painted in self._job(text, lambda _: self._open(chosen.folder), strings):
                yield *painted, None
        elif action == "delete" and not self._is_open(chosen):
            text = strings("shelf_delete_name", name=chosen.name)
            for painted in self._job(text, lambda _: self._delete(chosen), strings):
                yield *painted, None
        elif action == "export" and self._is_open(chosen):
            yield from self._export(chosen, strings)

    def _export(self, chosen: Shelved, strings: Strings) -> Iterator[tuple[object, object, object]]:
        file = Path(get_upload_folder(), f"export-{uuid4().hex}", f"{chosen.name}{SUFFIX}")

        def work(put: Callable[[Progress], None]) -> None:
            file.parent.mkdir(parents=True)
            self._boot.engine(0).export(file, progress=put)

        failed = True
        for job, listed in self._job(strings("shelf_exporting", name=chosen.name), work, strings):
            failed = job != ""
            yield job, listed, None
        if not failed:
            done = render_shelf.done(strings("shelf_exported", name=file.name), strings)
            yield done, gr.skip(), gr.DownloadButton(value=str(file))

    def _open(self, kb: Path) -> None:
        if kb.resolve() == self._boot.settings.kb.resolve():
            return
        self._boot.open_library(kb)
        data_dir = self._boot.settings.data_dir
        try:
            is_default = is_default_library(self._boot.settings)
            config.save(data_dir, kb=None if is_default else config.library_name(kb, data_dir))
        except (OSError, RagkitError) as error:
            logger.warning("which knowledge base is open could not be saved: %s", type(error).__name__)

    def _delete(self, chosen: Shelved) -> None:
        shelf.delete(chosen.folder, self._boot.settings.data_dir)

    def _job(
        self, text: str, work: Callable[[Callable[[Progress], None]], None], strings: Strings
    ) -> Iterator[tuple[object, object]]:
        """Do it behind the page; ("", list) at last, or why it could not be done."""
        yield render_job.running(text), gr.skip()
        try:
            job: Background[Progress, None] = Background(work)
            latest: Progress | None = None
            for step in job:
                if step is not None and step != latest:
                    latest = step
                    yield render_job.running(text, render_job.bar_of(latest.done, latest.total)), gr.skip()
        except RagkitError as error:
            told = render_library.job_error(strings.error(error.code), str(error), strings)
            yield told, self._list(strings)
        except Exception as error:  # noqa: BLE001  # the handler's edge: Gradio would show its text to the user
            log.failed(logger, "a job on the knowledge bases", error)
            told = strings("internal_error", log=self._log_file)
            yield render_library.job_error(told, "", strings), self._list(strings)
        else:
            yield "", self._list(strings)

    def _shelved(self) -> list[Shelved]:
        settings = self._boot.settings
        return shelf.listed(settings.data_dir, settings.kb)

    def _is_open(self, one: Shelved) -> bool:
        return one.folder.resolve() == self._boot.settings.kb.resolve()

    def _now(self) -> object:
        engine = self._boot.peek()
        return self._boot.settings.kb, engine and engine.coverage()

    def _list(self, strings: Strings) -> str:
        self._seen = self._now()
        self._listed = self._shelved() if self._boot.peek() else []
        return self._painted(strings)

    def _painted(self, strings: Strings) -> str:
        listed = self._listed
        if not listed:
            return ""
        here = next((one.id for one in listed if self._is_open(one)), "")
        own = {folder.resolve() for folder in config.libraries(self._boot.settings.data_dir)}
        return render_shelf.shelf(listed, here, {one.id for one in listed if one.folder in own}, strings)
