"""The control above the messages of a long conversation."""

from __future__ import annotations

from ragkit.ui import earlier
from ragkit.ui.chat import MAX_MESSAGES
from ragkit.ui.interface import ChatInterface
from ragkit.ui.strings import Strings
from tests.ui.test_chat import EN, talk


def test_it_is_there_only_while_something_is_hidden_and_says_how_much() -> None:
    shown = earlier.offer(talk(30, hidden=10), EN)
    assert (shown.visible, shown.value) == (True, "Show 20 earlier messages")
    assert earlier.offer(talk(30, hidden=10), Strings("zh")).value == "显示更早的 20 条消息"
    assert earlier.offer(talk(30), EN).visible is False


def test_what_is_not_hidden_is_mounted_question_before_answer() -> None:
    messages = earlier.mounted(talk(4, hidden=2), EN)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert messages[0]["content"] == [{"type": "text", "text": "Q2"}]
    assert messages[3]["metadata"] == {"id": "t3"} and 'href="#src-t3-1"' in messages[3]["content"]


def test_at_the_end_of_an_answer_what_is_no_longer_mounted_is_offered() -> None:
    conversation = talk(30)
    finish = earlier.after(lambda *_: ("told",), lambda _: EN)
    told, button = finish(conversation, earlier.mounted(conversation, EN)[-MAX_MESSAGES:], None)
    assert told == "told" and button.value == "Show 20 earlier messages"


def test_the_mounted_part_begins_with_a_question() -> None:
    messages = earlier.mounted(talk(MAX_MESSAGES // 2), EN)
    interface = object.__new__(ChatInterface)
    asked = interface._append_message_to_history("Q", messages)
    assert asked[0]["role"] == "user" and asked[-1]["content"] == "Q" and len(asked) == MAX_MESSAGES - 1
    assert interface._append_message_to_history("Q", messages[:-2])[:-1] == messages[:-2]
