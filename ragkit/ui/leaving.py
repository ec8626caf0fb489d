"""What a model has read for a browser tab goes when its conversation is cleared, and when the tab does."""

from __future__ import annotations

import gradio as gr

from ragkit.ui.boot import Boot
from ragkit.ui.chat import Conversation
from ragkit.ui.events import AT_ONCE


class Leaving:
    """Knows the key of every open tab: Gradio tells of a tab that closes, but not what was its own."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._keys: dict[str, str] = {}  # of each session

    def connect(self, app: gr.Blocks, conversation: gr.State) -> None:
        app.load(self.enter, conversation, None, **AT_ONCE)
        app.unload(self.leave)

    def enter(self, conversation: Conversation, request: gr.Request) -> None:
        if request.session_hash:
            self._keys[request.session_hash] = conversation.key

    def leave(self, request: gr.Request) -> None:
        self.drop(self._keys.pop(request.session_hash or "", ""))

    def drop(self, key: str) -> None:
        """Let the model forget what it has read under `key`."""
        if key and (engine := self._boot.peek()):
            engine.forget(key)
