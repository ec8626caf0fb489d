"""Commands that measure: `eval`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ragkit import config, embedding
from ragkit import evaluate as figures
from ragkit.commands.output import ProgressLine, print_json
from ragkit.engine import Engine
from ragkit.errors import UsageError


def evaluate(settings: config.Settings, options: argparse.Namespace) -> int:
    """Measure one set, in a library that is kept under --kb or thrown away."""
    passages = figures.read_passages(options.corpus)
    questions = figures.read_questions(options.queries, passages)
    others = {file.name: figures.read_questions(file) for file in options.others}
    scratch = None if options.kb else config.scratch_folder(settings.data_dir / "tmp") / "eval"
    try:
        with Engine.open(replace(settings, kb=scratch or settings.kb)) as engine:
            found = _measure(engine, passages, questions, others, options)
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    if options.json:
        print_json(found)
    else:
        _print(found)
    return 0


def _measure(
    engine: Engine,
    passages: Sequence[figures.Passage],
    questions: Sequence[figures.Question],
    others: Mapping[str, Sequence[figures.Question]],
    options: argparse.Namespace,
) -> dict[str, object]:
    line = ProgressLine()
    of = figures.fill(engine, passages, progress=line)
    engine.load_embedding()
    found: dict[str, object] = {"questions": len(questions), "passages": len(passages)}
    found["lexical"] = figures.measure_ranks(engine, of, questions, "lexical", line.show)
    by_meaning = engine.embedding.state == "ready"
    found["dense"] = figures.measure_ranks(engine, of, questions, "dense", line.show) if by_meaning else None
    found["hybrid"] = figures.measure_ranks(engine, of, questions, "hybrid", line.show)
    found["refusal"] = figures.measure_refusal(engine, questions, others, line.show)
    answered = [question for question in questions if question.answers][: options.answers]
    if answered:
        found["answers"] = figures.measure_answers(engine, of, answered, line.show)
    if options.tutorial:
        found["tutorial"] = figures.measure_tutorial(passages, questions, _model(engine), line.show)
    line.end()
    return found


def _model(engine: Engine) -> Path:
    if engine.settings.embedding == "off":
        raise UsageError(
            "the tutorial's shape finds by vectors alone, and they are off", "Set RAGKIT_EMBEDDING=auto."
        )
    return embedding.find(engine.settings.embedding, engine.settings.data_dir)[0]


def _print(found: Mapping[str, object]) -> None:
    print(f"{found['questions']} questions over {found['passages']} passages")
    for name, values in found.items():
        if isinstance(values, Mapping):
            told = (f"{key} {_shown(value)}" for key, value in values.items())
            print(f"{name:<8} " + "  ".join(told))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items()) + ")"
    return str(value)
