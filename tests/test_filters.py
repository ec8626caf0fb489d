"""Filters: by place, type and date; what matches nothing finds nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ragkit.commands import filters
from ragkit.engine import Engine
from ragkit.errors import UsageError
from ragkit.schema import Filters


@pytest.fixture
def library(engine: Engine, folder: Callable[..., Path]) -> Engine:
    docs = folder(
        **{
            "a.md": "年假为十天。",
            "old/b.MD": "年假须申请。",
            "old/c.txt": "年假的规定。",
            "older/d.txt": "年假表。",
        }
    )
    for name, day in (("a.md", 10), ("old/b.MD", 11), ("old/c.txt", 12), ("older/d.txt", 13)):
        moment = datetime(2026, 3, day, 12).timestamp()
        os.utime(docs / name, (moment, moment))
    engine.sync(docs)
    engine.embed()
    return engine


def found(engine: Engine, only: Filters) -> set[str]:
    return {hit.source.removeprefix("docs/") for hit in engine.search("年假", filters=only)}


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        (Filters(), {"a.md", "old/b.MD", "old/c.txt", "older/d.txt"}),
        (Filters(places=("docs",)), {"a.md", "old/b.MD", "old/c.txt", "older/d.txt"}),
        (Filters(places=("docs/old/",)), {"old/b.MD", "old/c.txt"}),
        (Filters(places=("docs/a.md", "docs/older")), {"a.md", "older/d.txt"}),
        (Filters(places=("docs/a",)), set()),
        (Filters(places=("%",)), set()),
        (Filters(types=frozenset({"md"})), {"a.md", "old/b.MD"}),
        (Filters(types=frozenset({".TXT"}), places=("docs/old",)), {"old/c.txt"}),
        (Filters(documents=frozenset({-1})), set()),
        (Filters(since=datetime(2026, 3, 12).timestamp()), {"old/c.txt", "older/d.txt"}),
        (Filters(until=datetime(2026, 3, 11).timestamp()), {"a.md"}),
        (Filters(since=datetime(2027, 1, 1).timestamp()), set()),
    ],
    ids=str,
)
def test_a_filter_keeps_what_meets_all_of_it(library: Engine, only: Filters, wanted: set[str]) -> None:
    assert found(library, only) == wanted


def test_a_question_to_no_document_is_refused(library: Engine) -> None:
    nowhere = Filters(places=("docs/nowhere",))
    assert library.ask("年假有多少天？", filters=nowhere).refused
    assert library.explain("年假有多少天？", filters=nowhere).chunks == ()


def read(*arguments: str) -> Filters:
    parser = argparse.ArgumentParser()
    filters.add(parser)
    return filters.read(parser.parse_args(arguments))


def test_the_flags_make_a_filter_whose_days_are_whole() -> None:
    assert read() == Filters()
    assert read("--in", "docs/old", "--in", "uploads", "--type", "pdf") == Filters(
        places=("docs/old", "uploads"), types=frozenset({"pdf"})
    )
    assert read("--since", "2026-01-31", "--until", "2026-01-31") == Filters(
        since=datetime(2026, 1, 31).timestamp(), until=datetime(2026, 2, 1).timestamp()
    )
    assert read("--until", "9999-12-31").until is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "yesterday"],
        ["--until", "2026-02-30"],
        ["--since", "2026-02-01", "--until", "2026-01-01"],
        ["--in", ""],
        ["--type", "."],
    ],
)
def test_a_flag_that_makes_no_sense_is_an_error_with_a_next_step(arguments: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read(*arguments)
    assert caught.value.hint
