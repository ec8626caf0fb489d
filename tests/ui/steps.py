"""What a user does on the page, for the browser tests."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect


def send(page: Page, question: str) -> Locator:
    """Send a question and give the message that its answer appears in."""
    before = page.locator("#chatbot .bot.message").count()
    page.fill("#ask textarea", question)
    page.press("#ask textarea", "Enter")
    return page.locator("#chatbot .bot.message").nth(before)


def ask(page: Page, question: str) -> Locator:
    """Send a question, wait until its answer is whole, and give the message."""
    answer = send(page, question)
    expect(answer).to_contain_text(re.compile(r"^(?!Loading content)\s*\S"))
    expect(page.locator("#ask .submit-button")).to_be_visible()
    expect(page.locator("#ask textarea")).to_be_enabled()
    return answer


def open_library(page: Page) -> None:
    page.get_by_role("tab").nth(1).click()
    expect(page.locator("#documents table, #documents .docs-empty")).to_be_visible()


def open_settings(page: Page, part: str = "model") -> None:
    """Show one of the tabs in Settings."""
    page.get_by_role("tab").nth(3).click()
    number = ("model", "answers", "search", "checkup").index(part)
    page.locator("#settings-tabs").get_by_role("tab").nth(number).click()


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    """Put files on the drop zone and wait for what becomes of them."""
    page.locator("#drop input[type=file]").set_input_files(
        [{"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in files]
    )
    expect(page.locator("#job .job:not(.running)").first).to_be_visible()


def row(page: Page, name: str) -> Locator:
    return page.locator("#documents tbody tr", has_text=name)


def delete(page: Page, name: str) -> None:
    row(page, name).locator("[data-action=delete]").click()
    page.locator("#confirm button[value=yes]").click()
    expect(row(page, name)).to_have_count(0)
