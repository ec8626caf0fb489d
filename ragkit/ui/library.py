"""The Knowledge base tab: files go in, the table of documents shows what became of them.

Handlers look ids up on the server and take no path from the browser, save as what a file of a dropped folder is
called; uploads reach them through gr.File, which checks that they lie in this process's own upload folder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

import gradio as gr

from ragkit import log
from ragkit.errors import RagkitError
from ragkit.schema import Conflict, OnProgress, Progress, SyncReport
from ragkit.ui import render_folders, render_library
from ragkit.ui.background import Background
from ragkit.ui.boot import Boot
from ragkit.ui.events import sent
from ragkit.ui.pace import Pace
from ragkit.ui.strings import Strings
from ragkit.ui.table import View

if TYPE_CHECKING:
    from ragkit.engine import Engine
    from ragkit.index import Upload

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S: Final = 120.0
THROTTLE_S: Final = 0.3  # a thousand small files would repaint the table a thousand times

_POLICIES: Final[dict[str, Literal["replace", "keep_both"]]] = {
    "replace": "replace",
    "keep_both": "keep_both",
}

# What the buttons above the table do to everything that waits.
_QUEUE: Final[dict[str, Callable[[Engine], None]]] = {
    "pause": lambda engine: engine.pause(),
    "resume": lambda engine: engine.resume(),
    "abandon": lambda engine: engine.abandon(),
}

MOST_AT_ONCE: Final = 1000  # files that Gradio takes in one request
LONGEST_PATH: Final = 4096  # characters; what is refused for its length is told by the rest of it

Painted = tuple[object, object]  # the job's state, and the table of documents


@dataclass(slots=True)
class Parcel:
    """A dropped folder on its way here, some files at a time. They are uploaded under names of their own, because
    Gradio drops folders from a name, and cuts it."""

    batch: str = ""
    names: dict[str, PurePosixPath] = field(
        default_factory=dict
    )  # of this batch: as uploaded -> in the folder
    here: list[Upload] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Checked:
    """A mirrored folder whose changes the user has seen."""

    kb: Path  # that it was compared with
    folder: Path
    mostly_gone: bool  # and this warning with them


@dataclass(slots=True)
class Desk:
    """What one browser tab has in hand. Changed in place: Gradio keeps the object itself."""

    waiting: list[Upload] = field(default_factory=list)
    parcel: Parcel = field(default_factory=lambda: Parcel())
    conflicts: tuple[Conflict, ...] = ()
    cancel: threading.Event | None = None  # of the job under way
    checked: Checked | None = None
    view: View = field(default_factory=View)  # of the table


class Library:
    """The handlers of the tab. Each gives (job, table): what is going on, and the documents."""

    def __init__(
        self,
        boot: Boot,
        strings_for: Callable[[gr.Request], Strings],
        table: Callable[[Strings, View], str],
        log_file: str,
    ) -> None:
        self._boot = boot
        self._strings_for = strings_for
        self._table = table
        self._log_file = log_file

    def take(self, files: list[str] | None, desk: Desk, request: gr.Request) -> tuple[None, object, object]:
        """Put dropped files on the desk and clear the drop zone, so that more can be dropped meanwhile."""
        names, given = desk.parcel.names, [Path(file) for file in files or ()]
        desk.waiting += [(file, file.name) for file in given if file.name not in names]
        packed: list[Upload] = [(file, names.pop(file.name)) for file in given if file.name in names]
        desk.parcel.here += packed
        job = render_library.job_running(None, self._strings_for(request))
        return (
            None,
            job if desk.waiting else gr.skip(),
            render_folders.parcel(desk.parcel.batch, "here") if packed else gr.skip(),
        )

    def announce(self, desk: Desk, event: gr.EventData, request: gr.Request) -> tuple[str, str]:
        """Hear which files of a dropped folder come next, and what they are called there."""
        data = event._data if isinstance(event._data, dict) else {}
        paths = data.get("paths")
        desk.parcel.batch = sent(event, "batch")
        desk.parcel.names = {
            f"{desk.parcel.batch}-{n}": PurePosixPath(path[-LONGEST_PATH:])
            for n, path in enumerate(paths[:MOST_AT_ONCE] if isinstance(paths, list) else ())
            if isinstance(path, str)
        }
        job = render_folders.uploading(
            len(desk.parcel.here), sent(event, "total"), self._strings_for(request)
        )
        return job, render_folders.parcel(desk.parcel.batch, "announced")

    def unpack(self, desk: Desk) -> object:
        """The dropped folder is here, or as much of it as came: it is read as one job.

        That job paints itself: what this would paint could come in after the job's end.
        """
        came, desk.parcel = desk.parcel.here, Parcel()
        desk.waiting += came
        return gr.skip() if came else ""

    def add(self, desk: Desk, request: gr.Request) -> Iterator[Painted]:
        """Index what waits on the desk. Names that are taken by other content are asked about."""
        uploads, desk.waiting = desk.waiting, []
        if not uploads:  # another job took them; without a word Gradio would blank what that job painted
            yield gr.skip(), gr.skip()
            return

        def work(engine: Engine, progress: OnProgress) -> SyncReport:
            return engine.add(uploads, progress=progress, cancel=desk.cancel)

        yield from self.job(work, desk, self._strings_for(request))

    def resolve(self, desk: Desk, event: gr.EventData, request: gr.Request) -> Iterator[Painted]:
        """Do with the conflicting files what the user chose; to skip them is to do nothing."""
        strings = self._strings_for(request)
        policy = _POLICIES.get(sent(event, "action"))
        uploads = [(conflict.path, PurePosixPath(conflict.name)) for conflict in desk.conflicts]
        desk.conflicts = ()
        if policy is None or not uploads:
            yield "", self._table(strings, desk.view)
            return

        def work(engine: Engine, progress: OnProgress) -> SyncReport:
            return engine.add(uploads, on_conflict=policy, progress=progress, cancel=desk.cancel)

        yield from self.job(work, desk, strings)

    def row(self, desk: Desk, event: gr.EventData, request: gr.Request) -> Iterator[Painted]:
        """Delete a document or read it again; the browser names it by its id, and those that could not be read
        together."""
        strings = self._strings_for(request)
        action, number = sent(event, "action"), sent(event, "id")
        ids = [int(number)] if number.isdecimal() else []

        def work(engine: Engine, progress: OnProgress) -> SyncReport:
            rows = engine.documents()
            known = [row.id for row in rows if row.id in ids]
            if action == "delete" and number == render_library.UNREAD:
                return engine.remove([row.id for row in render_library.unread(rows)])
            if action == "delete":
                return engine.remove(known)
            return engine.reread(known, progress=progress, cancel=desk.cancel)

        if action in {"delete", "reread"}:
            yield from self.job(work, desk, strings)

    def queue(self, desk: Desk, event: gr.EventData, request: gr.Request) -> str:
        """Hold, let go on, or drop what waits to be read."""
        if act := _QUEUE.get(sent(event, "action")):
            act(self._boot.engine(OPEN_TIMEOUT_S))
        return self._table(self._strings_for(request), desk.view)

    def look(self, desk: Desk, event: gr.EventData, request: gr.Request) -> str:
        """Sort the table, or turn its page."""
        change = desk.view.sorted_by if sent(event, "action") == "sort" else desk.view.turned_to
        desk.view = change(sent(event, "id"))
        return self._table(self._strings_for(request), desk.view)

    def filter(self, words: str, desk: Desk, request: gr.Request) -> str:
        """Show the documents whose source holds these words."""
        desk.view = desk.view.filtered_by(words)
        return self._table(self._strings_for(request), desk.view)

    def cancel(self, desk: Desk) -> None:
        """Ask the job under way to stop; the file in hand is let go. The job paints it: what this would paint
        could come in after the job's end."""
        if desk.cancel is not None:
            desk.cancel.set()

    def job(
        self, work: Callable[[Engine, OnProgress], SyncReport], desk: Desk, strings: Strings
    ) -> Iterator[Painted]:
        """Do a job on the engine, paint how far it is, and at last what it did or why it could not."""
        cancel = desk.cancel = threading.Event()
        yield render_library.job_running(None, strings), gr.skip()
        try:
            engine = self._boot.engine(OPEN_TIMEOUT_S)
            job: Background[Progress, SyncReport] = Background(lambda put: work(engine, put))
            painted_at = 0.0
            latest: Progress | None = None
            pace = Pace()
            for step in job:
                latest, now = step or latest, time.monotonic()
                if step is not None and step.stage == "read":
                    pace = pace.noted(step.done, now)
                if now - painted_at >= THROTTLE_S:
                    painted_at = now
                    running = render_library.job_running(
                        latest, strings, cancelling=cancel.is_set(), per_second=pace.per_second(now)
                    )
                    yield running, self._table(strings, desk.view)
        except RagkitError as error:
            yield render_library.job_error(strings.error(error.code), str(error), strings), gr.skip()
        except Exception as error:  # noqa: BLE001  # the handler's edge: Gradio would show its text to the user
            log.failed(logger, "a job in the knowledge base", error)
            told = strings("internal_error", log=self._log_file)
            yield render_library.job_error(told, "", strings), self._table(strings, desk.view)
        else:
            # What was asked about before this job is still to be answered.
            desk.conflicts = tuple(dict.fromkeys((*desk.conflicts, *job.result.conflicts)))
            report = replace(job.result, conflicts=desk.conflicts)
            yield render_library.job_report(report, strings), self._table(strings, desk.view)
