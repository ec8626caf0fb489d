"""The Settings tab: the language model, the answers, the search by meaning, the check-up; a tab each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gradio as gr

from ragkit.choices import WANTED
from ragkit.config import Settings
from ragkit.load_plan import LABELS
from ragkit.ui.answers import AnswerSettings
from ragkit.ui.boot import Boot
from ragkit.ui.checkup import Checkup
from ragkit.ui.events import AT_ONCE, html
from ragkit.ui.search_settings import SearchSettings
from ragkit.ui.settings import ModelSettings
from ragkit.ui.strings import Strings

_MODEL_ACTION: Final = 'element.addEventListener("ragkit", ({ detail }) => trigger("model_action", detail))'


class SettingsTab:
    """After `build`, `panels` is what changes by itself, `paint` gives it, and `precision` is what it is asked with."""

    def __init__(
        self,
        boot: Boot,
        settings: Settings,
        strings_for: Callable[[gr.Request], Strings],
        log_file: str,
    ) -> None:
        self._boot = boot
        self._models = ModelSettings(boot, settings, strings_for, log_file)
        self._answers = AnswerSettings(boot, strings_for)
        self._search = SearchSettings(boot, strings_for)
        self._checkup = Checkup(boot, strings_for)

    def build(self, app: gr.Blocks, tab: gr.Tab, say: Callable[[str], Any]) -> list[Any]:
        """Put it on the page, in `tab`; gives the events after which something moves by itself."""
        with gr.Tabs(elem_id="settings-tabs"):
            with gr.Tab(say("settings_model"), id="model") as model:
                self._build_models(app, say)
            with gr.Tab(say("settings_answers"), id="answers") as answers:
                self._answers.build(app, answers, say)
            with gr.Tab(say("settings_search"), id="search") as search:
                embeddings, chosen = self._search.build(search)
            with gr.Tab(say("settings_checkup"), id="checkup") as checkup:
                report, asked = self._checkup.build(checkup)
        self.panels = [*self._model_panels, embeddings, report]
        looks = [
            opened.select(self._models.open, self.precision, self._model_panels, **AT_ONCE)
            for opened in (tab, model)
        ]
        now, listed, _ = self._model_panels
        acts = [
            panel.model_action(self._models.act, self.precision, self._model_panels, **AT_ONCE)
            for panel in (now, listed)
        ]
        self.precision.change(self._models.paint, self.precision, self._model_panels, **AT_ONCE)
        return [*looks, *acts, chosen, asked]

    def _build_models(self, app: gr.Blocks, say: Callable[[str], Any]) -> None:
        with gr.Row(elem_id="settings-row", equal_height=False):
            with gr.Column(scale=5, elem_id="models-column"):
                now = html("", "model-now", js=_MODEL_ACTION)
                self.precision = gr.Radio(
                    [
                        (say("precision_automatic") if wanted == "auto" else LABELS[wanted], wanted)
                        for wanted in WANTED
                    ],
                    value=self._boot.settings.precision,
                    label=say("precision"),
                    info=say("precision_info"),
                    elem_id="precision",
                )
                listed = html("", "models", js=_MODEL_ACTION)
            with gr.Column(scale=2, elem_id="machine-column"):
                machine = html("", "machine")
        self._model_panels = [now, listed, machine]
        app.load(
            lambda: self._boot.model.precision or self._boot.settings.precision,
            None,
            self.precision,
            **AT_ONCE,
        )

    def settled(self) -> bool:
        """Tell that nothing here will change by itself."""
        return self._models.settled() and self._search.settled() and self._checkup.settled()

    def paint(self, precision: str, request: gr.Request) -> tuple[str, ...]:
        """What `panels` show now."""
        return (
            *self._models.paint(precision, request),
            self._search.paint(request),
            self._checkup.paint(request),
        )
