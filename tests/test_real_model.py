"""The whole path on real weights: index, retrieve, generate, cite. Runs where SmolLM2 was downloaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from ragkit import models, profiles
from ragkit.config import REPOSITORY, SAMPLES, Settings
from ragkit.engine import Engine
from ragkit.schema import Delta, Done

FOUND = models.find_local(models.SMOLLM2, REPOSITORY / "data")
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(FOUND is None, reason="needs: python -m ragkit download smollm2-135m"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    base = tmp_path_factory.mktemp("real")
    settings = replace(
        Settings(data_dir=REPOSITORY / "data", kb=base / "kb"),
        model=models.SMOLLM2,
        device="cpu",
        precision="fp32",
    )
    chosen = profiles.choose(settings)
    with Engine.open(settings) as engine:
        engine.use_model(profiles.load(chosen, settings), chosen.languages, simple=chosen.simple)
        engine.sync(SAMPLES)
        engine.embed()
        yield engine


def test_an_english_question_is_answered_and_cited_by_the_model(library: Engine) -> None:
    answer = library.ask("Which fine-tuning methods does XTuner support?")
    assert answer.profile == library.profile != "quotes" and not answer.refused
    assert "QLoRA" in answer.text
    (citation, *_) = answer.citations
    assert "QLoRA" in citation.quote
    assert library.text(citation.doc_id)[citation.start : citation.end] == citation.quote


def test_an_answer_can_be_stopped(library: Engine) -> None:
    stop = threading.Event()
    said = []
    for event in library.stream("How soon must I report a lost laptop?", stop=stop):
        if isinstance(event, Delta):
            said.append(event.text)
            stop.set()
        if isinstance(event, Done):
            assert event.answer.stopped and len(said) == 1


def test_what_is_kept_and_what_is_guessed_change_no_word(library: Engine) -> None:
    """Two questions with history, each asked with both, with either and with none."""
    llm: Any = library._llm
    texts = [library.text(document.id)[:800] for document in library.documents() if document.title.isascii()]
    history: list[ChatMessage] = []
    for number, text in enumerate(texts[:2]):
        asked = ChatMessage(content=f"Repeat the first sentences of this text.\n\n{text}")
        answers = {
            llm.chat([*history, asked], max_tokens=40, conversation=key, lookup=lookup).message.content
            for key in ("real", "")
            for lookup in (True, False)
        }
        assert len(answers) == 1, number
        assert llm._worker._resting.wait(120)
        history += [asked, ChatMessage(content=answers.pop(), role="assistant")]
        prompt = llm._chat_ids([*history, ChatMessage(content="And then?")])
        assert llm._worker.unread("real", prompt) < 120
    llm.forget("real")


def test_a_chinese_question_stays_with_the_quotes(library: Engine) -> None:
    answer = library.ask("xtuner是什么？")
    assert answer.profile == "quotes" and answer.citations


def test_the_gate_holds_for_a_model_too(library: Engine) -> None:
    assert library.ask("How many moons does Jupiter have?").refused
