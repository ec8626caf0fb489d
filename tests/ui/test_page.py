"""The page in a browser, over the real engine: what a newcomer does, and what a hostile file tries."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes import ScriptedLLM
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, delete, drop, open_library, row, send

pytestmark = pytest.mark.browser


# ── Chat ──


@pytest.mark.parametrize(
    ("locale", "language", "greeting", "example", "badge"),
    [
        ("zh-CN", "zh-CN", "你好，我是你的助手，有什么我可以帮助你的吗？", "xtuner是什么？", "摘录模式"),
        ("en-GB", "en", "Hello, I am your assistant.", "What is XTuner?", "Quotes"),
    ],
)
def test_the_page_greets_in_the_language_of_the_browser(
    visit: Visit, site: Site, locale: str, language: str, greeting: str, example: str, badge: str
) -> None:
    page = visit(site, locale=locale)
    expect(page.locator("#chatbot")).to_contain_text(greeting)
    expect(page.locator("#chatbot .example")).to_have_count(3)
    expect(page.locator("#chatbot .example").first).to_have_text(example)
    expect(page.locator("#top .badge")).to_contain_text(badge)
    assert page.locator("html").get_attribute("lang") == language
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "the page itself scrolls"


@pytest.mark.parametrize(
    ("question", "words"),
    [("xtuner是什么？", "XTuner"), ("How soon must I report a lost laptop?", "within one hour")],
)
def test_a_question_is_answered_with_numbers_and_their_sources(
    visit: Visit, site: Site, question: str, words: str
) -> None:
    page = visit(site)
    answer = ask(page, question)
    expect(answer).to_contain_text(words)
    expect(answer.locator("a.cite").first).to_have_text(re.compile(r"^\d$"))
    expect(page.locator("#sources .src-card").first).to_be_visible()
    expect(page.locator("#sources .src-question")).to_have_text(question)


def test_an_example_is_asked_by_a_click(visit: Visit, site: Site) -> None:
    page = visit(site)
    page.locator("#chatbot .example").first.click()
    expect(page.locator("#chatbot .bot.message a.cite").first).to_be_visible()


def test_a_click_on_a_number_opens_its_card_and_marks_the_words(visit: Visit, site: Site) -> None:
    page = visit(site)
    answer = ask(page, "没有休完的年休假最晚什么时候要休完？")
    answer.locator("a.cite").first.click()
    card = page.locator("#sources .src-card.on")
    expect(card).to_have_count(1)
    expect(card).to_be_focused()
    expect(card.locator("mark.cited").first).to_contain_text("3 月 31 日")


def test_an_older_answer_brings_its_own_sources_back(visit: Visit, site: Site) -> None:
    page = visit(site)
    first = ask(page, "xtuner是什么？")
    ask(page, "How soon must I report a lost laptop?")
    expect(page.locator("#sources .src-question")).to_have_text("How soon must I report a lost laptop?")
    first.locator("a.cite").first.click()
    expect(page.locator("#sources .src-question")).to_have_text("xtuner是什么？")
    expect(page.locator("#sources .src-card.on")).to_be_focused()


def test_on_a_narrow_screen_the_sources_rise_when_asked_for(visit: Visit, site: Site) -> None:
    page = visit(site, width=390, height=844)
    answer = ask(page, "xtuner是什么？")
    expect(page.locator("#sources .src-card").first).not_to_be_visible()
    answer.locator("a.cite-all").click()
    expect(page.locator("#sources .src-card").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sources .src-card").first).not_to_be_visible()


def test_what_is_not_in_the_documents_is_refused_with_advice(visit: Visit, site: Site) -> None:
    page = visit(site)
    answer = ask(page, "今天的天气怎么样？")
    assert answer.locator("a.cite").count() == 0
    expect(page.locator("#sources .verdict.refused li")).to_have_count(3)
    assert page.locator("#sources .src-card").count() == 0


def test_retry_undo_and_clear_leave_the_page_usable(visit: Visit, site: Site) -> None:
    page = visit(site)
    messages = page.locator("#chatbot .bot.message")
    ask(page, "xtuner是什么？")
    page.get_by_label("重试").or_(page.get_by_label("Retry")).first.click()
    expect(messages).to_have_count(1)
    expect(page.locator("#ask .submit-button")).to_be_visible()
    expect(messages.locator("a.cite").first).to_be_visible()
    expect(page.locator("#ask textarea")).to_have_attribute("placeholder", "就你的文档提问…")
    page.get_by_label("撤销").or_(page.get_by_label("Undo")).first.click()
    expect(messages).to_have_count(0)
    expect(page.locator("#ask textarea")).to_have_value("xtuner是什么？")
    ask(page, "How soon must I report a lost laptop?")
    page.get_by_label("清空").or_(page.get_by_label("Clear")).first.click()
    expect(messages).to_have_count(0)
    expect(page.locator("#sources .src-state")).to_be_visible()


def test_an_answer_is_copied_as_the_text_that_was_read(visit: Visit, site: Site) -> None:
    page = visit(site)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, "How soon must I report a lost laptop?")
    page.locator("#chatbot").get_by_label("复制").last.click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()) !== ''")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Report a lost or stolen laptop") and re.search(r"\[\d\]$", copied)


def test_an_empty_question_is_not_sent(visit: Visit, site: Site) -> None:
    page = visit(site)
    page.fill("#ask textarea", "   ")
    page.press("#ask textarea", "Enter")
    page.locator("#ask .submit-button").click()
    page.wait_for_timeout(300)
    assert page.locator("#chatbot .message").count() == 0


def test_an_answer_can_be_stopped_and_the_next_question_is_answered(visit: Visit, serve: Serve) -> None:
    llm = ScriptedLLM(name="慢模型", pause_s=0.15)
    page = visit(serve(llm=llm))
    expect(page.locator("#top .badge")).to_contain_text("慢模型")
    llm.enqueue(["字"] * 400)
    answer = send(page, "xtuner是什么？")
    expect(answer).to_contain_text("字字")
    page.locator("#ask .stop-button").click()
    expect(page.locator("#ask .submit-button")).to_be_visible()
    expect(answer).to_contain_text("你停止了这次回答")
    stopped = answer.inner_text()
    time.sleep(0.5)
    assert answer.inner_text() == stopped and stopped.count("字") < 100
    llm.enqueue(["XTuner 是微调工具。", "[1]"])
    expect(ask(page, "xtuner是什么？")).to_contain_text("XTuner 是微调工具")


def test_the_language_is_switched_and_stays(visit: Visit, site: Site) -> None:
    page = visit(site)
    page.locator("#language").click()
    expect(page.locator("#chatbot")).to_contain_text("Hello, I am your assistant.")
    page.reload()
    expect(page.get_by_role("tab").nth(1)).to_have_text("Knowledge base")
    expect(page.locator("#chatbot .example").first).to_have_text("What is XTuner?")


def test_switching_the_language_in_a_conversation_asks_first(visit: Visit, site: Site) -> None:
    page = visit(site)
    ask(page, "xtuner是什么？")
    page.locator("#language").click()
    expect(page.locator("#confirm")).to_be_visible()
    page.locator("#confirm button").first.click()
    expect(page.locator("#chatbot .bot.message")).to_have_count(1)


def test_the_theme_is_switched_and_stays(visit: Visit, site: Site) -> None:
    page = visit(site)
    expect(page.locator("body")).not_to_have_class(re.compile("dark"))
    page.locator("#theme").click()
    expect(page.locator("body")).to_have_class(re.compile("dark"))
    page.reload()
    expect(page.locator("body")).to_have_class(re.compile("dark"))


# ── Knowledge base ──


def test_a_hostile_file_stays_text(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_library(page)
    content = (
        "# 鸭嘴兽 <img src=x onerror=window.pwned=1>\n\n"
        "鸭嘴兽的口令是 ${window.pwned=2} {{constructor}} <script>window.pwned=3</script> "
        "![x](https://evil.example/a.png) [点我](javascript:window.pwned=4) <b id=bold>粗</b>。\n"
    )
    drop(page, ('鸭"><svg onload=window.pwned=5>.md', content.encode()))
    expect(row(page, "鸭")).to_be_visible()
    page.get_by_role("tab").first.click()
    answer = ask(page, "鸭嘴兽的口令是什么？")
    expect(answer).to_contain_text("鸭嘴兽的口令")
    answer.locator("a.cite").first.hover()
    answer.locator("a.cite").first.click()
    expect(page.locator("#sources .src-card.on")).to_contain_text("<script>window.pwned=3</script>")
    assert page.evaluate("window.pwned") is None
    for place in ("#chatbot .bot", "#sources", "#documents", "#job"):
        assert page.locator(f"{place} :is(img, script, #bold, [onload], a[href*=javascript])").count() == 0
    open_library(page)
    delete(page, "鸭")


# ── The engine behind it ──


def test_a_question_asked_while_the_engine_opens_is_answered_when_it_is_there(
    visit: Visit, serve: Serve
) -> None:
    site = serve(start=False)
    page = visit(site)
    expect(page.locator("#top .badge.busy")).to_contain_text("加载中")
    answer = send(page, "xtuner是什么？")
    expect(answer).to_contain_text("加载中")
    site.boot.start()
    expect(answer.locator("a.cite").first).to_be_visible()
    expect(page.locator("#top .badge.ok")).to_be_visible()


def test_an_engine_that_cannot_open_says_so_on_the_page(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "kb.sqlite").mkdir()
    page = visit(serve(kb=tmp_path))
    expect(page.locator("#top [role=alert]")).to_be_visible()
    expect(ask(page, "xtuner是什么？").locator(".note.failed")).to_be_visible()


def test_a_program_gets_the_answer_as_plain_text(site: Site) -> None:
    from gradio_client import Client

    text, panel = Client(site.url, verbose=False).predict("xtuner是什么？", api_name="/chat")
    assert "XTuner" in text and "[1]" in text and "<a" not in text
    assert "src-card" in panel
