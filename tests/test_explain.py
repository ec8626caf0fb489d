"""Why this answer: the explanation tells what retrieval did, and the table stands straight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ragkit.commands.table import aligned, columns, explanation, explanation_json
from ragkit.engine import Engine
from ragkit.gate import Thresholds


def library(engine: Engine, folder: Callable[..., Path]) -> Engine:
    engine.sync(
        folder(
            **{
                "a.md": "# 假期\n\n年假为十天。\n",
                "b.md": "# 假期\n\n年假为十天。\n",
                "c.md": "食堂在二楼，年假表也在。",
            }
        )
    )
    engine.embed()
    return engine


def test_every_candidate_has_its_ranks_and_its_fate(engine: Engine, folder: Callable[..., Path]) -> None:
    told = library(engine, folder).explain("年假有多少天？")
    first, second, third = told.chunks
    assert (first.fate, first.number, first.lexical_rank) == ("used", 1, 1)
    assert (second.fate, second.number) == ("folded", 1)
    assert (third.fate, third.number) == ("used", 2)
    assert told.dense and first.dense_rank is not None
    assert [chunk.hit for chunk in told.chunks] == engine.search("年假有多少天？")


def test_it_tells_of_the_passages_that_the_answer_gets(engine: Engine, folder: Callable[..., Path]) -> None:
    library(engine, folder)
    answer = engine.ask("年假有多少天？")
    told = engine.explain("年假有多少天？")
    assert told.passages == answer.hits and told.verdict in ("answer", "weak")


def test_terms_come_with_their_weight_and_how_many_chunks_hold_them(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    told = library(engine, folder).explain("年假 zebra")
    assert {term.term: term.chunks for term in told.terms} == {"zebra": 0, "年假": 3}
    assert told.terms[0].term == "zebra" and told.terms[0].idf > told.terms[1].idf


def test_the_verdict_is_the_one_of_the_answer(engine: Engine, folder: Callable[..., Path]) -> None:
    library(engine, folder)
    engine.gate._default = Thresholds(0.3, 0.7)
    for question in ("年假", "年假 zebra", "zebra", "canteen opening hours"):
        answer = engine.ask(question)
        verdict = "refuse" if answer.refused else "weak" if answer.weak else "answer"
        assert engine.explain(question).verdict == verdict, question


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    assert columns("年假 a") == 6
    lines = aligned([("年假", "1", "x"), ("a", "10", "y")], right={1})
    assert [columns(line[: line.index(mark)]) for line, mark in zip(lines, "xy", strict=True)] == [
        10,
        10,
    ]


def test_the_table_shows_all_passages_and_says_what_is_left(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    told = library(engine, folder).explain("年假有多少天？")
    table = explanation(told, 1)
    assert "folded into [1]" in table and "docs/c.md" in table and "more (--limit)" not in table
    engine.settings = replace(engine.settings, passages=1)
    assert "... and 2 more (--limit)" in explanation(engine.explain("年假有多少天？"), 1)


def test_the_json_holds_what_the_table_shows(engine: Engine, folder: Callable[..., Path]) -> None:
    told = library(engine, folder).explain("年假有多少天？")
    shown = explanation_json(told)
    assert shown["verdict"] == told.verdict
    chunks = shown["chunks"]
    assert isinstance(chunks, list) and [chunk["fate"] for chunk in chunks] == [c.fate for c in told.chunks]
