"""The tab where questions are tried: what is found for one and why, and whether it should be answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import gradio as gr

from ragkit.errors import RagkitError
from ragkit.ui import render_tester
from ragkit.ui.boot import Boot
from ragkit.ui.chat import MAX_QUESTION
from ragkit.ui.events import AT_ONCE, html, sent
from ragkit.ui.strings import Strings

_ACTION: Final = 'element.addEventListener("ragkit", ({ detail }) => trigger("mark_action", detail))'


class Tester:
    """Its handlers give the explanation, the marked questions, or both."""

    def __init__(self, boot: Boot, strings_for: Callable[[gr.Request], Strings]) -> None:
        self._boot = boot
        self._strings_for = strings_for

    def build(self, tab: gr.Tab, say: Callable[[str], object]) -> None:
        """Put it on the page, in `tab`."""
        asked = gr.State("")
        with gr.Row(elem_id="tester-row", equal_height=False):
            with gr.Column(scale=5, elem_id="tester-column"):
                box = gr.Textbox(
                    elem_id="try",
                    label=say("try"),  # type: ignore[arg-type]  # Gradio translates it
                    placeholder=say("try"),  # type: ignore[arg-type]
                    show_label=False,
                    container=False,
                    max_length=MAX_QUESTION,
                    submit_btn=True,
                )
                told = html("", "tried", js=_ACTION)
            with gr.Column(scale=2, elem_id="marks-column"):
                marks = html("", "marks", js=_ACTION)
        painted = [told, marks]
        tab.select(self.paint, asked, painted, **AT_ONCE)
        box.submit(lambda question: " ".join(question.split()), box, asked, **AT_ONCE).then(
            self.tell, asked, told, **AT_ONCE
        )
        for panel in painted:
            panel.mark_action(self.act, asked, painted, trigger_mode="multiple", **AT_ONCE)

    def tell(self, question: str, request: gr.Request) -> str:
        """The explanation alone: to ask changes no mark, and each mark is a question to be ranked again."""
        strings = self._strings_for(request)
        try:
            return self._told(question, strings)
        except RagkitError as error:
            return render_tester.trouble(strings.error(error.code))

    def paint(self, question: str, request: gr.Request) -> tuple[str, str]:
        """The question that was asked last, as it stands now."""
        strings = self._strings_for(request)
        try:
            return self._painted(question, strings)
        except RagkitError as error:
            return render_tester.trouble(strings.error(error.code)), ""

    def act(self, question: str, event: gr.EventData, request: gr.Request) -> tuple[str, str]:
        """A mark set or taken back; which question, the browser says, as it says what is asked."""
        strings = self._strings_for(request)
        action, named = sent(event, "action"), sent(event, "id")[:MAX_QUESTION]
        try:
            gate = self._boot.engine().gate
            if action in ("good", "bad"):
                gate.mark(named, good=action == "good")
            elif action == "forget":
                gate.unmark(named)
            elif action == "again":
                gate.calibrate()
            elif action == "reset":
                gate.reset()
            return self._painted(question, strings)
        except RagkitError as error:
            return render_tester.trouble(strings.error(error.code)), self.paint("", request)[1]

    def _painted(self, question: str, strings: Strings) -> tuple[str, str]:
        gate = self._boot.engine().gate
        marks = render_tester.marked(
            gate.questions(), gate.thresholds(), gate.calibration(), strings, stale=gate.stale()
        )
        return self._told(question, strings), marks

    def _told(self, question: str, strings: Strings) -> str:
        if not question:
            return render_tester.welcome(strings)
        return render_tester.explanation(self._boot.engine().explain(question), strings)
