"""The documents that ragkit comes with answer what the page offers to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragkit.config import ASSETS, SAMPLES, Settings
from ragkit.engine import Engine

QUESTIONS = json.loads((Path(__file__).parent / "data" / "sample_questions.json").read_text(encoding="utf-8"))
EXAMPLES = json.loads((ASSETS / "examples.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["auto", "off"], ids=["hybrid", "lexical"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    base = tmp_path_factory.mktemp("samples")
    with Engine.open(Settings(data_dir=base, kb=base / "kb", embedding=request.param)) as engine:
        report = engine.seed(SAMPLES)
        assert not report.failed
        engine.embed()
        yield engine


@pytest.mark.parametrize("case", [q for q in QUESTIONS if not q.get("refuse")], ids=lambda case: case["q"])
def test_the_answer_rests_on_the_right_words(library: Engine, case: dict[str, Any]) -> None:
    answer = library.ask(case["q"])
    assert any(c.source == case["source"] and case["contains"] in c.quote for c in answer.citations), (
        answer.text
    )


@pytest.mark.parametrize("case", [q for q in QUESTIONS if q.get("refuse")], ids=lambda case: case["q"])
def test_what_the_samples_do_not_hold_is_refused(library: Engine, case: dict[str, Any]) -> None:
    assert library.ask(case["q"]).refused


def test_an_answer_that_leaves_out_what_was_asked_is_a_weak_match(library: Engine) -> None:
    answer = library.ask("XTuner 和 InternLM2 是什么关系？")  # no document says it
    assert answer.weak or answer.refused


@pytest.mark.parametrize("question", [*EXAMPLES["zh"], *EXAMPLES["en"]])
def test_every_example_of_the_page_is_answered(library: Engine, question: str) -> None:
    answer = library.ask(question)
    assert answer.citations and not answer.refused and not answer.weak


def test_the_definition_comes_first(library: Engine) -> None:
    assert library.ask("xtuner是什么？").citations[0].source == "samples/xtuner_zh.md"
    assert library.ask("What is XTuner?").citations[0].source == "samples/xtuner_en.html"


def test_scripts_of_a_page_are_not_indexed(library: Engine) -> None:
    assert not [hit for hit in library.search("zanzibar 4711") if "zanzibar" in hit.text]
