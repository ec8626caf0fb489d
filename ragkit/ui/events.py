"""The page's own HTML as Gradio components, and what it sends: an object with an action and an id.

app.js sends what was clicked in it as an event "ragkit"; the JavaScript of a component passes that on to a handler.
"""

from __future__ import annotations

from typing import Any, Final

import gradio as gr

QUIETLY: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: Final[dict[str, Any]] = {**QUIETLY, "queue": False}


def html(value: Any, elem_id: str, *, js: str | None = None) -> gr.HTML:
    """A component that shows what the server rendered."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=js, apply_default_css=False)


def sent(event: gr.EventData, name: str) -> str:
    """The text under `name` in what the browser sent, which can be anything; "" for anything else."""
    data = event._data
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""
