"""Choosing what answers, in a browser, with a real (tiny, random) InternLM2 in a data folder."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from ragkit import model_facts
from ragkit.load_plan import DeviceFacts
from tests import tiny
from tests.ui import steps
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, send

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]

LOAD_MS = 60_000  # the libraries of a model are imported at the first load


@pytest.fixture(scope="module")
def site(serve: Serve) -> Iterator[Site]:
    site = serve()
    # Wide answers: a tiny model says 512 tokens in a few seconds, time enough to stop it.
    tiny.internlm2(site.settings.data_dir / "models" / "acme--tiny", num_hidden_layers=6, hidden_size=256)
    tiny.internlm2(site.settings.data_dir / "models" / "acme--other", seed=1)
    yield site


def open_settings(page: Page) -> None:
    steps.open_settings(page)
    expect(model(page, "acme/tiny")).to_be_visible(timeout=LOAD_MS)


def model(page: Page, name: str) -> Locator:
    return page.locator(f'#models .model[data-model="{name}"]')


def load(page: Page, name: str) -> None:
    model(page, name).locator("[data-action^=load]").click()
    expect(model(page, name)).to_have_class(re.compile("used"), timeout=LOAD_MS)


def unload(page: Page) -> None:
    page.locator("#models .used [data-action=unload]").click()
    expect(model(page, "摘录模式")).to_have_class(re.compile("used"))


def test_a_model_is_loaded_answers_in_a_stream_stops_at_once_and_gives_way_to_quotes(
    visit: Visit, site: Site
) -> None:
    page = visit(site)
    expect(page.locator("#top .badge")).to_contain_text("摘录模式")
    open_settings(page)
    expect(model(page, "internlm/internlm2-chat-1_8b").locator("button")).to_have_text("下载")
    page.locator("#precision").get_by_label("fp32").check()
    model(page, "acme/tiny").locator("[data-action=load]").click()
    expect(page.locator("#model-now progress")).to_be_visible()
    expect(model(page, "acme/tiny")).to_have_class(re.compile("used"), timeout=LOAD_MS)
    expect(page.locator("#top .badge.ok")).to_contain_text("acme/tiny")
    expect(page.locator("#model-now .job")).to_have_count(0)

    page.get_by_role("tab").first.click()
    answer = send(page, "xtuner是什么？")
    expect(page.locator("#ask .stop-button")).to_be_visible()
    expect(answer).to_contain_text(re.compile(r"^(?!Loading content)\s*\S"))
    first = answer.inner_text()
    expect(answer).not_to_have_text(first)  # it grows
    page.locator("#ask .stop-button").click()
    expect(page.locator("#ask .submit-button")).to_be_visible()
    time.sleep(0.4)
    stopped = answer.inner_text()
    time.sleep(0.6)
    assert answer.inner_text() == stopped

    open_settings(page)
    unload(page)
    page.get_by_role("tab").first.click()
    expect(ask(page, "xtuner是什么？").locator("a.cite").first).to_be_visible()
    expect(page.locator("#top .badge")).to_contain_text("摘录模式")


def test_a_model_that_does_not_fit_is_refused_and_the_old_one_still_answers(
    visit: Visit, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit(site)
    open_settings(page)
    load(page, "acme/other")
    real = model_facts.device_facts

    def full(which: str = "auto") -> DeviceFacts:
        return replace(real("cpu"), free_bytes=1 << 20)

    monkeypatch.setattr(model_facts, "device_facts", full)  # another program took the memory meanwhile
    model(page, "acme/tiny").locator("[data-action=load]").click()
    expect(page.locator("#model-now .failed")).to_contain_text("未加载 acme/tiny，仍由 acme/other 回答。")
    expect(model(page, "acme/other")).to_have_class(re.compile("used"))
    page.locator("#models [data-action=look]").click()
    expect(model(page, "acme/tiny")).to_contain_text("装不下")
    expect(model(page, "acme/tiny").locator("[data-action^=load]")).to_have_count(0)
    assert site.boot.engine().ask("xtuner是什么？").profile == "acme/other"
    unload(page)


def test_a_path_from_the_browser_is_not_loaded(visit: Visit, site: Site, tmp_path: Path) -> None:
    folder = tiny.internlm2(tmp_path / "hidden")
    page = visit(site)
    open_settings(page)
    for choice in (str(folder), "../hidden"):
        page.evaluate(
            """(id) => document.querySelector("#models .models").dispatchEvent(new CustomEvent(
                "ragkit", { bubbles: true, detail: { action: "load", id } }))""",
            choice,
        )
    page.wait_for_timeout(1000)
    assert not site.boot.slot.moving and site.boot.engine().profile == "quotes"
