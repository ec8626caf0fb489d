"""States of the settings beside the models, of several knowledge bases, and of a long conversation."""

from __future__ import annotations

from playwright.sync_api import expect

from ragkit.ui.chat import MAX_MESSAGES
from tests.screenshots.library_states import open_tab
from tests.screenshots.windows import Window, everywhere, once
from tests.ui.steps import ask, open_library

PARTS = ("model", "answers", "search", "checkup")


def open_part(at: Window, part: str) -> None:
    open_tab(at, "settings")
    at.page.locator("#settings-tabs").get_by_role("tab").nth(PARTS.index(part)).click()


@everywhere(whole=True)
def settings_answers(at: Window) -> None:
    open_part(at, "answers")
    expect(at.page.locator("#answers-notes .job")).to_be_visible()


@once("en", "light", site="library")
def settings_answers_changed(at: Window) -> None:
    open_part(at, "answers")
    number = at.page.locator("#answers-passages input[type=number]")
    number.fill("4")
    expect(at.page.locator("#answers-told .done")).to_be_visible()
    at.after.callback(at.page.wait_for_timeout, 300)
    at.after.callback(number.fill, "6")


@everywhere(whole=True)
def settings_search(at: Window) -> None:
    open_part(at, "search")
    expect(at.page.locator("#embeddings .used")).to_be_visible()


@once("zh", "light", whole=True)
def checkup_report(at: Window) -> None:
    open_part(at, "checkup")
    at.page.locator("#checkup [data-action=examine]").click()
    expect(at.page.locator("#checkup [data-action=examine]")).to_be_visible(timeout=120_000)


@once("en", "dark", width=390, whole=True)
def checkup_narrow(at: Window) -> None:
    open_part(at, "checkup")
    expect(at.page.locator("#checkup header")).to_be_visible()


def make(at: Window, name: str) -> None:
    at.page.fill("#shelf-new :is(textarea, input)", name)
    at.page.press("#shelf-new :is(textarea, input)", "Enter")
    expect(at.page.locator("#shelf .here b")).to_have_text(name)


def go_back(at: Window) -> None:
    """Leave the site with the knowledge base that the other states expect."""
    at.page.locator("#shelf li", has_text="default").locator("[data-action=open]").click()
    expect(at.page.locator("#shelf .here b")).to_have_text("default")


@once("zh", "light", site="library")
def several_knowledge_bases(at: Window) -> None:
    open_library(at.page)
    make(at, "合同 2026")
    at.after.callback(go_back, at)


@once("en", "dark", site="library", width=390, whole=True)
def several_knowledge_bases_narrow(at: Window) -> None:
    open_library(at.page)
    make(at, "Contracts")
    at.after.callback(go_back, at)


@once("en", "light")
def earlier_messages(at: Window) -> None:
    for number in range(MAX_MESSAGES // 2 + 2):
        at.page.fill("#ask textarea", f"How soon must I report a lost laptop? ({number})")
        at.page.press("#ask textarea", "Enter")
        expect(at.page.locator("#chatbot .user.message").last).to_contain_text(f"({number})")
        expect(at.page.locator("#ask .submit-button")).to_be_visible()
    at.page.locator("#chatbot .bubble-wrap").evaluate("element => element.scrollTop = 0")
    expect(at.page.locator("#earlier")).to_be_visible()


@once("en", "dark")
def editing(at: Window) -> None:
    ask(at.page, "How soon must I report a lost laptop?")
    at.page.locator("#chatbot .user-row").first.hover()
    at.page.get_by_label("Edit").first.click()
    expect(at.page.locator("#chatbot textarea")).to_be_visible()


@once("en", "light")
def score_parts(at: Window) -> None:
    ask(at.page, "How soon must I report a lost laptop?")
    at.page.locator("#sources .src-score").first.click()
    expect(at.page.locator("#sources .score-parts").first).to_be_visible()
