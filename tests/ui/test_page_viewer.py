"""The passage in its document, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ragkit.config import SAMPLES
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, open_library, row

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(serve: Serve) -> Iterator[Site]:
    yield serve()


def open_source(page: Page, question: str) -> None:
    ask(page, question).locator("a.cite").first.click()
    page.locator(".src-card.on .src-open").click()
    expect(page.locator("dialog.view[open]")).to_be_visible()


def test_a_passage_is_marked_on_the_page_that_it_stands_on(visit: Visit, site: Site) -> None:
    page = visit(site, locale="en-US")
    open_source(page, "When should I take the train?")
    view = page.locator("dialog.view")
    expect(view.locator("h2")).to_have_text("travel_policy_en.pdf")
    expect(view.locator(".view-at")).to_have_text("Page 1 of 3")
    expect(view.locator(".view-page i").first).to_be_in_viewport()
    assert view.locator("img").evaluate("image => image.naturalWidth") > 800
    view.locator("[data-action=page]").last.click()
    expect(view.locator(".view-at")).to_have_text("Page 2 of 3")
    expect(view.locator(".view-page i")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("dialog.view")).to_have_count(0)


def test_a_text_is_shown_around_the_passage_and_can_be_opened_again(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_source(page, "xtuner是什么？")
    expect(page.locator("dialog.view mark").first).to_contain_text("XTuner 是")
    page.locator("dialog.view [data-action=close]").click()
    expect(page.locator("dialog.view")).to_have_count(0)
    page.locator(".src-card.on .src-open").click()
    expect(page.locator("dialog.view[open]")).to_be_visible()


def test_the_original_is_downloaded_under_its_name(visit: Visit, site: Site) -> None:
    page = visit(site, locale="en-US")
    open_source(page, "When should I take the train?")
    with page.expect_download() as download:
        page.locator("dialog.view [data-action=download]").click()
    assert download.value.suggested_filename == "travel_policy_en.pdf"
    assert Path(download.value.path()).read_bytes() == (SAMPLES / "travel_policy_en.pdf").read_bytes()


@pytest.mark.parametrize("place", ["nonsense-1", "../../etc-1", "1-99", "", "x-1-1-1"])
def test_a_place_that_was_made_up_shows_nothing_of_a_document(visit: Visit, site: Site, place: str) -> None:
    page = visit(site, locale="en-US")
    ask(page, "What is XTuner?")
    page.evaluate(
        """(id) => document.querySelector("#sources section").dispatchEvent(new CustomEvent(
            "ragkit", { bubbles: true, detail: { action: "open", id } }))""",
        place,
    )
    page.wait_for_timeout(700)
    shown = page.locator("dialog.view")
    if shown.count():
        expect(shown.locator("h2")).to_have_text(re.compile("cannot be shown"))


def test_the_passages_of_a_document_are_listed_with_their_places(visit: Visit, site: Site) -> None:
    page = visit(site, locale="en-GB")
    open_library(page)
    row(page, "travel_policy_en.pdf").locator("[data-action=chunks]").click()
    dialog = page.locator("dialog.view")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".chunks li").first).to_contain_text(re.compile(r"p\. 1 .* characters 0–\d+"))
    engine = site.boot.engine()
    (document,) = [one for one in engine.documents() if one.source.endswith("travel_policy_en.pdf")]
    assert dialog.locator(".chunk-text").all_inner_texts() == [one.text for one in engine.chunks(document.id)]
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_many_passages_are_turned_page_by_page(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    site = serve(kb=tmp_path / "kb")
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "long.md").write_text(
        "".join(f"# Part {n}\n\n{'Words of part. ' * 60}\n\n" for n in range(70)), encoding="utf-8"
    )
    site.boot.engine().sync(folder)
    page = visit(site, locale="en-GB")
    open_library(page)
    row(page, "long.md").locator("[data-action=chunks]").click()
    expect(page.locator(".chunks li")).to_have_count(50)
    page.locator("dialog.view").get_by_label("Next").click()
    expect(page.locator(".chunks li").first).to_contain_text("51 · ")
    expect(page.locator("dialog.view").get_by_label("Back")).to_be_enabled()
