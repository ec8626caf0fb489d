"""Several knowledge bases in a browser: made, opened, exported, imported, deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ragkit import config
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, drop, open_library, row

pytestmark = pytest.mark.browser


@pytest.fixture
def site(serve: Serve) -> Site:
    return serve()


def opened(page: Page, name: str) -> None:
    expect(page.locator("#shelf li.here b")).to_have_text(name)


def make(page: Page, name: str) -> None:
    page.fill("#shelf-new textarea, #shelf-new input", name)
    page.press("#shelf-new textarea, #shelf-new input", "Enter")
    opened(page, name)


def test_a_new_one_is_empty_keeps_its_own_documents_and_the_old_one_is_as_it_was(
    visit: Visit, site: Site
) -> None:
    page = visit(site, locale="en-GB")
    answer = ask(page, "How soon must I report a lost laptop?")
    expect(answer).to_contain_text("one hour")
    open_library(page)
    opened(page, "default")
    make(page, "合同 2026")
    expect(page.locator("#documents .docs-empty")).to_be_visible()
    drop(page, ("rent.md", b"# Rent\n\nThe rent of the office is due on the fifth of every month."))
    expect(row(page, "rent.md")).to_be_visible()
    page.get_by_role("tab").first.click()
    answer.locator("a.cite").first.click()  # of the other knowledge base
    expect(page.locator("#sources")).to_contain_text("rests on another knowledge base: default")
    expect(ask(page, "When is the rent of the office due?")).to_contain_text("fifth of every month")
    expect(ask(page, "How soon must I report a lost laptop?")).to_contain_text("not found")
    assert config.saved(site.settings.data_dir)["kb"] == "合同 2026"
    open_library(page)
    page.locator("#shelf li", has_text="default").locator("[data-action=open]").click()
    opened(page, "default")
    expect(row(page, "faq_en.md")).to_be_visible()
    expect(row(page, "rent.md")).to_have_count(0)
    assert "kb" not in config.saved(site.settings.data_dir)
    page.get_by_role("tab").first.click()
    answer.locator("a.cite").first.click()
    expect(page.locator("#sources .src-card.on")).to_be_visible()


def test_one_leaves_as_a_file_and_comes_back_under_a_name_of_its_own(
    visit: Visit, site: Site, tmp_path: Path
) -> None:
    page = visit(site)
    open_library(page)
    with page.expect_download() as download:
        page.locator("#shelf [data-action=export]").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "default.ragkit"
    page.locator("input[data-testid$=-upload-button]").set_input_files(file)
    opened(page, "default 2")
    expect(row(page, "faq_en.md")).to_be_visible()
    page.locator("#shelf li", has_text="default").first.locator("[data-action=open]").click()
    opened(page, "default")
    page.locator("#shelf li", has_text="default 2").locator("[data-action=delete]").click()
    expect(page.locator("#confirm-text")).to_contain_text("default 2")
    page.locator("#confirm button[value=yes]").click()
    expect(page.locator("#shelf li")).to_have_count(1)
    assert not (site.settings.data_dir / "library" / "default 2").exists()


def test_what_is_no_knowledge_base_and_no_name_is_said_and_nothing_changes(
    visit: Visit, site: Site, tmp_path: Path
) -> None:
    page = visit(site)
    open_library(page)
    broken = tmp_path / "holiday.ragkit"
    broken.write_bytes(b"PK no library")
    page.locator("input[data-testid$=-upload-button]").set_input_files(broken)
    failed = page.locator("#shelf-job .job.failed")
    expect(failed).to_contain_text("holiday.ragkit")
    expect(failed).to_contain_text("所选文件已损坏")
    expect(failed).not_to_contain_text("/")
    page.fill("#shelf-new textarea, #shelf-new input", "../../etc")
    page.press("#shelf-new textarea, #shelf-new input", "Enter")
    expect(page.locator("#shelf-job .job.failed")).to_contain_text("etc")
    opened(page, "default")
    assert [one.name for one in config.libraries(site.settings.data_dir)] == ["default"]
