"""The tab where questions are tried, in the browser: the explain table, and thresholds that follow marks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Serve, Site, Visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def small(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = serve(kb=tmp_path_factory.mktemp("tester") / "kb")
    folder = Path(tmp_path_factory.mktemp("papers"))
    (folder / "falcon.md").write_text(
        "# <b>Falcon</b>\n\nThe Falcon camera was built in Oslo. It weighs two kilograms.\n", encoding="utf-8"
    )
    (folder / "canteen.md").write_text("# Canteen\n\nThe canteen opens at noon.\n", encoding="utf-8")
    site.boot.engine().sync(folder)
    return site


def tried(page: Page, question: str) -> None:
    page.fill("#try textarea, #try input", question)
    page.press("#try textarea, #try input", "Enter")
    expect(page.locator("#tried .verdict p").first).to_have_text(question)


def test_a_question_is_explained_and_the_thresholds_follow_a_mark(visit: Visit, small: Site) -> None:
    page = visit(small, locale="en-GB")
    page.get_by_role("tab", name="Try").click()
    expect(page.locator("#tried")).to_contain_text("See what a question finds")
    expect(page.locator("#marks")).to_contain_text("Thresholds: default")
    tried(page, "Where was the Falcon camera built?")
    expect(page.locator("#tried .verdict")).to_have_class(re.compile("good"))
    expect(page.locator("#tried .try-terms li").first).to_be_visible()
    first = page.locator("#tried tbody tr").first
    expect(first).to_have_class("used")
    expect(first).to_contain_text("<b>Falcon</b> The Falcon camera")
    expect(first).not_to_contain_text("# <b>")
    expect(first.locator("mark.term").first).to_be_visible()
    page.get_by_role("button", name="It should be answered").click()
    expect(page.locator("#marks li.right")).to_have_count(1)

    tried(page, "Where is the Falcon canteen?")
    before = page.locator("#tried .verdict").get_attribute("class")
    assert before and "refused" not in before
    page.get_by_role("button", name="It should be refused").click()
    expect(page.locator("#marks li.right")).to_have_count(2)
    expect(page.locator("#tried .verdict")).to_have_class(re.compile("refused"))
    assert small.boot.engine().ask("Where is the Falcon canteen?").refused

    page.locator("#marks [data-action=reset]").click()
    page.locator("#confirm button[value=yes]").click()
    expect(page.locator("#marks")).to_contain_text("Thresholds: default")
    expect(page.locator("#tried .verdict")).not_to_have_class(re.compile("refused"))


def test_a_question_that_finds_nothing_says_so(visit: Visit, small: Site) -> None:
    page = visit(small)
    page.get_by_role("tab", name="检验").click()
    tried(page, "火星上有几座山？")
    expect(page.locator("#tried .verdict")).to_have_class(re.compile("refused"))
    page.get_by_role("button", name="不应作答").click()
    expect(page.locator("#marks li")).to_contain_text("判断一致")
    page.locator("#marks [data-action=forget]").click()
    expect(page.locator("#marks li")).to_have_count(0)
