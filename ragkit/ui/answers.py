"""Settings of the answers: how much is read for one, what is refused, how a model writes. Kept and in force at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import gradio as gr

from ragkit import config
from ragkit.config import LIMITS
from ragkit.errors import RagkitError
from ragkit.ui import render_settings
from ragkit.ui.boot import Boot
from ragkit.ui.events import AT_ONCE, html
from ragkit.ui.strings import Strings

logger = logging.getLogger(__name__)

# In the order of the page; the step of a slider, None for a text.
FIELDS: Final[dict[str, float | None]] = {
    "passages": 1,
    "context_chars": 500,
    "gate": 0.01,
    "gate_weak": 0.01,
    "temperature": 0.05,
    "max_tokens": 32,
    "instructions": None,
}
_OTHER: Final = {"gate": "gate_weak", "gate_weak": "gate"}  # what else a change may move
_RESET: Final = 'element.addEventListener("ragkit", () => trigger("reset_answers", {}))'


class AnswerSettings:
    """A form whose every change is saved. Several visitors share one engine, and so these settings."""

    def __init__(self, boot: Boot, strings_for: Callable[[gr.Request], Strings]) -> None:
        self._boot = boot
        self._strings_for = strings_for
        self._lock = threading.Lock()  # two changes at once: each would put back what the other changed

    def build(self, app: gr.Blocks, opened: gr.Tab, say: Callable[[str], Any]) -> None:
        """Put the form on the page, as it stands then; `opened` brings it up to date."""
        with gr.Column(elem_id="answers-column"):
            parts = {name: self._part(name, step, say) for name, step in FIELDS.items()}
            with gr.Column(elem_id="answers-foot"):
                told = html("", "answers-told")
                notes = html("", "answers-notes", js=_RESET)
        form = list(parts.values())
        app.load(self._values, None, form, **AT_ONCE)
        opened.select(self.show, form, [*form, notes], preprocess=False, **AT_ONCE)
        notes.reset_answers(self.reset, None, [*form, told], **AT_ONCE)
        for name, part in parts.items():
            # A text tells of no input that did not come by keys, so it tells of every change; `_save` sees that
            # what the server has put into the form is none. The browser cuts a number to its bounds after it was
            # sent, so Gradio would refuse it (`preprocess`): `_save` looks itself.
            changed = part.change if isinstance(part, gr.Textbox) else part.input
            outputs = [told, parts[_OTHER[name]]] if name in _OTHER else told
            changed(self._saver(name), part, outputs, preprocess=False, trigger_mode="always_last", **AT_ONCE)

    def _part(self, name: str, step: float | None, say: Callable[[str], Any]) -> Any:
        texts = {
            "label": say(f"answers_{name}"),
            "info": say(f"answers_{name}_info"),
            "elem_id": f"answers-{name}",
        }
        least, most = LIMITS[name]
        value = getattr(self._boot.settings, name)
        if step is None:
            return gr.Textbox(value, lines=4, max_lines=12, max_length=int(most), **texts)
        return gr.Slider(least, most, value, step=step, buttons=[], **texts)

    def show(self, request: gr.Request, *form: Any) -> tuple[Any, ...]:
        """The settings in force where the form shows others, and what is to be known of them.

        What is right stays untouched: somebody may be typing there before this has come to the browser.
        """
        return (
            *(gr.skip() if held == shown else held for held, shown in zip(self._values(), form, strict=True)),
            self._notes(self._strings_for(request)),
        )

    def _saver(self, name: str) -> Callable[..., Any]:
        """The handler of one part: with the whole form a change that comes late would put the others back."""

        def save(value: Any, request: gr.Request) -> Any:
            with self._lock:
                return self._save(name, value, self._strings_for(request))

        return save

    def _save(self, name: str, value: Any, strings: Strings) -> Any:
        """Take a value from the next question on, and keep it for the next start.

        The two thresholds push each other along: an answer cannot be refused above what is a weak match.
        """
        settings, other = self._boot.settings, _OTHER.get(name)
        if value is None or value == getattr(settings, name):  # None: the field was emptied
            return gr.skip() if other is None else (gr.skip(), gr.skip())
        least, most = LIMITS[name]
        wanted = {name: min(max(value, least), most) if isinstance(value, int | float) else value}
        try:
            changed = settings.changed("the form", **wanted)
            if other is not None and changed.gate > changed.gate_weak:
                wanted[other] = wanted[name]
                changed = settings.changed("the form", **wanted)
        except RagkitError as error:
            told = render_settings.answers_told("failed", strings.error(error.code), str(error))
            return told if other is None else (told, gr.skip())
        self._boot.use_settings(changed)
        told = self._kept(strings, **{each: getattr(changed, each) for each in wanted})
        return told if other is None else (told, wanted.get(other, gr.skip()))

    def reset(self, request: gr.Request) -> tuple[Any, ...]:
        """Back to what ragkit is made with."""
        with self._lock:
            settings = self._boot.settings
            fresh = config.Settings(data_dir=settings.data_dir, kb=settings.kb)
            self._boot.use_settings(
                settings.changed("the form", **{name: getattr(fresh, name) for name in FIELDS})
            )
            return (*self._values(), self._kept(self._strings_for(request), **dict.fromkeys(FIELDS)))

    def _kept(self, strings: Strings, **values: Any) -> str:
        try:
            config.save(self._boot.settings.data_dir, **values)
        except (OSError, RagkitError) as error:
            logger.warning("the settings of the answers could not be saved: %s", type(error).__name__)
            return render_settings.answers_told("failed", strings("answers_unsaved"), str(error))
        return render_settings.answers_told("done", strings("answers_saved"))

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self._boot.settings, name) for name in FIELDS)

    def _notes(self, strings: Strings) -> str:
        engine = self._boot.peek()
        chosen = engine.gate.calibration() if engine else None
        notes = [strings("answers_at_once")]
        if chosen is not None:
            notes.append(strings("answers_calibrated", gate=f"{chosen.thresholds.refuse:.2f}"))
        if engine is not None and engine.profile == "quotes":
            notes.append(strings("answers_quotes"))
        return render_settings.answers_notes(" ".join(notes), strings)
