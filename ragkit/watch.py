"""Keep folders mirrored while the program runs: look when something stirs, wait until it is quiet, sync.

The rules are those of a preview: what is new or changed goes in by itself; a folder that is not there
removes nothing; and when most of a folder is gone at once, that waits for a person.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from ragkit.changes import is_mostly_gone
from ragkit.errors import RagkitError, UsageError
from ragkit.schema import OnProgress, SyncReport, no_progress

logger = logging.getLogger(__name__)

QUIET_S = 1.0  # nothing has stirred for so long: a copy of many files is one sync
AT_LATEST_S = 10.0  # after the first stir, however much goes on
LOOK_AGAIN_S = 60.0  # network drives report nothing; an unchanged folder of 1,000 files takes hundredths

WatchState = Literal["starting", "mirrored", "held", "missing", "failed"]
_STIRS = frozenset({"created", "modified", "moved", "deleted", "closed"})  # reading a file stirs nothing


class Syncs(Protocol):
    """What is asked of the library."""

    def sync(
        self,
        folder: Path,
        *,
        dry_run: bool = False,
        keep_gone: bool = False,
        progress: OnProgress = no_progress,
        cancel: threading.Event | None = None,
    ) -> SyncReport: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """How a folder stands. "held": `preview.removed` are gone and wait to be confirmed."""

    folder: Path
    state: WatchState = "starting"
    preview: SyncReport = field(default_factory=SyncReport)  # what the last look found to do
    error: RagkitError | None = None


class Watcher(FileSystemEventHandler):
    """Watches folders from `start` to `close`; `on_sync` hears of each sync that changed something."""

    def __init__(
        self,
        library: Syncs,
        folders: Sequence[Path],
        *,
        on_sync: Callable[[Path, SyncReport], None] = lambda folder, report: None,
        progress: OnProgress = no_progress,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._library = library
        self._on_sync = on_sync
        self._progress = progress
        self._quiet_s = quiet_s
        self._watched = {folder.expanduser().resolve(): Watched(folder) for folder in folders}
        self._confirmed: set[Path] = set()
        self._stirred_at: dict[Path, tuple[float, float]] = {}  # first and last stir since the last sync
        self._lock = threading.Lock()
        self._cancel = threading.Event()
        self._observers: dict[Path, BaseObserver] = {}
        self._thread = threading.Thread(target=self._run, name="ragkit-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop watching; a sync under way stops after the file in hand."""
        self._cancel.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)
        for folder in list(self._observers):
            self._unobserve(folder)

    def watched(self) -> list[Watched]:
        """How each folder stands."""
        with self._lock:
            return list(self._watched.values())

    def confirm(self, folder: Path) -> None:
        """Forget what is gone from a folder that is held."""
        with self._lock:
            self._confirmed.add(folder.expanduser().resolve())
        self._stir(folder.expanduser().resolve())

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Watchdog's call, from a thread of its own."""
        if event.event_type in _STIRS:
            paths = [Path(str(path)) for path in (event.src_path, event.dest_path) if path]
            for folder in self._watched:
                if any(path.is_relative_to(folder) for path in paths):
                    self._stir(folder)

    def _stir(self, folder: Path) -> None:
        now = time.monotonic()
        with self._lock:
            first, _ = self._stirred_at.get(folder, (now, now))
            self._stirred_at[folder] = (first, now)

    # ── The thread ──

    def _run(self) -> None:
        looked_at = dict.fromkeys(self._watched, float("-inf"))
        while not self._cancel.is_set():
            for folder in self._watched:
                if not self._cancel.is_set() and self._is_due(folder, looked_at[folder]):
                    with self._lock:
                        self._stirred_at.pop(folder, None)
                    self._look(folder)
                    looked_at[folder] = time.monotonic()
            self._cancel.wait(self._quiet_s / 4)

    def _is_due(self, folder: Path, looked_at: float) -> bool:
        now = time.monotonic()
        if (folder in self._observers) != folder.is_dir():  # it came, or it went
            return True
        with self._lock:
            stirred = self._stirred_at.get(folder)
        if stirred is None:
            return now - looked_at >= LOOK_AGAIN_S
        first, last = stirred
        return now - last >= self._quiet_s or now - first >= AT_LATEST_S

    def _look(self, folder: Path) -> None:
        try:
            self._observe(folder)
            if not folder.is_dir():
                raise UsageError(
                    f"{folder} is not there", "Nothing is removed; it is watched for its return."
                )
            self._sync(folder)
        except RagkitError as error:
            logger.warning("a watched folder could not be synced: %s", error.code)
            missing = not folder.is_dir()
            if missing:
                self._unobserve(folder)
            self._note(folder, state="missing" if missing else "failed", error=error)

    def _sync(self, folder: Path) -> None:
        preview = self._library.sync(folder, dry_run=True)
        with self._lock:
            confirmed = folder in self._confirmed
            self._confirmed.discard(folder)
        held = is_mostly_gone(preview) and not confirmed
        self._note(folder, preview=preview)
        if preview.added or preview.updated or preview.moved or (preview.removed and not held):
            report = self._library.sync(folder, keep_gone=held, progress=self._progress, cancel=self._cancel)
            self._on_sync(folder, report)
        self._note(folder, state="held" if held else "mirrored", error=None)

    def _note(self, folder: Path, **changes: object) -> None:
        with self._lock:
            self._watched[folder] = replace(self._watched[folder], **changes)  # type: ignore[arg-type]

    def _observe(self, folder: Path) -> None:
        if folder in self._observers or not folder.is_dir():
            return
        observer = Observer()
        try:
            observer.schedule(self, str(folder), recursive=True)
            observer.start()
        except OSError as error:  # no more watches to be had: it is looked at now and then all the same
            logger.warning("a folder is looked at now and then only: %s", error.strerror)
        self._observers[folder] = observer

    def _unobserve(self, folder: Path) -> None:
        observer = self._observers.pop(folder, None)
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(timeout=5)
