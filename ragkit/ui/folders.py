"""Folders on the Knowledge base tab: one that is dropped, and those of this computer that can be mirrored.

The latter are named where the machine's owner sits; the browser sends their ids, never a path.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import gradio as gr

from ragkit import config, log
from ragkit.changes import is_mostly_gone
from ragkit.errors import RagkitError
from ragkit.scan import folder_root
from ragkit.schema import OnProgress, SyncReport
from ragkit.store import Root
from ragkit.ui import render_folders, render_library
from ragkit.ui.background import Background
from ragkit.ui.boot import Boot
from ragkit.ui.events import AT_ONCE, QUIETLY, html, sent
from ragkit.ui.library import OPEN_TIMEOUT_S, Checked, Desk, Library
from ragkit.ui.strings import Strings
from ragkit.ui.table import View

if TYPE_CHECKING:
    from ragkit.engine import Engine

logger = logging.getLogger(__name__)

FOLDER_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => trigger({ check: "check_folder", apply: "apply_changes", '
    'forget: "forget_gone" }[detail.action] ?? "drop_changes", detail))'
)
_PARCEL_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => '
    'trigger(detail.action === "announce" ? "announce_batch" : "unpack_parcel", detail))'
)


def offered(boot: Boot) -> list[Root]:
    """The folders that may be mirrored from the page, each as the root that it is or would be: those named at the
    start, and those that the library mirrors and that are there."""
    engine = boot.peek()
    taken = engine.roots() if engine is not None else []
    # Not the samples: they go in once, and one that was deleted stays away.
    known = [
        root.folder
        for root in taken
        if root.folder is not None and root.folder.is_dir() and root.folder != config.SAMPLES
    ]
    roots: dict[str, Root] = {}
    for folder in (*boot.folders, *known):
        root = folder_root(folder, [*taken, *roots.values()])
        roots.setdefault(root.id, root)
    return list(roots.values())


class Folders:
    """Components of the tab, and their events."""

    def __init__(
        self, boot: Boot, strings_for: Callable[[gr.Request], Strings], library: Library, log_file: str
    ) -> None:
        self._boot = boot
        self._strings_for = strings_for
        self._library = library
        self._log_file = log_file

    def build_parcel(self) -> None:
        """Beside the drop zone."""
        self._parcel = html(render_folders.parcel(), "parcel", js=_PARCEL_ACTION)

    def build_changes(self) -> None:
        """Where it is shown what has changed in a folder."""
        self._changes = html("", "changes", js=FOLDER_ACTION)

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

    def follow(self, moved: Sequence[Any], job: gr.HTML, desk: gr.State) -> None:
        """After these events another knowledge base may be open."""
        for event in moved:
            event.then(self.leave, desk, [job, self._changes], **AT_ONCE)

    def mirror(
        self, about: gr.HTML, job: gr.HTML, table: gr.HTML, desk: gr.State, one_at_a_time: dict[str, Any]
    ) -> list[Any]:
        """Check the folders that stand in `about`, and take over what has changed in them."""
        changes = self._changes
        looking: dict[str, Any] = {**QUIETLY, "concurrency_id": "folders", "concurrency_limit": 1}
        about.check_folder(self.check, desk, changes, **looking)
        changes.drop_changes(self.drop, desk, changes, **AT_ONCE)
        return [
            about.forget_gone(self.forget, None, None, **AT_ONCE),
            changes.apply_changes(self.apply, desk, [job, table, changes], **one_at_a_time),
        ]

    def check(self, desk: Desk, event: gr.EventData, request: gr.Request) -> Iterator[str]:
        """Look what a sync of a folder would do."""
        strings = self._strings_for(request)
        desk.checked = None
        root = self._root(event)
        if root is None or root.folder is None:
            yield ""
            return
        folder, label = root.folder, root.label
        yield render_folders.looking(label, strings)
        try:
            engine = self._boot.engine(OPEN_TIMEOUT_S)
            look: Background[None, SyncReport] = Background(lambda _: engine.sync(folder, dry_run=True))
            for _ in look:
                pass
        except RagkitError as error:
            yield render_library.job_error(strings.error(error.code), str(error), strings)
        except Exception as error:  # noqa: BLE001  # the handler's edge: Gradio would show its text to the user
            log.failed(logger, "looking for changes in a folder", error)
            yield render_library.job_error(strings("internal_error", log=self._log_file), "", strings)
        else:
            report = look.result
            mostly_gone = is_mostly_gone(report)
            if report.added or report.updated or report.moved or report.removed:
                desk.checked = Checked(engine.settings.kb, folder, mostly_gone)
            yield render_folders.changes(report, label, strings, mostly_gone=mostly_gone)

    def apply(self, desk: Desk, request: gr.Request) -> Iterator[tuple[object, object, str]]:
        """Make the library hold what the folder holds now."""
        checked, desk.checked = desk.checked, None
        if checked is None or checked.kb != self._boot.settings.kb:
            yield gr.skip(), gr.skip(), ""
            return

        def work(engine: Engine, progress: OnProgress) -> SyncReport:
            # Much may have gone since the user looked: that is forgotten only when it was shown.
            now = engine.sync(checked.folder, dry_run=True)
            keep = is_mostly_gone(now) and not checked.mostly_gone
            return engine.sync(checked.folder, keep_gone=keep, progress=progress, cancel=desk.cancel)

        for job, table in self._library.job(work, desk, self._strings_for(request)):
            yield job, table, ""

    def leave(self, desk: Desk) -> tuple[str, str]:
        """Another knowledge base is open: what this visitor had in hand was of the other one."""
        desk.conflicts, desk.checked, desk.view = (), None, View()
        return "", ""

    def drop(self, desk: Desk) -> str:
        """Leave it as it is."""
        desk.checked = None
        return ""

    def forget(self, event: gr.EventData) -> None:
        """Forget what is gone from a watched folder, most of which is gone."""
        root = self._root(event)
        if root is not None and root.folder is not None:
            self._boot.confirm(root.folder)

    def _root(self, event: gr.EventData) -> Root | None:
        id = sent(event, "id")
        return next((root for root in offered(self._boot) if root.id == id), None)
