"""The Settings tab: which model answers. Handlers look ids up on the server and take no path from the browser.

What fits is worked out in a thread, because it imports torch; until then the list says that it is being made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import gradio as gr

from ragkit import choices, log, models
from ragkit.choices import Survey, Wanted
from ragkit.config import Settings
from ragkit.errors import RagkitError
from ragkit.schema import QUOTES
from ragkit.ui import downloads, render_settings
from ragkit.ui.boot import Boot
from ragkit.ui.events import sent
from ragkit.ui.strings import Strings

logger = logging.getLogger(__name__)

FRESH_S: Final = 5.0  # free memory changes by itself: a tab that is opened later looks again

Painted = tuple[str, str, str]  # what is going on, the list, this machine


class ModelSettings:
    """The handlers of the tab, for every visitor. Each gives (what is going on, the list, this machine)."""

    def __init__(
        self,
        boot: Boot,
        settings: Settings,
        strings_for: Callable[[gr.Request], Strings],
        log_file: str,
    ) -> None:
        self._boot = boot
        self._downloads = boot.downloads
        self._settings = settings
        self._strings_for = strings_for
        self._log_file = log_file
        self._lock = threading.Lock()
        self._looking = False
        self._survey: Survey | None = None
        self._seen: object = None  # what answered when the survey was made
        self._seen_at = 0.0
        self._failed = False

    def settled(self) -> bool:
        """Tell that the list will not change by itself."""
        return not self._looking and not self._downloads.running

    def open(self, precision: str, request: gr.Request) -> Painted:
        """Show the tab, and look at the machine behind it."""
        self._look(FRESH_S)
        return self.paint(precision, request)

    def paint(self, precision: str, request: gr.Request) -> Painted:
        """Show the tab as it is now."""
        return self._painted(_wanted(precision), self._strings_for(request))

    def act(self, precision: str, event: gr.EventData, request: gr.Request) -> Painted:
        """Do what a button of the list says."""
        strings, wanted = self._strings_for(request), _wanted(precision)
        action, _, other = sent(event, "action").partition(":")
        named = sent(event, "id")
        trouble = ""
        try:
            if action == "cancel" and named:
                self._downloads.cancel()
            elif action == "cancel":
                self._boot.slot.cancel()
            elif action == "fetch":
                trouble = "" if self._fetch(named) else strings("download_busy")
            elif action == "delete":
                self._delete(named)
            elif action == "discard":
                trouble = "" if self._discard(named) else strings("download_busy")
            elif action == "look":
                self._look(0.0)
            elif action in {"load", "unload"}:
                done = self._switch(action, named, _wanted(other or wanted))
                trouble = "" if done else strings("switch_busy")
        except RagkitError as error:
            trouble = strings.error(error.code)
        return self._painted(wanted, strings, trouble)

    def _switch(self, action: str, choice_id: str, wanted: Wanted) -> bool:
        """Start a switch to a choice of the list; an id that is not on it does nothing."""
        choice = self._survey.find(QUOTES if action == "unload" else choice_id) if self._survey else None
        if choice is None or not choice.here:
            return True
        return self._boot.switch(choice.profile, wanted)

    def _fetch(self, choice_id: str) -> bool:
        choice = self._survey.find(choice_id) if self._survey else None
        return choice is None or choice.here or self._downloads.begin(choice.profile.name)

    def _discard(self, choice_id: str) -> bool:
        """Delete what has come of an unfinished download; False while one is under way."""
        choice = self._survey.find(choice_id) if self._survey else None
        if choice is None or choice.here:
            return True
        if self._downloads.running:
            return False
        downloads.discard(choice.profile.name, self._settings.data_dir)
        self._look(0.0)
        return True

    def _delete(self, choice_id: str) -> None:
        choice, slot = self._survey.find(choice_id) if self._survey else None, self._boot.slot
        if choice is None or choice.profile.path is None or not choice.own:
            return
        if slot.moving or render_settings.in_use(choice, slot.status):
            return
        models.delete(choice.profile.path, self._settings.data_dir)
        self._look(0.0)

    def _painted(self, wanted: Wanted, strings: Strings, trouble: str = "") -> Painted:
        slot = self._boot.slot
        if self._survey is not None and self._seen != self._answering() and not slot.moving:
            self._look(0.0)
        now = render_settings.progress(slot.status, slot.attempt, time.monotonic(), strings, trouble=trouble)
        survey = self._survey
        if survey is None:
            text = (
                strings("internal_error", log=self._log_file) if self._failed else strings("models_looking")
            )
            return (
                now,
                render_settings.choices_waiting(text),
                render_settings.machine((), self._settings.device, strings),
            )
        listed = render_settings.choices(
            survey.choices, slot.status, wanted, strings, self._downloads, moving=slot.moving
        )
        return now, listed, render_settings.machine(survey.devices, self._settings.device, strings)

    # ── Behind the page ──

    def _answering(self) -> object:
        status = self._boot.slot.status
        return status.state, status.profile, status.precision, self._downloads.ended

    def _look(self, fresh_s: float) -> None:
        with self._lock:
            if self._looking or time.monotonic() - self._seen_at < fresh_s:
                return
            self._looking = True
        threading.Thread(target=self._survey_now, name="ragkit-survey", daemon=True).start()

    def _survey_now(self) -> None:
        slot = self._boot.slot
        try:
            with slot.libraries:
                self._seen = self._answering()
                self._survey = choices.survey(self._settings, slot.released())
            self._failed = False
        except Exception as error:  # noqa: BLE001  # the thread's edge: nobody above would see it
            log.failed(logger, "listing the models", error)
            self._failed = True
        finally:
            self._seen_at = time.monotonic()
            self._looking = False


def _wanted(precision: object) -> Wanted:
    """A precision out of what the browser sent, which can be anything."""
    return next((known for known in choices.WANTED if known == precision), "auto")
