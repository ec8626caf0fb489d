"""The language model on its way into memory, behind a page that answers meanwhile."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit.config import SAMPLES, Settings
from ragkit.ui import chat
from ragkit.ui.boot import Boot
from ragkit.ui.overview import describe, status
from ragkit.ui.strings import Strings
from tests import tiny


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def started(settings: Settings) -> Boot:
    boot = Boot(settings)
    boot.start()
    assert boot.wait(60)
    deadline = time.monotonic() + 60
    while boot.model.state in {"choosing", "loading"} and time.monotonic() < deadline:
        time.sleep(0.05)
    return boot


def test_a_model_that_was_named_answers_once_it_is_loaded(settings: Settings, tmp_path: Path) -> None:
    folder = tiny.internlm2(tmp_path / "tiny-internlm2")
    boot = started(replace(settings, model=str(folder), device="cpu", precision="fp32"))
    try:
        assert boot.model.state == "ready" and boot.model.needed_bytes > 0
        engine = boot.engine()
        engine.sync(SAMPLES)
        answer = engine.ask("xtuner是什么？")
        assert answer.profile == "tiny-internlm2" and answer.hits
        shown = status(boot, Strings("en"))
        assert (shown.tone, shown.name, shown.error) == ("ok", "tiny-internlm2", "")
        assert "cpu" in shown.detail
    finally:
        boot.close()


def test_a_question_for_the_model_alone_waits_until_it_is_loaded(settings: Settings, tmp_path: Path) -> None:
    """It was told that there was no model, "said by the model alone"."""
    folder = tiny.internlm2(tmp_path / "tiny-internlm2")
    boot = started(replace(settings, model=str(folder), device="cpu", precision="fp32"))
    english = Strings("en")
    try:
        here, boot.slot.status = boot.slot.status, replace(boot.slot.status, state="loading")
        answering = chat.answerer(boot, lambda _: english, "")(
            "Hello", [], chat.Conversation(), "model", None, None
        )
        assert english("waiting_model") in next(answering)[0]["content"]
        boot.slot.status = here
        assert english("note_model_only") in list(answering)[-1][0]["content"]
    finally:
        boot.close()


def test_without_a_model_it_is_quotes_and_says_so(settings: Settings) -> None:
    boot = started(settings)
    assert boot.model.state == "quotes" and boot.engine().profile == "quotes"
    assert status(boot, Strings("zh")).name == "摘录模式"
    boot.close()


def test_a_model_that_is_not_there_is_said_with_the_next_step_and_quotes_answer(settings: Settings) -> None:
    boot = started(replace(settings, model="internlm/internlm2-chat-7b"))
    try:
        assert boot.model.state == "failed" and boot.engine().profile == "quotes"
        shown = status(boot, Strings("en"))
        assert shown.tone == "ok" and "quotes answer instead" in shown.error
        assert "ragkit download" in shown.cause
        assert any("ragkit download" in line for line in describe(boot, settings, Strings("en")))
    finally:
        boot.close()


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragkit import model_facts

    real = model_facts.device_facts
    monkeypatch.setattr(model_facts, "device_facts", lambda which: replace(real("cpu"), free_bytes=1 << 20))
    folder = tiny.internlm2(tmp_path / "tiny-internlm2")
    boot = started(replace(settings, model=str(folder), precision="fp32"))
    assert boot.model.state == "failed" and boot.model.error is not None
    assert "GB" in boot.model.error.message
    boot.close()
