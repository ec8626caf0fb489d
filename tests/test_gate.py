"""When a question is answered, answered as a weak match, or refused; and how questions set the lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ragkit import evaluate
from ragkit.engine import Engine
from ragkit.errors import UsageError
from ragkit.gate import Fit, Thresholds, calibrate, judge

DEFAULT = Thresholds(0.35, 0.5)


def test_words_decide_and_meaning_saves_as_a_weak_match_at_most() -> None:
    near = Thresholds(0.33, 0.5, 0.6)
    assert [judge(Fit(share, 0.1), near) for share in (0.2, 0.4, 0.6)] == ["refuse", "weak", "answer"]
    assert judge(Fit(0.1, 0.7), near) == "weak" and judge(Fit(0.1, None), near) == "refuse"
    assert judge(Fit(0.1, 0.7), DEFAULT) == "refuse"


def test_the_line_is_put_where_it_tells_the_questions_apart() -> None:
    good, bad = [Fit(0.25), Fit(0.6)], [Fit(0.1), Fit(0.15)]
    chosen = calibrate(good, bad, DEFAULT)
    assert (chosen.good_kept, chosen.bad_refused) == (2, 2)
    assert 0.15 < chosen.thresholds.refuse <= 0.25


def test_questions_that_the_default_tells_apart_change_nothing() -> None:
    assert calibrate([Fit(0.6)], [Fit(0.1)], DEFAULT).thresholds.refuse == DEFAULT.refuse


def test_a_library_remembers_its_questions(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。", "b.md": "食堂在二楼。"}))
    engine.gate.mark("年假有几天？", good=True)
    engine.gate.mark("火星上有几座火山？", good=False)
    assert [(one.good, one.told) for one in engine.gate.questions()] == [(True, True), (False, True)]
    assert engine.gate.calibration() is not None
    engine.gate.unmark("火星上有几座火山？")
    assert len(engine.gate.questions()) == 1
    with pytest.raises(UsageError):
        engine.gate.unmark("never asked")
    engine.gate.reset()
    assert engine.gate.calibration() is None and engine.gate.thresholds().refuse == pytest.approx(0.35)


def test_a_set_is_measured_by_the_engine_itself(engine: Engine, tmp_path: Path) -> None:
    corpus, queries = tmp_path / "c.jsonl", tmp_path / "q.jsonl"
    corpus.write_text(
        '{"id": "a", "title": "假", "text": "年假为十天。"}\n{"id": "b", "text": "食堂在二楼。"}\n', "utf-8"
    )
    queries.write_text('{"q": "年假为十天吗？", "gold": ["a"], "answer": "十天"}\n', "utf-8")
    passages = evaluate.read_passages(corpus)
    questions = evaluate.read_questions(queries, passages)
    of = evaluate.fill(engine, passages)
    ranks = evaluate.measure_ranks(engine, of, questions, "lexical", lambda _: None)
    assert ranks["R@1"] == 100.0 and ranks["MRR@10"] == 100.0
    assert evaluate.measure_answers(engine, of, questions, lambda _: None)["one_sentence"] == 100.0


@pytest.mark.parametrize("line", ["no json", "[]", '{"id": "a"}', '{"text": "x"}', ""])
def test_a_broken_line_of_a_set_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(line, "utf-8")
    with pytest.raises(UsageError, match=r"c\.jsonl"):
        evaluate.read_passages(file)
