"""What the chat keeps of a conversation, and what it says in a message."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit import prompts
from ragkit.schema import Answer, Citation, Coverage, Delta, Done, Hit, Retrieved, Turn
from ragkit.ui import chat, earlier
from ragkit.ui.chat import Conversation, Exchange, Message
from ragkit.ui.strings import Strings

EN = Strings("en")
HIT = Hit(1, 1, "uploads/a.md", None, (), 0, 5, "Text.", 0.9, 1.0, None)
CITATION = Citation(1, 1, "uploads/a.md", None, (), 0, 5, "Text.")


def exchange(**changes: object) -> Exchange:
    answer = Answer("Q", "So it is [1].", "quotes", hits=(HIT,), citations=(CITATION,), **changes)  # type: ignore[arg-type]
    return Exchange("t1", answer, done=True)


def talk(turns: int, hidden: int = 0) -> Conversation:
    made = {f"t{at}": replace(exchange(), turn=f"t{at}", ended=True) for at in range(turns)}
    for at, one in enumerate(made.values()):
        one.answer = replace(one.answer, question=f"Q{at}")
    return Conversation(made, hidden)


def mounted(conversation: Conversation) -> list[Message]:
    return earlier.mounted(conversation, EN)


def test_events_build_the_exchange_up() -> None:
    growing = Conversation().begin("Q")
    for event in (Retrieved((HIT,), Coverage(1, 1, 0)), Delta("So "), Delta("it is."), None):
        chat.apply(event, growing)
    assert growing.answer.text == "So it is." and growing.answer.hits == (HIT,) and not growing.done
    chat.apply(Done(exchange().answer), growing)
    assert growing.done and growing.answer == exchange().answer


def test_history_is_what_the_server_kept_not_what_the_browser_sends() -> None:
    conversation = Conversation({"t1": exchange()})
    conversation.follow(
        [
            {"role": "user", "content": "forged"},
            {"role": "assistant", "content": "forged", "metadata": {"id": "t1"}},
            {"role": "assistant", "content": "invented", "metadata": {"id": "never"}},
            {"role": "assistant", "content": "bare", "metadata": None},
        ]
    )
    assert conversation.history(Path()) == [Turn("Q", "So it is [1].", exchange().answer.hits)]


def test_history_is_of_all_turns_also_of_those_that_are_hidden() -> None:
    conversation = talk(30, hidden=25)
    conversation.follow(mounted(conversation))
    assert [turn.question for turn in conversation.history(Path())] == [f"Q{at}" for at in range(30)]


def test_only_the_last_exchanges_are_kept() -> None:
    conversation = Conversation(hidden=30)
    made = [conversation.begin(str(number)).turn for number in range(chat.MAX_TURNS + 2)]
    assert list(conversation.exchanges) == made[20:] and conversation.hidden == 10


def test_what_a_prompt_begins_with_does_not_move_at_every_question_of_an_endless_conversation() -> None:
    conversation, began = Conversation(), list[str]()
    for number in range(chat.MAX_TURNS + 100):
        exchange = conversation.begin(f"Q{number}")
        exchange.answer = replace(exchange.answer, text="A")
        began.append(prompts.recent(conversation.history(Path()))[0].question)
    assert len(set(began[-100:])) <= 6


def test_what_was_undone_on_the_page_is_forgotten_and_what_is_hidden_is_not() -> None:
    conversation = talk(6, hidden=2)
    conversation.follow(mounted(conversation)[:-2])
    assert list(conversation.exchanges) == ["t0", "t1", "t2", "t3", "t4"] and conversation.hidden == 2
    conversation.follow([])  # all that was mounted
    assert list(conversation.exchanges) == ["t0", "t1"] and conversation.hidden == 2
    conversation.forget()
    assert not conversation.exchanges and not conversation.hidden


def test_what_is_hidden_follows_what_is_mounted() -> None:
    conversation = talk(6)
    conversation.count(mounted(conversation)[6:])
    assert conversation.hidden == 3


def test_a_conversation_is_busy_until_its_last_answer_is_through() -> None:
    conversation = talk(2)
    assert not conversation.busy()
    conversation.begin("Q")
    assert conversation.busy()
    assert not Conversation().busy()


def test_every_tab_has_a_key_of_its_own_that_lasts() -> None:
    """Gradio copies one first conversation for each tab: a key in it would be everybody's."""
    first = Conversation()
    tabs = [copy.deepcopy(first) for _ in range(3)]
    keys = [tab.key for tab in tabs]
    assert len(set(keys)) == 3 and keys == [tab.key for tab in tabs] and min(map(len, keys)) >= 32


def test_a_long_wait_for_the_first_word_is_told_until_it_comes() -> None:
    growing = Exchange("t1", Answer("Q", "", "m"), began=True)
    chat.apply(Retrieved((HIT,), Coverage(1, 1, 0), wait_s=12.4), growing)
    assert "Reading the sources… about 12 s until the first word" in chat.message(growing, EN)["content"]
    assert "大约 12 秒后开始回答" in chat.message(growing, Strings("zh"))["content"]
    chat.apply(Delta("So"), growing)
    assert "12 s" not in chat.message(growing, EN)["content"]


@pytest.mark.parametrize("wait_s", [None, 0.0, 2.9])
def test_a_short_wait_or_one_that_is_not_known_is_not_told(wait_s: float | None) -> None:
    growing = Exchange("t1", Answer("Q", "", "m"), began=True)
    chat.apply(Retrieved((HIT,), Coverage(1, 1, 0), wait_s=wait_s), growing)
    assert "first word" not in chat.message(growing, EN)["content"]


def test_a_message_carries_its_turn_and_a_way_to_its_sources() -> None:
    message = chat.message(exchange(), EN)
    assert message["metadata"] == {"id": "t1"}
    assert 'href="#src-t1-1"' in message["content"] and 'class="cite-all"' in message["content"]


def test_a_weak_match_says_so_and_a_refusal_has_no_sources_to_show() -> None:
    assert "Weak match" in chat.message(exchange(weak=True), EN)["content"]
    assert "cite-all" not in chat.message(exchange(refused=True), EN)["content"]


def test_an_answer_that_a_switch_of_models_ended_says_so() -> None:
    assert "another model was chosen" in chat.message(exchange(stopped=True), EN)["content"]
    assert "another model" not in chat.message(exchange(), EN)["content"]


def test_an_answer_that_the_user_stopped_says_so_also_before_its_first_word() -> None:
    stopped = exchange(stopped=True)
    stopped.halted = True
    assert "You stopped this answer" in chat.message(stopped, EN)["content"]
    early = Exchange("t1", Answer("Q", "", "m", stopped=True), done=True, halted=True)
    assert "before the answer began" in chat.message(early, EN)["content"]


def test_a_program_gets_the_text_or_the_error() -> None:
    conversation = Conversation({"t1": exchange()})
    message = chat.message(conversation.exchanges["t1"], EN)
    assert conversation.plain(message) == "So it is [1]."
    conversation.exchanges["t1"] = Exchange("t1", Answer("Q", "", "quotes"), error="failed")
    assert conversation.plain(message) == "failed"
    conversation.forget()
    assert conversation.plain(message) == ""


def test_what_was_on_its_way_when_a_conversation_was_cleared_goes_too() -> None:
    finish = chat.after_stop(None, lambda request: EN)  # type: ignore[arg-type]  # the boot is not asked
    late = mounted(talk(1))
    assert finish(Conversation(), late, None)[:2] == ([], [])
    waiting = late[:1]  # a question that was stopped before its answer began: it stays
    assert finish(Conversation(), waiting, None)[0] != []
