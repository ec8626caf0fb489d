"""States of the other tabs: knowledge base, try, settings; and of the windows with a document."""

from __future__ import annotations

from playwright.sync_api import expect

from ragkit.ui.strings import Strings
from tests.screenshots.windows import Window, everywhere, once
from tests.ui.steps import ask, drop, open_library, row

BROKEN = ("quarterly_report.pdf", b"%PDF-1.4 not really")


def open_tab(at: Window, tab: str) -> None:
    """By its id; where the row is too narrow for all, from the menu behind it."""
    shown = at.page.locator(f"[role=tab][data-tab-id={tab}]")
    if shown.count():
        return shown.click()
    at.page.locator("#tabs .overflow-menu > button").click()
    name = Strings(at.language)(f"tab_{tab}")
    at.page.locator("#tabs .overflow-dropdown").get_by_text(name, exact=True).click()


# ── Knowledge base ──


@everywhere(whole=True)
def library(at: Window) -> None:
    open_library(at.page)
    expect(row(at.page, "faq_en.md")).to_be_visible()
    expect(at.page.locator("#about dl")).to_be_visible()


@once("zh", "light", site="empty")
def empty_library(at: Window) -> None:
    open_library(at.page)
    expect(at.page.locator("#documents .docs-empty")).to_be_visible()


@once("en", "dark", site="library")
def delete_confirm(at: Window) -> None:
    open_library(at.page)
    row(at.page, "faq_en.md").locator("[data-action=delete]").click()
    expect(at.page.locator("#confirm")).to_be_visible()


@once("zh", "dark", site="library")
def added(at: Window) -> None:
    open_library(at.page)
    drop(at.page, ("海豚计划.md", "# 海豚计划\n\n海豚计划的负责人是欧阳青。\n".encode()))


@once("en", "light", site="library")
def failed_file_and_conflict(at: Window) -> None:
    open_library(at.page)
    drop(at.page, ("plan.md", b"The first plan mentions walrus.\n"))
    at.page.locator("#job [data-close]").first.click()
    drop(at.page, BROKEN, ("plan.md", b"The second plan mentions narwhal.\n"))
    expect(at.page.locator("#job .conflict")).to_be_visible()
    expect(row(at.page, BROKEN[0]).locator(".doc-error")).to_be_visible()


@once("zh", "dark", site="library", width=390, whole=True)
def failed_file_narrow(at: Window) -> None:
    open_library(at.page)
    drop(at.page, BROKEN)
    expect(row(at.page, BROKEN[0]).locator(".doc-error")).to_be_visible()


@once("zh", "light", site="busy")
def job_running(at: Window) -> None:
    open_library(at.page)
    sentences = "".join(f"第{number}句话说的是另一件事情。" for number in range(2500))
    at.page.locator("#drop input[type=file]").set_input_files(
        [
            {
                "name": f"会议记录{number:02}.txt",
                "mimeType": "text/plain",
                "buffer": f"第{number}份。{sentences}".encode(),
            }
            for number in range(60)
        ]
    )
    expect(at.page.locator("#job .running .job-count")).to_contain_text("/ 60")
    expect(row(at.page, "会议记录00.txt")).to_be_visible()

    def cancel() -> None:
        at.page.locator("#job [data-action=cancel]").click()
        expect(at.page.locator("#job .job:not(.running)").first).to_be_visible()

    at.after.callback(cancel)


@once("zh", "light")
def folder_dropped(at: Window) -> None:
    open_library(at.page)
    at.page.evaluate(
        """() => {
            const drop = new Event("drop", { bubbles: true, cancelable: true });
            drop.dataTransfer = { items: [{ webkitGetAsEntry: () => ({ isDirectory: true }) }], files: [] };
            document.querySelector("#drop button").dispatchEvent(drop);
        }"""
    )
    expect(at.page.locator("#drop-folder")).to_be_visible()


@once("en", "dark")
def filter_without_a_match(at: Window) -> None:
    open_library(at.page)
    at.page.locator("#docs-filter").locator("input, textarea").first.fill("zzz")
    expect(at.page.locator("#documents tbody tr")).to_have_count(0)


# ── Windows with a document ──


def open_source(at: Window, question: str) -> None:
    ask(at.page, question).locator("a.cite").first.click()
    at.page.locator(".src-card.on .src-open").first.click()
    expect(at.page.locator("dialog.view[open]")).to_be_visible()


@once("en", "light")
def viewer_pdf(at: Window) -> None:
    open_source(at, "When should I take the train?")
    expect(at.page.locator("dialog.view .view-page i").first).to_be_in_viewport()
    at.page.wait_for_function("document.querySelector('dialog.view img').naturalWidth > 0")


@once("en", "dark", width=390)
def viewer_pdf_narrow(at: Window) -> None:
    viewer_pdf(at)


@once("zh", "dark")
def viewer_text(at: Window) -> None:
    open_source(at, "xtuner是什么？")
    expect(at.page.locator("dialog.view mark").first).to_be_visible()


@once("zh", "light", width=390)
def viewer_text_narrow(at: Window) -> None:
    viewer_text(at)


@once("en", "dark")
def passages(at: Window) -> None:
    open_library(at.page)
    row(at.page, "travel_policy_en.pdf").locator("[data-action=chunks]").click()
    expect(at.page.locator("dialog.view .chunks li").first).to_be_visible()


@once("zh", "light", width=390)
def passages_narrow(at: Window) -> None:
    passages(at)


# ── Try ──


def open_try(at: Window) -> None:
    open_tab(at, "tester")
    expect(at.page.locator("#try :is(textarea, input)").first).to_be_visible()
    expect(at.page.locator("#tried :is(h2, p)").first).to_be_visible()


def tried(at: Window, question: str) -> None:
    box = at.page.locator("#try :is(textarea, input)").first
    box.fill(question)
    box.press("Enter")
    expect(at.page.locator("#tried .verdict p").first).to_have_text(question)


@everywhere(whole=True)
def try_tab(at: Window) -> None:
    open_try(at)
    tried(at, at.say("年休假有几天？", "What is the hotel limit in tier-1 cities?"))


@once("en", "dark")
def try_empty(at: Window) -> None:
    open_try(at)


@once("zh", "light", site="library", whole=True)
def try_with_marks(at: Window) -> None:
    open_try(at)
    marks = at.page.locator("#marks li")
    tried(at, "出差结束后多少天内要提交报销单？")
    at.page.locator("#tried [data-action=good]").click()
    expect(marks).to_have_count(1)
    tried(at, "公司食堂几点开门？")
    at.page.locator("#tried [data-action=bad]").click()
    expect(marks).to_have_count(2)


@once("en", "light")
def try_refused(at: Window) -> None:
    open_try(at)
    tried(at, "Is there a canteen on Mars?")


# ── Settings ──


def open_settings(at: Window) -> None:
    open_tab(at, "settings")
    expect(at.page.locator("#machine dl").first).to_be_visible()
    expect(at.page.locator("#models .model").first).to_be_visible(timeout=60_000)


@everywhere(whole=True)
def settings(at: Window) -> None:
    open_settings(at)


@once("zh", "dark", site="models", whole=True)
def settings_with_models(at: Window) -> None:
    open_settings(at)
    expect(at.page.locator('#models .model[data-model^="acme"]').first).to_be_visible(timeout=60_000)


@once("en", "light", site="models", width=390, whole=True)
def settings_with_models_narrow(at: Window) -> None:
    settings_with_models(at)


@once("en", "light", site="loading")
def settings_loading(at: Window) -> None:
    open_settings(at)
    expect(at.page.locator("#model-now progress")).to_be_visible()


@once("zh", "dark", site="failed")
def settings_failed(at: Window) -> None:
    open_settings(at)
