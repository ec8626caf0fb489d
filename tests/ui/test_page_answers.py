"""Answers in the browser that a model wrote: what each number leads to, what is marked, what was looked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes import ScriptedLLM
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, drop, open_library, send

pytestmark = pytest.mark.browser

GUIDE = """# Falcon

The Falcon camera was built in Oslo in 1987. It weighs two kilograms. The Falcon records on glass plates.
"""


@pytest.fixture(scope="module")
def model() -> ScriptedLLM:
    return ScriptedLLM(name="falcon-7b")


@pytest.fixture(scope="module")
def falcon(serve: Serve, model: ScriptedLLM, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = serve(llm=model)
    folder = tmp_path_factory.mktemp("falcon")
    (Path(folder) / "falcon.md").write_text(GUIDE, encoding="utf-8")
    site.boot.engine().sync(folder)
    return site


def test_each_number_lights_up_what_its_own_sentence_rests_on(
    visit: Visit, falcon: Site, model: ScriptedLLM
) -> None:
    page = visit(falcon)
    model.enqueue(["The Falcon camera was built in Oslo in 1987 [1]. ", "It records on glass plates [1]."])
    answer = ask(page, "What is the Falcon camera?")
    card, lit = page.locator("#sources .src-card.on"), page.locator("#sources mark.lit")
    for number, words, others in ((0, "built in Oslo", "glass plates"), (1, "glass plates", "built in Oslo")):
        answer.locator("a.cite").nth(number).click()
        expect(card).to_have_class(re.compile("picked"))
        expect(lit.filter(has_text=words.split()[0]).first).to_be_visible()
        assert others.split()[-1] not in " ".join(lit.all_inner_texts())
    assert page.locator("#sources mark.cited").count() > lit.count()


def test_a_sentence_that_no_source_holds_is_marked(visit: Visit, falcon: Site, model: ScriptedLLM) -> None:
    page = visit(falcon, locale="en-GB")
    model.enqueue(
        "The Falcon camera was built in Oslo in 1987 [1]. Its inventor received a medal from the king [1]."
    )
    answer = ask(page, "Where was the Falcon camera built?")
    expect(answer.locator(".unsupported")).to_have_text(re.compile("^Its inventor received a medal"))
    expect(answer.locator(".doubt")).to_have_text("not found in the sources")
    expect(answer.locator("a.cite")).to_have_count(1)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#chatbot").get_by_label("Copy").last.click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()) !== ''")
    assert page.evaluate("navigator.clipboard.readText()") == (
        "The Falcon camera was built in Oslo in 1987 [1]. Its inventor received a medal from the king."
    )


def test_an_answer_that_cites_nothing_says_so_beside_it(
    visit: Visit, falcon: Site, model: ScriptedLLM
) -> None:
    page = visit(falcon, locale="en-GB")
    model.enqueue("Penguins swim well in cold water.")
    answer = ask(page, "Where was the Falcon camera built?")
    expect(answer.locator(".unsupported")).to_have_count(1)
    expect(page.locator("#sources .src-rest")).to_have_text("Found, but the answer cites none of it")


def test_a_stop_before_the_first_word_leaves_a_word_about_it(
    visit: Visit, falcon: Site, model: ScriptedLLM
) -> None:
    page = visit(falcon, locale="en-GB")
    model.pause_s = 1.0
    model.enqueue(["", "", "Too late."])
    answer = send(page, "Where was the Falcon camera built?")
    expect(page.locator("#sources .src-card").first).to_be_visible()
    page.locator("#ask .stop-button").click()
    expect(answer).to_contain_text("You stopped before the answer began")
    model.pause_s = 0.0
    model.enqueue("It weighs two kilograms [1].")
    second = ask(page, "How much does the Falcon camera weigh?")
    expect(second).to_contain_text("two kilograms")
    expect(answer).to_contain_text("You stopped before the answer began")  # still, after the next one


def test_what_was_looked_for_is_told_where_a_question_leans_on_the_last_one(visit: Visit, site: Site) -> None:
    page = visit(site)
    ask(page, "xtuner是什么？")
    ask(page, "那它支持哪些模型？")
    expect(page.locator("#sources .src-searched")).to_have_text("按此检索：xtuner支持哪些模型？")


def test_a_question_in_a_language_that_no_document_has_is_told_so(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    page = visit(serve(kb=tmp_path / "english"))
    open_library(page)
    drop(page, ("falcon.md", GUIDE.encode()))
    page.get_by_role("tab").first.click()
    answer = ask(page, "猎鹰相机有多重？")
    expect(answer).to_contain_text("英文")
    expect(page.locator("#sources .verdict.refused h2")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 1000, 390])
def test_a_score_tells_its_parts_when_asked(
    visit: Visit, falcon: Site, model: ScriptedLLM, width: int
) -> None:
    page = visit(falcon, locale="en-GB", width=width)
    model.enqueue("The Falcon camera was built in Oslo in 1987 [1].")
    answer = ask(page, "Where was the Falcon camera built?")
    answer.locator("a.cite-all").click()
    card = page.locator("#sources .src-card").first
    button = card.get_by_role("button", name=re.compile(r"relevance \d\.\d\d: what it is made of"))
    parts = card.locator(".score-parts")
    expect(parts).not_to_be_visible()
    button.click()
    expect(parts).to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(parts.locator("dd").nth(1)).to_have_text(re.compile(r"^\d+\.\d\d$"))
    expect(parts.locator("dd").last).to_have_text(re.compile("^–"))
    parts.click()
    expect(card).not_to_have_class(re.compile(r"\bon\b"))
    button.press("Enter")
    expect(parts).not_to_be_visible()
    expect(card).not_to_have_class(re.compile(r"\bon\b"))


# ── How it is asked ──


def test_a_model_answers_side_by_side_with_and_without_the_documents(
    visit: Visit, falcon: Site, model: ScriptedLLM
) -> None:
    page = visit(falcon, locale="en-GB")
    page.locator("#mode label", has_text="Side by side").click()
    model.enqueue("I do not know that <b>camera</b> [1].")
    model.enqueue("The Falcon camera was built in Oslo in 1987 [1].")
    answer = ask(page, "Where was the Falcon camera built?")
    alone, checked = answer.locator(".pair > section").all()
    expect(alone).to_contain_text("I do not know that <b>camera</b> [1].")
    expect(checked).to_contain_text("built in Oslo")
    assert alone.locator("a.cite").count() == 0
    checked.locator("a.cite").first.click()
    expect(page.locator("#sources .src-card.on.picked")).to_have_count(1)
    assert "Falcon" not in str(model.asked[-2])[:40] and "passage" in str(model.asked[-1])


def test_the_model_alone_says_that_nothing_was_checked(
    visit: Visit, falcon: Site, model: ScriptedLLM
) -> None:
    page = visit(falcon, locale="en-GB")
    page.locator("#mode label", has_text="Without documents").click()
    model.enqueue("A falcon is a bird.")
    answer = ask(page, "What is a falcon?")
    expect(answer).to_contain_text("Said by the model alone")
    expect(page.locator("#sources")).to_contain_text("The model answered by itself")


def test_a_question_can_be_kept_to_chosen_files(visit: Visit, site: Site) -> None:
    page = visit(site, locale="en-GB")
    expect(page.locator("#scope input")).to_have_attribute("placeholder", "All documents")
    page.locator("#scope input").click()
    page.get_by_role("option", name="samples/faq_en.md").click()
    page.keyboard.press("Escape")
    answer = ask(page, "What is XTuner?")
    expect(answer.locator("a.cite")).to_have_count(0)
    expect(page.locator("#sources .verdict.refused")).to_be_visible()
    page.locator("#scope .token-remove").last.click()
    answer = ask(page, "What is XTuner?")
    expect(answer.locator("a.cite").first).to_be_visible()
