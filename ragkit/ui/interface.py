"""Gradio's ChatInterface with what it lacks for this page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from ragkit.ui.chat import MAX_MESSAGES, Conversation, Message
from ragkit.ui.events import AT_ONCE, QUIETLY


class ChatInterface(gr.ChatInterface):
    """Gradio's, with six repairs: placeholder, what is shown after a stop, length of the shown history, plain
    text for API callers, answers to edited questions that can be stopped, and clearing that stops an answer."""

    def __init__(
        self,
        fn: Callable[..., Iterator[tuple[Message, object]]],
        *,
        placeholder: I18nData,
        after: Callable[..., tuple[object, ...]],
        earlier: gr.Button,
        **options: Any,
    ):
        self._placeholder = placeholder
        self._after = after
        self._earlier = earlier
        super().__init__(fn, **options)

    def _render_chatbot_area(self, *components: Any) -> None:
        self._earlier.render()  # type: ignore[no-untyped-call]
        super()._render_chatbot_area(*components)

    def _setup_events(self) -> None:
        super()._setup_events()
        # Gradio's own way for `editable` shows no stop button.
        edited = self.chatbot.edit(
            self._edit_message, self.chatbot, [self.chatbot, self.chatbot_state, self.saved_input], **AT_ONCE
        )
        answered = (
            edited.then(
                self._append_message_to_history,
                [self.saved_input, self.chatbot_state],
                self.chatbot,
                **AT_ONCE,
            )
            .then(lambda: gr.Textbox(interactive=False, placeholder=""), None, self.textbox, **AT_ONCE)
            .then(
                self._api_wrapper(self.fn, self._stream_fn),  # type: ignore[no-untyped-call]
                [self.saved_input, self.chatbot_state, *self.additional_inputs],
                [self.null_component, self.chatbot, *self.additional_outputs],
                concurrency_limit=self.concurrency_limit,
                **QUIETLY,
            )
        )
        answered.then(lambda shown: shown, self.chatbot, self.chatbot_state, **AT_ONCE).then(
            lambda: gr.Textbox(interactive=True), None, self.textbox, **AT_ONCE
        )
        self._setup_stop_events([], [answered], edited)

    def _edit_message(self, history: Any, edit_data: gr.EditData) -> Any:
        *kept, question = super()._edit_message(history, edit_data)
        return *kept, question if str(question).strip() else edit_data.previous_value

    def _setup_stop_events(self, event_triggers: Any, events_to_cancel: Any, after_success: Any) -> None:
        # Gradio 6.31 blanks the placeholder when a question is sent, and never brings it back.
        super()._setup_stop_events(event_triggers, events_to_cancel, after_success)
        self.chatbot.clear(None, None, None, cancels=events_to_cancel, **QUIETLY)
        for event in events_to_cancel:
            event.then(
                lambda: gr.Textbox(placeholder=self._placeholder),
                None,
                self.textbox,
                api_visibility="private",
                queue=False,
                show_progress="hidden",
            )
            # Runs after a stop too, which closes the handler before it could say anything.
            event.then(
                self._after,
                [self.additional_inputs[0], self.chatbot],
                [self.chatbot, self.chatbot_state, *self.additional_outputs, self._earlier],
                **AT_ONCE,
            )

    def _append_message_to_history(self, message: Any, history: Any, role: Any = "user") -> Any:
        messages = super()._append_message_to_history(message, history, role)
        shown = messages[-MAX_MESSAGES:]
        # An answer whose question is no longer mounted would be neither here nor there.
        return shown[1:] if shown != messages and shown[0]["role"] == "assistant" else shown

    async def _stream_fn(
        self, message: Any, history: Any, conversation: Conversation, *args: Any
    ) -> AsyncGenerator[tuple[Any, ...], None]:
        # The first output is what /chat gives back to an API caller; the page reads only the history.
        async with aclosing(super()._stream_fn(message, history, conversation, *args)) as steps:
            async for reply, *others in steps:
                yield conversation.plain(reply), *others
