"""The whole path on real weights: index, retrieve, generate, cite. Runs where SmolLM2 was downloaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

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


def test_a_chinese_question_stays_with_the_quotes(library: Engine) -> None:
    answer = library.ask("xtuner是什么？")
    assert answer.profile == "quotes" and answer.citations


def test_the_gate_holds_for_a_model_too(library: Engine) -> None:
    assert library.ask("How many moons does Jupiter have?").refused
