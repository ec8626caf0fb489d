"""The page for everybody: no violation that axe-core finds, in both languages and themes; and the keyboard alone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.fakes import ScriptedLLM
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, open_library, open_settings, send

PARTS = {
    "model": "#machine dl",
    "answers": "#answers-notes .job",
    "search": "#embeddings .model",
    "checkup": ".checkup button",
}

pytestmark = pytest.mark.browser


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it stands."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found: list[dict[str, Any]] = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_tab(visit: Visit, site: Site, locale: str, theme: str) -> None:
    page = visit(site, locale=locale)
    if theme == "dark":
        page.locator("#theme").click()
    expect(page.locator("#chatbot .example").first).to_be_visible()
    page.wait_for_timeout(300)  # colours change softly
    assert violations(page) == []
    answer = ask(page, "xtuner是什么？")
    answer.locator("a.cite").first.click()
    page.locator(".src-card.on .src-score").click()
    expect(page.locator(".src-card.on .score-parts")).to_be_visible()
    page.wait_for_timeout(300)
    assert violations(page) == []
    page.locator(".src-card.on .src-open").click()
    expect(page.locator("dialog.view")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("dialog.view")).to_have_count(0)
    open_library(page)
    assert violations(page) == []
    page.get_by_role("tab").nth(2).click()
    page.fill("#try textarea, #try input", "xtuner是什么？")
    page.press("#try textarea, #try input", "Enter")
    expect(page.locator("#tried table")).to_be_visible()
    assert violations(page) == []
    for part, shown in PARTS.items():
        open_settings(page, part)
        expect(page.locator(shown).first).to_be_visible()
        page.wait_for_timeout(300)
        assert violations(page) == []


def test_the_keyboard_asks_stops_and_comes_back(visit: Visit, serve: Serve) -> None:
    llm = ScriptedLLM(pause_s=0.1)
    page = visit(serve(llm=llm))
    box = page.locator("#ask textarea")
    page.locator("#theme").focus()
    page.keyboard.press("/")
    expect(box).to_be_focused()
    expect(box).to_have_value("")
    llm.enqueue(["字"] * 300)
    page.keyboard.type("xtuner是什么？")
    page.keyboard.press("Control+Enter")
    answer = page.locator("#chatbot .bot.message").first
    expect(answer).to_contain_text("字字")
    page.keyboard.press("Escape")
    expect(answer).to_contain_text("你停止了这次回答")
    llm.enqueue("XTuner 是微调工具[1]。")
    expect(send(page, "xtuner是什么？")).to_contain_text("微调工具")
