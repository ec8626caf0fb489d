"""The older part of a long conversation: only its end is mounted in the browser, the rest comes on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ragkit.ui import chat
from ragkit.ui.chat import MAX_MESSAGES, Conversation, Message
from ragkit.ui.events import AT_ONCE
from ragkit.ui.strings import Strings

StringsFor = Callable[[gr.Request], Strings]


def build() -> gr.Button:
    """The control above the messages; not there while none are hidden."""
    return gr.Button("", elem_id="earlier", visible=False, size="sm", render=False)


def connect(
    button: gr.Button, conversation: gr.State, chatbot: gr.Chatbot, state: gr.State, strings_for: StringsFor
) -> None:
    """Let `button` mount earlier messages in `chatbot` and in `state`, which is what the next question is put behind."""

    def show(
        conversation: Conversation, messages: list[Message], request: gr.Request
    ) -> tuple[object, object, object]:
        if conversation.busy():  # what streams in is put behind the messages that were mounted when it began
            return gr.skip(), gr.skip(), gr.skip()
        strings = strings_for(request)
        conversation.follow(messages)
        conversation.hidden = max(0, conversation.hidden - MAX_MESSAGES // 2)
        shown = mounted(conversation, strings)
        return shown, shown, offer(conversation, strings)

    button.click(show, [conversation, chatbot], [chatbot, state, button], **AT_ONCE)


def after(
    finish: Callable[..., tuple[object, ...]], strings_for: StringsFor
) -> Callable[..., tuple[object, ...]]:
    """Let the handler that runs at the end of an answer offer what is hidden by then, as its last output."""

    def finish_and_offer(
        conversation: Conversation, messages: list[Message], request: gr.Request
    ) -> tuple[object, ...]:
        told = finish(conversation, messages, request)
        conversation.count(messages)
        return *told, offer(conversation, strings_for(request))

    return finish_and_offer


def mounted(conversation: Conversation, strings: Strings) -> list[Message]:
    """The messages of all exchanges that are not hidden."""
    messages = []
    for exchange in list(conversation.exchanges.values())[conversation.hidden :]:
        asked = {"role": "user", "content": [{"type": "text", "text": exchange.answer.question}]}
        messages += [asked, chat.message(exchange, strings)]
    return messages


def offer(conversation: Conversation, strings: Strings) -> Any:
    """The control as it is now."""
    hidden = 2 * conversation.hidden
    return gr.Button(strings("earlier", n=hidden), visible=hidden > 0)
