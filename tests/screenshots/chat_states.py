"""States of the Chat tab, of the page around it, and of the windows that open over it."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.screenshots.windows import Window, everywhere, once
from tests.ui.steps import ask, send

METHODS = ("XTuner 支持哪些微调方式？", "Which fine-tuning methods does XTuner support?")


def cite(at: Window, number: int = 0) -> None:
    """Click a number of the last answer and wait until its words are lit."""
    at.page.locator("#chatbot .bot.message").last.locator("a.cite").nth(number).click()
    expect(at.page.locator("#sources .src-card.on").first).to_be_visible()


# ── Everywhere ──


@everywhere()
def chat_empty(at: Window) -> None:
    expect(at.page.locator("#chatbot .example").first).to_be_visible()
    expect(at.page.locator("#top .badge.ok")).to_be_visible()


@everywhere()
def chat_answered(at: Window) -> None:
    ask(at.page, at.say(*METHODS))
    expect(at.page.locator("#sources .src-card")).not_to_have_count(0)


# ── Answers ──


@once("en", "light", site="model")
def streaming_before_the_first_token(at: Window) -> None:
    at.llm.enqueue(at.held())
    send(at.page, METHODS[1])
    expect(at.page.locator("#sources .src-card").first).to_be_visible()


@once("zh", "dark", site="model")
def streaming(at: Window) -> None:
    at.llm.enqueue(
        at.held("XTuner 支持 **QLoRA**、**LoRA** 和 **全参数微调** 三种微调方式 [1]。", "此外还能做增量")
    )
    expect(send(at.page, METHODS[0])).to_contain_text("此外还能做增量")


@once("zh", "light")
def citation_clicked(at: Window) -> None:
    ask(at.page, "没有休完的年休假最晚什么时候要休完？")
    cite(at)
    expect(at.page.locator("#sources mark.lit").first).to_be_visible()


@once("en", "dark")
def hover_preview(at: Window) -> None:
    ask(at.page, "How soon must I report a lost laptop?")
    at.page.locator("#chatbot a.cite").first.hover()
    expect(at.page.locator("#preview")).to_be_visible()


@once("en", "light")
def weak_match(at: Window) -> None:
    ask(at.page, "Is the office open on Sunday?")
    expect(at.page.locator("#sources .verdict").first).to_contain_text("Weak match")


@once("zh", "dark")
def refusal(at: Window) -> None:
    ask(at.page, "今天的天气怎么样？")
    expect(at.page.locator("#sources .verdict.refused")).to_be_visible()


@once("en", "light", width=390)
def refusal_narrow(at: Window) -> None:
    ask(at.page, "What is the weather like today?")


@once("zh", "light")
def small_talk(at: Window) -> None:
    expect(ask(at.page, "你好")).not_to_be_empty()
    ask(at.page, "谢谢你")


@once("en", "dark")
def outline(at: Window) -> None:
    ask(at.page, "What is in my documents?")


@once("en", "light", site="model")
def unsupported_sentence(at: Window) -> None:
    at.llm.enqueue(
        "Report a lost or stolen laptop to the IT service desk within one hour [1]. "
        "The company pays every employee a bonus of 500 euros for it [1]."
    )
    ask(at.page, "How soon must I report a lost laptop?")
    expect(at.page.locator("#chatbot .unsupported")).to_have_count(1)


@once("zh", "light", site="model")
def cites_nothing(at: Window) -> None:
    at.llm.enqueue("企鹅在冰冷的海水里游得很快。")
    ask(at.page, METHODS[0])


@once("en", "dark", site="model")
def stopped_answer(at: Window) -> None:
    at.llm.enqueue(at.held("XTuner supports QLoRA, LoRA and ", "full-parameter "))
    answer = send(at.page, METHODS[1])
    expect(answer).to_contain_text("full-parameter")
    at.page.locator("#ask .stop-button").click()
    expect(at.page.locator("#ask .submit-button")).to_be_visible()
    at.hold.set()
    expect(answer).to_contain_text("You stopped this answer")


@once("zh", "light", site="model")
def model_error(at: Window) -> None:
    at.llm.enqueue(RuntimeError("CUDA out of memory"))
    expect(ask(at.page, METHODS[0]).locator(".note.failed")).to_be_visible()


@once("en", "light", site="model")
def side_by_side(at: Window) -> None:
    at.page.locator("#mode label").last.click()
    at.llm.enqueue("XTuner is a piano tuning app. It has three modes: **equal**, **just** and **stretched**.")
    at.llm.enqueue(
        "XTuner supports QLoRA, LoRA and full-parameter fine-tuning [1].\n\n"
        "- **QLoRA** needs the least memory [1].\n- **LoRA** leaves the base model as it is [1]."
    )
    ask(at.page, METHODS[1])
    expect(at.page.locator("#chatbot .pair > section")).to_have_count(2)


@once("zh", "dark", site="model", width=390)
def side_by_side_narrow(at: Window) -> None:
    at.page.locator("#mode label").last.click()
    at.llm.enqueue("XTuner 是一款钢琴调音软件。")
    at.llm.enqueue("XTuner 支持 QLoRA、LoRA 和全参数微调三种微调方式 [1]。")
    ask(at.page, METHODS[0])


@once("zh", "dark", site="model")
def without_documents(at: Window) -> None:
    at.page.locator("#mode label").nth(1).click()
    at.llm.enqueue("隼是一种飞得很快的猛禽，俯冲时速可以超过三百公里。")
    ask(at.page, "隼是什么？")


@once("en", "dark")
def scope_open(at: Window) -> None:
    at.page.locator("#scope input").first.click()
    expect(at.page.get_by_role("option").first).to_be_visible()


@once("zh", "light")
def scoped_to_files(at: Window) -> None:
    page = at.page
    for name in ("xtuner_zh.md", "handbook_zh.docx"):
        page.locator("#scope input").first.click()
        page.get_by_role("option", name=name).first.click()
        expect(page.locator("#scope")).to_contain_text(name)
        page.keyboard.press("Escape")
        page.locator("#ask textarea").click()
    ask(page, METHODS[0])


@once("en", "light", width=390)
def scoped_to_files_narrow(at: Window) -> None:
    at.page.locator("#scope input").first.click()
    at.page.get_by_role("option", name="xtuner_en.html").first.click()
    at.page.keyboard.press("Escape")


@once("en", "light")
def older_sources_brought_back(at: Window) -> None:
    first = ask(at.page, "How soon must I report a lost laptop?")
    ask(at.page, METHODS[1])
    first.locator("a.cite").first.click()
    expect(at.page.locator("#sources .src-question")).to_have_text("How soon must I report a lost laptop?")
    expect(at.page.locator("#sources .src-card.on").first).to_be_visible()


@once("zh", "light")
def follow_up(at: Window) -> None:
    ask(at.page, "xtuner是什么？")
    ask(at.page, "那它支持哪些模型？")
    expect(at.page.locator("#sources .src-searched")).to_be_visible()


@once("zh", "dark", width=390)
def sheet_open(at: Window) -> None:
    ask(at.page, METHODS[0])
    cite(at)
    expect(at.page.locator("body")).to_have_class(re.compile("sources-open"))


@once("en", "light", width=820)
def sheet_open_tablet(at: Window) -> None:
    ask(at.page, METHODS[1]).locator("a.cite-all").click()
    expect(at.page.locator("#sources .src-card").first).to_be_visible()


# ── What is running ──


@once("en", "dark", site="empty")
def empty_library_chat(at: Window) -> None:
    ask(at.page, "What is XTuner?")
    expect(at.page.locator("#sources .verdict").first).to_contain_text("is empty")


@once("zh", "light", site="indexing")
def coverage_note(at: Window) -> None:
    ask(at.page, METHODS[0])
    expect(at.page.locator("#sources")).to_contain_text("%")


@once("zh", "dark", site="opening")
def opening(at: Window) -> None:
    expect(at.page.locator("#top .badge.busy")).to_be_visible()
    expect(send(at.page, "xtuner是什么？")).to_contain_text("加载中")


@once("en", "light", site="loading")
def model_loading(at: Window) -> None:
    expect(at.page.locator("#top .badge progress")).to_be_visible()


@once("en", "dark", site="loading", width=390)
def model_loading_narrow(at: Window) -> None:
    expect(at.page.locator("#top .badge progress")).to_be_visible()


@once("zh", "light", site="failed")
def alert_failed_model(at: Window) -> None:
    expect(at.page.locator("#top [role=alert]")).to_be_visible()


@once("en", "dark", site="failed", width=390)
def alert_failed_model_narrow(at: Window) -> None:
    expect(at.page.locator("#top [role=alert]")).to_be_visible()


@once("zh", "light", site="login", waits_for="input[type=password]")
def login(at: Window) -> None:
    expect(at.page.locator("button").last).to_be_visible()


@once("en", "dark", site="login", waits_for="input[type=password]", width=390)
def login_refused(at: Window) -> None:
    at.page.locator("input").first.fill("ragkit")
    at.page.locator("input[type=password]").fill("wrong")
    at.page.locator("button").last.click()
    at.page.wait_for_timeout(1000)


@once("zh", "dark")
def language_confirm(at: Window) -> None:
    ask(at.page, "xtuner是什么？")
    at.page.locator("#language").click()
    expect(at.page.locator("#confirm")).to_be_visible()
