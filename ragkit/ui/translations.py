"""What Gradio itself shows in the user's language."""

from __future__ import annotations

from typing import Final

import gradio as gr

from ragkit.config import Settings
from ragkit.ui import render, render_library
from ragkit.ui.answers import FIELDS
from ragkit.ui.overview import sync_command
from ragkit.ui.strings import HTML_LANG, TABLES, Strings

_LABELS: Final = (
    "tab_chat",
    "tab_library",
    "tab_tester",
    "tab_settings",
    "try",
    "ask",
    "mode",
    "mode_documents",
    "mode_model",
    "mode_both",
    "scope",
    "drop",
    "documents_filter",
    "precision",
    "precision_info",
    "precision_automatic",
    "shelf_new",
    "shelf_make",
    "shelf_import",
    "settings_model",
    "settings_answers",
    "settings_search",
    "settings_checkup",
    *(f"answers_{name}{part}" for name in FIELDS for part in ("", "_info")),
)


def translations(settings: Settings) -> gr.I18n:
    """What Gradio itself shows in the user's language: its labels, and the HTML of the first paint."""
    tables: dict[str, dict[str, str]] = {}
    for language in TABLES:
        strings = Strings(language)
        opening = render.Status("busy", strings("state_opening"), strings("state_opening_long"))
        tables[HTML_LANG[language]] = {
            **{key: strings(key) for key in _LABELS},
            **{
                key: text for key, text in TABLES[language].items() if "." in key
            },  # Gradio's own, said better
            "greeting_block": f"## {strings('greeting')}\n\n{strings('greeting_hint')}",
            "top_bar": render.top_bar(opening, strings),
            "dialog": render.dialog(strings),
            "sheet_close": render.sheet_close(strings),
            "sources_empty_panel": render.sources_empty(strings),
            "drop_note": render_library.drop_note(sync_command(settings), strings),
        }
    return gr.I18n(**tables)
