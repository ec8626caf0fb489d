"""The doctor's report on the page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gradio as gr

from ragkit.ui import render_search
from ragkit.ui.boot import Boot
from ragkit.ui.events import AT_ONCE, html
from ragkit.ui.strings import Strings
from ragkit.ui.task import Task

if TYPE_CHECKING:
    from ragkit.doctor.report import Check

_ACTION: Final = 'element.addEventListener("ragkit", () => trigger("examine", {}))'
_NOT_HERE: Final = frozenset({"network.port"})  # it is the page's own, and so taken


class Checkup:
    """Looks when it is asked to, in a thread: some checks import torch."""

    def __init__(self, boot: Boot, strings_for: Callable[[gr.Request], Strings]) -> None:
        self._boot = boot
        self._strings_for = strings_for
        self._task: Task[tuple[Check, ...]] = Task()

    def build(self, opened: gr.Tab) -> tuple[gr.HTML, Any]:
        """Put the report on the page, in `opened`; gives it, and the event after which it changes by itself."""
        report = html("", "checkup", js=_ACTION)
        opened.select(self.paint, None, report, **AT_ONCE)
        asked = report.examine(self.start, None, report, **AT_ONCE)
        return report, asked

    def settled(self) -> bool:
        return not self._task.running

    def paint(self, request: gr.Request) -> str:
        return render_search.report(
            self._task.step, self._strings_for(request), running=self._task.running, error=self._task.error
        )

    def start(self, request: gr.Request) -> str:
        """Begin, unless it is under way."""
        self._task.start("doctor", self._examine)
        return self.paint(request)

    def _examine(self, note: Callable[[tuple[Check, ...]], None], cancel: threading.Event) -> None:
        from ragkit import doctor

        found: list[Check] = []

        def on_check(check: Check) -> None:
            if check.id not in _NOT_HERE:
                found.append(check)
                note(tuple(found))

        with self._boot.slot.libraries:
            doctor.examine(self._boot.settings, load=False, on_check=on_check)
