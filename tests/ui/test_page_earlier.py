"""Long conversations in the browser, and questions that are edited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Locator, Page, expect

from ragkit.schema import Answer, Citation, Hit
from ragkit.ui.chat import Conversation, Exchange
from tests.fakes import ScriptedLLM
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, send
from tests.ui.test_page_access import violations

pytestmark = pytest.mark.browser

TEXT = "Falcon {n} was built in Oslo."


def past(number: int, kb: Path) -> Exchange:
    """An exchange that was had before, about document `number`."""
    text = TEXT.format(n=number)
    hit = Hit(number, 1, f"uploads/{number}.md", None, (), 0, len(text), text, 0.9, 1.0, None)
    cited = Citation(1, 1, hit.source, None, (), 0, len(text), text)
    answer = Answer(f"What is XTuner, part {number}?", f"{text} [1]", "m", hits=(hit,), citations=(cited,))
    return Exchange(f"t{number}", answer, done=True, ended=True, kb=kb)


@pytest.fixture(scope="module")
def model() -> ScriptedLLM:
    return ScriptedLLM(name="falcon-7b")


@pytest.fixture(scope="module")
def talker(serve: Serve, model: ScriptedLLM) -> Site:
    return serve(llm=model)


@pytest.fixture
def long(talker: Site) -> Iterator[Site]:
    """Every tab that is opened begins behind 100 exchanges, of which none is mounted."""
    kept = next(
        block
        for block in talker.app.blocks.values()
        if isinstance(block, gr.State) and isinstance(block.value, Conversation)
    )
    kept.value = Conversation(
        {one.turn: one for one in (past(number, talker.settings.kb) for number in range(100))}, hidden=100
    )
    yield talker
    kept.value = Conversation()


def messages(page: Page) -> Locator:
    return page.locator("#chatbot .message-row")


def bots(page: Page) -> Locator:
    return page.locator("#chatbot .bot.message")


def edit(page: Page, number: int, question: str) -> None:
    """Change the question `number`, counted from 0, and send it."""
    page.locator("#chatbot .user-row").nth(number).hover()
    page.get_by_label("Edit").nth(number).click()
    assert violations(page) == []
    page.locator("#chatbot textarea").fill(question)
    page.locator("#chatbot").get_by_label("Submit").click()


def test_a_long_conversation_is_mounted_piece_by_piece(visit: Visit, long: Site, model: ScriptedLLM) -> None:
    page = visit(long, locale="en-GB")
    more = page.locator("#earlier")
    model.enqueue("Hello.")
    ask(page, "What is XTuner?")
    expect(messages(page)).to_have_count(2)
    for mounted, left in ((42, 160), (82, 120)):
        expect(more).to_have_text(f"Show {left + 40} earlier messages")
        more.click()
        expect(messages(page)).to_have_count(mounted)
        expect(more).to_have_text(f"Show {left} earlier messages")
    expect(page.get_by_text("What is XTuner, part 79?")).to_be_in_viewport()
    expect(page.get_by_text("What is XTuner, part 60?")).to_be_visible()
    bots(page).first.locator("a.cite").first.click()
    expect(page.locator("#sources .src-question")).to_have_text("What is XTuner, part 60?")
    expect(page.locator("#sources .src-card.on")).to_be_focused()
    model.enqueue("Hello again.")
    send(page, "What is LMDeploy?")
    expect(bots(page).last).to_contain_text("Hello again.")
    expect(messages(page)).to_have_count(40)
    expect(more).to_have_text("Show 164 earlier messages")
    expect(messages(page).first).to_contain_text("What is XTuner, part 82?")


def test_undo_retry_and_clear_keep_a_long_conversation_together(
    visit: Visit, long: Site, model: ScriptedLLM
) -> None:
    page = visit(long, locale="en-GB")
    more = page.locator("#earlier")
    model.enqueue("First.")
    ask(page, "What is XTuner?")
    more.click()
    expect(messages(page)).to_have_count(42)
    page.get_by_label("Undo").first.click()
    expect(messages(page)).to_have_count(40)
    page.get_by_label("Undo").first.click()  # one that was said before this page was there
    expect(messages(page)).to_have_count(38)
    expect(page.locator("#ask textarea")).to_have_value("What is XTuner, part 99?")
    model.enqueue("Again.")
    page.get_by_label("Retry").first.click()
    expect(bots(page).last).to_contain_text("Again.")
    expect(messages(page)).to_have_count(38)
    expect(more).to_have_text("Show 160 earlier messages")
    more.click()
    expect(messages(page)).to_have_count(78)
    assert [text for text in bots(page).all_inner_texts() if "99" in text] == []
    expect(bots(page).last).to_contain_text("Again.")
    page.get_by_label("Clear").click()
    expect(messages(page)).to_have_count(0)
    expect(more).to_have_count(0)
    expect(page.locator("#sources .src-state")).to_be_visible()
    model.enqueue("Anew.")
    ask(page, "What is XTuner?")
    expect(messages(page)).to_have_count(2)
    expect(more).to_have_count(0)


def test_clearing_ends_an_answer_that_is_being_written(
    visit: Visit, talker: Site, model: ScriptedLLM
) -> None:
    page = visit(talker, locale="en-GB")
    model.enqueue(["word "] * 400)
    model.pause_s = 0.05
    expect(send(page, "What is XTuner?")).to_contain_text("word word")
    page.get_by_label("Clear").click()
    expect(page.locator("#ask .submit-button")).to_be_visible()
    model.pause_s = 0.0
    expect(messages(page)).to_have_count(0)
    model.enqueue("Anew.")
    expect(ask(page, "What is XTuner?")).to_contain_text("Anew.")
    expect(messages(page)).to_have_count(2)


# ── Editing ──


def test_the_last_question_is_edited_and_answered_anew(
    visit: Visit, talker: Site, model: ScriptedLLM
) -> None:
    page = visit(talker, locale="en-GB")
    model.enqueue("First.")
    ask(page, "What is XTuner?")
    model.enqueue("Second.")
    edit(page, 0, "What is LMDeploy?")
    expect(bots(page).last).to_contain_text("Second.")
    expect(messages(page)).to_have_count(2)
    expect(messages(page).first).to_contain_text("What is LMDeploy?")
    expect(page.locator("#sources .src-question")).to_have_text("What is LMDeploy?")
    expect(page.locator("#ask textarea")).to_be_enabled()
    expect(page.locator("#ask textarea")).to_have_attribute("placeholder", "Ask about your documents…")


def test_an_earlier_question_is_edited_and_what_followed_is_gone(
    visit: Visit, talker: Site, model: ScriptedLLM
) -> None:
    page = visit(talker, locale="en-GB")
    for number, question in enumerate(("What is XTuner?", "What is InternLM?", "What is RAG?")):
        model.enqueue(f"Answer {number}.")
        ask(page, question)
    model.enqueue("Another answer.")
    edit(page, 1, "What is LMDeploy?")
    expect(bots(page).last).to_contain_text("Another answer.")
    expect(messages(page)).to_have_count(4)
    told = str(model.asked[-1])
    assert "Answer 0" in told and "Answer 1" not in told and "Answer 2" not in told
    expect(page.locator("#sources .src-question")).to_have_text("What is LMDeploy?")
    bots(page).first.locator("a.cite-all").click()
    expect(page.locator("#sources .src-question")).to_have_text("What is XTuner?")
    model.enqueue("And on.")
    ask(page, "What is RAG?")
    expect(messages(page)).to_have_count(6)
    told = str(model.asked[-1])
    assert "Another answer" in told and "Answer 1" not in told


def test_an_edit_of_an_old_question_keeps_what_is_hidden(
    visit: Visit, long: Site, model: ScriptedLLM
) -> None:
    page = visit(long, locale="en-GB")
    model.enqueue("First.")
    ask(page, "What is XTuner?")
    page.locator("#earlier").click()
    expect(messages(page)).to_have_count(42)
    model.enqueue("Edited.")
    edit(page, 1, "What is LMDeploy?")
    expect(bots(page).last).to_contain_text("Edited.")
    expect(messages(page)).to_have_count(4)
    expect(page.locator("#earlier")).to_have_text("Show 160 earlier messages")


def test_the_answer_to_an_edited_question_can_be_stopped(
    visit: Visit, talker: Site, model: ScriptedLLM
) -> None:
    page = visit(talker, locale="en-GB")
    model.enqueue("First.")
    ask(page, "What is XTuner?")
    model.enqueue(["word "] * 400)
    model.pause_s = 0.05
    edit(page, 0, "What is LMDeploy?")
    expect(bots(page).last).to_contain_text("word word")
    page.locator("#ask .stop-button").click()
    expect(bots(page).last).to_contain_text("You stopped this answer")
    model.pause_s = 0.0
    expect(page.locator("#ask textarea")).to_be_enabled()


def test_an_edit_that_leaves_nothing_asks_the_same_again(
    visit: Visit, talker: Site, model: ScriptedLLM
) -> None:
    page = visit(talker, locale="en-GB")
    model.enqueue("First.")
    ask(page, "What is XTuner?")
    model.enqueue("Second.")
    edit(page, 0, " ")
    expect(bots(page).last).to_contain_text("Second.")
    expect(messages(page).first).to_contain_text("What is XTuner?")
