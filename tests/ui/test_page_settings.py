"""The settings in a browser: how answers are made, which embedding model, a download, the check-up."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from ragkit import config, embedding, embedding_int8, embedding_records
from ragkit.ui.answers import FIELDS
from tests import tiny_embedding
from tests.fakes import ScriptedLLM, WordEmbedding
from tests.hub import FakeHub
from tests.screenshots.sites import HeldEmbedding
from tests.ui.conftest import Serve, Site, Visit
from tests.ui.steps import ask, open_settings

pytestmark = pytest.mark.browser

CHAT, SETTINGS = 0, 3


@pytest.fixture(scope="module")
def llm() -> ScriptedLLM:
    return ScriptedLLM()


@pytest.fixture(scope="module")
def site(serve: Serve, llm: ScriptedLLM) -> Iterator[Site]:
    yield serve(llm=llm)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_settings_of_the_answers_hold_at_once_are_kept_and_can_be_reset(
    visit: Visit, site: Site, llm: ScriptedLLM
) -> None:
    page = visit(site, locale="en-GB")
    llm.enqueue("Within one hour [1].")
    ask(page, "How soon must I report a lost laptop?")
    before = page.locator("#sources .src-card").count()
    assert before > 1
    open_settings(page, "answers")
    page.locator("#answers-passages input[type=number]").fill("1")
    expect(page.locator("#answers-told")).to_contain_text("Saved")
    page.locator("#answers-temperature input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#answers-instructions textarea").fill("Answer like a pirate.")
    wanted = {"passages": 1, "temperature": 0.05, "instructions": "Answer like a pirate."}
    until(lambda: config.saved(site.settings.data_dir) == wanted)
    page.get_by_role("tab").nth(CHAT).click()
    llm.enqueue("Within one hour [1].")
    ask(page, "How soon must I report a lost laptop?")
    expect(page.locator("#sources .src-card")).to_have_count(1)
    assert str(llm.asked[-1][0].content).endswith("Answer like a pirate.")
    assert llm.options[-1] == {"temperature": 0.05}
    other = visit(site, locale="en-GB")  # another visitor, or the next start
    open_settings(other, "answers")
    expect(other.locator("#answers-passages input[type=number]")).to_have_value("1")
    other.locator("#answers-notes [data-action=reset]").click()
    other.locator("#confirm button[value=yes]").click()
    expect(other.locator("#answers-passages input[type=number]")).to_have_value("6")
    expect(other.locator("#answers-instructions textarea")).to_have_value("")
    assert config.saved(site.settings.data_dir) == {}


def test_a_number_out_of_bounds_is_the_nearest_that_is_possible(visit: Visit, site: Site) -> None:
    page = visit(site, locale="en-GB")
    open_settings(page, "answers")
    number = page.locator("#answers-passages input[type=number]")
    number.fill("99")
    number.blur()
    expect(page.locator("#answers-told .job.done")).to_contain_text("Saved")
    expect(number).to_have_value("20")  # so the page shows what holds
    assert site.boot.engine().settings.passages == 20
    assert config.saved(site.settings.data_dir)["passages"] == 20


def test_what_is_typed_while_the_form_is_on_its_way_stays(visit: Visit, site: Site) -> None:
    """The form came late over what had been typed, and its "at once" over "Saved"."""
    page = visit(site, locale="en-GB")
    late: list[Route] = []

    def hold(route: Route) -> None:
        whole = len((route.request.post_data_json or {}).get("data", ())) == len(FIELDS)
        if whole and not late:
            late.append(route)
        else:
            route.continue_()

    page.route("**/gradio_api/run/**", hold)
    page.get_by_role("tab").nth(SETTINGS).click()
    page.locator("#settings-tabs [role=tab]").nth(1).click()
    until(lambda: bool(late))
    number = page.locator("#answers-passages input[type=number]")
    number.fill("4")
    expect(page.locator("#answers-told")).to_contain_text("Saved")
    late[0].continue_()
    expect(page.locator("#answers-notes")).to_contain_text("Changes are kept")
    expect(number).to_have_value("4")
    expect(page.locator("#answers-told")).to_contain_text("Saved")


def test_a_number_that_was_emptied_comes_back_and_a_part_of_a_whole_one_goes(
    visit: Visit, site: Site
) -> None:
    page = visit(site, locale="en-GB")
    open_settings(page, "answers")
    number = page.locator("#answers-passages input[type=number]")
    number.fill("7")
    number.blur()
    until(lambda: config.saved(site.settings.data_dir).get("passages") == 7)
    number.fill("")
    number.blur()
    expect(number).to_have_value("7")
    number.fill("2.7")
    number.blur()
    expect(number).to_have_value("2")
    until(lambda: config.saved(site.settings.data_dir)["passages"] == 2)


def test_the_two_thresholds_push_each_other_along(visit: Visit, site: Site) -> None:
    page = visit(site, locale="en-GB")
    open_settings(page, "answers")
    refuse, weak = (page.locator(f"#answers-{name} input[type=number]") for name in ("gate", "gate_weak"))
    refuse.fill("0.7")
    expect(weak).to_have_value("0.7")
    weak.fill("0.2")
    expect(refuse).to_have_value("0.2")
    kept = config.saved(site.settings.data_dir)
    assert (kept["gate"], kept["gate_weak"]) == (0.2, 0.2)


def test_an_embedding_model_is_fetched_and_taken_while_the_old_vectors_answer(
    visit: Visit, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = embedding_records.find_known("BAAI/bge-small-zh-v1.5")
    assert record is not None
    folder = tiny_embedding.known(tmp_path_factory.mktemp("hub"), record)
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    site = serve()
    page = visit(site, locale="en-GB")
    with FakeHub(files, name=record.name) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr(config, "_OFFLINE", False)
        open_settings(page, "search")
        wanted = page.locator('.model[data-model="BAAI/bge-small-zh-v1.5"]')
        wanted.locator("[data-action=fetch]").click()
        expect(wanted.locator("[data-action=embed]")).to_be_visible(timeout=60_000)
    wanted.locator("[data-action=embed]").click()
    expect(page.locator("#confirm-text")).to_contain_text("the old ones answer meanwhile")
    page.locator("#confirm button[value=yes]").click()
    expect(wanted).to_have_class(re.compile("used"), timeout=60_000)
    assert config.saved(site.settings.data_dir) == {"embedding": "BAAI/bge-small-zh-v1.5"}
    expect(wanted).to_contain_text(re.compile(r"Vectors: (\d+) of \1 passages"), timeout=60_000)
    page.locator(".model", has_text="Words only").locator("[data-action=embed]").click()
    expect(page.locator("#top .badge-search")).to_have_text("keyword search")
    page.get_by_role("tab").nth(CHAT).click()
    expect(ask(page, "How soon must I report a lost laptop?")).to_contain_text("one hour")


PLAIN = '.model[data-model="sentence-transformers/all-MiniLM-L6-v2"]'
INT8 = '.model[data-model="sentence-transformers/all-MiniLM-L6-v2 (int8)"]'


def test_questions_are_answered_while_int8_is_prepared_and_it_can_be_cancelled(
    visit: Visit, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def prepare(where: str, data_dir: Path, *, cancelled: Callable[[], bool]) -> bool:
        while not (cancelled() or go_on.wait(0.05)):
            pass
        return not cancelled()

    monkeypatch.setattr(embedding, "prepare", prepare)
    monkeypatch.setattr(embedding_int8, "lacking", list)
    site = serve()
    page = visit(site, locale="en-GB")
    until(lambda: site.boot.engine().coverage().complete)
    open_settings(page, "search")
    new = page.locator(INT8)
    new.locator("[data-action=embed]").click()
    page.locator("#confirm button[value=yes]").click()
    expect(new).to_contain_text("Being prepared")
    expect(new).not_to_contain_text("in use")
    # Who imports from transformers, as the list of models does, need not wait for it.
    assert site.boot.slot.libraries.acquire(timeout=20)
    site.boot.slot.libraries.release()
    page.get_by_role("tab").nth(CHAT).click()
    expect(ask(page, "How soon must I report a lost laptop?")).to_contain_text("one hour")
    open_settings(page, "search")
    new.locator("[data-action=cancel]").click()
    expect(new.locator("[data-action=embed]")).to_be_visible()
    expect(page.locator("#embeddings .job.failed")).to_have_count(0)
    assert config.saved(site.settings.data_dir) == {} and site.boot.settings.embedding == "auto"


def test_a_model_whose_vectors_are_made_is_not_in_use_and_the_way_back_costs_nothing(
    visit: Visit, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldEmbedding(dim=384)
    plain, int8 = embedding.BUNDLED, replace(embedding.BUNDLED, backend="onnx-int8")
    models = {
        "auto": embedding.Embedder(WordEmbedding(dim=384), plain),
        "onnx-int8:auto": embedding.Embedder(held, int8),
    }
    monkeypatch.setattr(embedding, "load", lambda where, *_, **__: models[where])
    monkeypatch.setattr(embedding, "prepare", lambda *_, **__: True)
    monkeypatch.setattr(embedding_int8, "lacking", list)
    site = serve(fake_embedding=False)
    page = visit(site, locale="en-GB")
    engine = site.boot.engine()
    until(lambda: engine.embedding.state == "ready" and engine.coverage().complete)
    chunks = engine.coverage().chunks
    open_settings(page, "search")
    old, new = page.locator(PLAIN), page.locator(INT8)
    new.locator("[data-action=embed]").click()
    expect(page.locator("#confirm-text")).to_contain_text(f"New vectors are made for {chunks} passages")
    page.locator("#confirm button[value=yes]").click()
    try:
        expect(new.locator(".pill")).to_have_text("being prepared")
        expect(new).to_contain_text(f"New vectors: 0 of {chunks} passages")
        expect(new.get_by_role("progressbar")).to_be_visible()
        expect(old.locator(".pill")).to_have_text("in use")
        old.locator("[data-action=embed]").click()
        expect(new.locator(".pill")).to_have_count(0)
        expect(page.locator("#confirm")).to_be_hidden()
        expect(old).to_contain_text(f"Vectors: {chunks} of {chunks} passages")
    finally:
        held.let_go()


def test_a_download_that_cannot_be_says_why_and_can_be_tried_again(
    visit: Visit, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub({}) as hub:
        hub.html = True
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr(config, "_OFFLINE", False)
        page = visit(site, locale="en-GB")
        open_settings(page, "search")
        wanted = page.locator('.model[data-model="BAAI/bge-m3"]')
        wanted.locator("[data-action=fetch]").click()
        expect(wanted.locator(".short")).to_be_visible()
        expect(wanted.locator("[data-action=fetch]")).to_have_text("Try again")


def test_the_check_up_tells_what_it_finds_with_the_remedy(visit: Visit, site: Site) -> None:
    page = visit(site)
    open_settings(page, "checkup")
    page.locator("#checkup [data-action=examine]").click()
    expect(page.locator("#checkup h2").first).to_have_text("本机环境", timeout=60_000)
    expect(page.locator("#checkup [data-action=examine]")).to_have_text("重新检查", timeout=90_000)
    assert page.locator("#checkup li.ok").count() > 5
    expect(page.locator("#checkup")).to_contain_text("知识库完好")
