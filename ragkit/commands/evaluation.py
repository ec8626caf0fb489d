"""Commands that measure: `eval`, and `calibrate`, which sets the gate by what is measured."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ragkit import config, embedding
from ragkit import evaluate as figures
from ragkit.commands.output import ProgressLine, gate_line, open_existing, print_json
from ragkit.engine import Engine
from ragkit.errors import UsageError
from ragkit.gate import Calibration


def evaluate(settings: config.Settings, options: argparse.Namespace) -> int:
    """Measure one set, in a library that is kept under --kb or thrown away; with --own the gate of a library."""
    if options.own:
        return _own(settings, options)
    if options.corpus is None or options.queries is None:
        raise UsageError(
            "a set is a file of passages and one of questions",
            "Run: python -m ragkit eval CORPUS.jsonl QUERIES.jsonl  Or eval --own, for the questions of calibrate.",
        )
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
    if "passages" in found:
        print(f"{found['questions']} questions over {found['passages']} passages")
    for name, values in found.items():
        if isinstance(values, Mapping):
            told = (f"{key} {_shown(value)}" for key, value in values.items())
            print(f"{name:<8} " + "  ".join(told))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items()) + ")"
    return str(value)


# ── The gate of one library ──


def calibrate(settings: config.Settings, options: argparse.Namespace) -> int:
    """Change the questions that the gate is set by, set it anew, and show how it stands."""
    with open_existing(settings) as engine:
        engine.load_embedding(few=True)
        gate = engine.gate
        if options.reset:
            gate.reset()
        for question in options.forget:
            gate.unmark(question)
        for question, good in [*((q, True) for q in options.good), *((q, False) for q in options.bad)]:
            gate.mark(question, good=good)
        gate.calibrate()  # once more even if no question changed: the library may have
        marked, thresholds, chosen = gate.questions(), gate.thresholds(), gate.calibration()
    if options.json:
        print_json(
            {
                "thresholds": asdict(thresholds),
                "calibrated": None if chosen is None else _counts(chosen),
                "questions": [
                    {"question": one.question, "good": one.good, **asdict(one.fit), "verdict": one.verdict}
                    for one in marked
                ],
            }
        )
        return 0
    for one in marked:
        near = "" if one.fit.nearest is None else f"  nearest {one.fit.nearest:.2f}"
        wrong = "" if one.told else "  <- wrong"
        print(
            f"{'good' if one.good else 'bad':<4}  {one.verdict:<6}  {one.fit.share:.2f}{near}  {one.question}{wrong}"
        )
    print(gate_line(thresholds, chosen))
    return 0


def _own(settings: config.Settings, options: argparse.Namespace) -> int:
    with open_existing(settings) as engine:
        engine.load_embedding(few=True)
        marked = engine.gate.questions()
    if not marked:
        raise UsageError(
            f"the knowledge base in {settings.kb} has no questions of its own",
            "Give some: python -m ragkit calibrate --good QUESTION --bad QUESTION",
        )
    good, bad = ([one for one in marked if one.good == kind] for kind in (True, False))
    found = {
        "good": {"questions": len(good), "kept": figures.share(sum(one.told for one in good), len(good))},
        "bad": {"questions": len(bad), "refused": figures.share(sum(one.told for one in bad), len(bad))},
    }
    if options.json:
        print_json(found)
    else:
        _print(found)
    return 0


def _counts(chosen: Calibration) -> dict[str, int]:
    return {name: value for name, value in asdict(chosen).items() if name != "thresholds"}
