"""Commands that ask: `search`, `ask`."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ragkit import config
from ragkit.commands import filters
from ragkit.commands.output import answer_json, coverage, hit_json, open_existing, place, print_json, waiting
from ragkit.commands.table import explanation, explanation_json
from ragkit.engine import Engine
from ragkit.schema import Answer, Delta, Done, Filters, Retrieved, Turn


def search(settings: config.Settings, options: argparse.Namespace) -> int:
    only = filters.read(options)
    with open_existing(settings) as engine:
        filters.check(engine, only)
        _load(engine, options.question)
        if options.explain:
            told = engine.explain(options.question, filters=only)
            print_json(explanation_json(told)) if options.json else print(explanation(told, options.limit))
            return 0
        hits = engine.search(options.question, limit=options.limit, filters=only)
        _say_failures(engine)
    if options.json:
        print_json([hit_json(hit) for hit in hits])
        return 0
    for number, hit in enumerate(hits, 1):
        print(f"[{number}] {place(hit)}  score {hit.score:.3f}")
        print("    " + " ".join(hit.text.split())[:200])
    if not hits:
        print("Nothing found.")
    return 0


def ask(settings: config.Settings, options: argparse.Namespace) -> int:
    """Answer one question; or, without one, every line that comes, as a conversation."""
    only = filters.read(options)
    history: list[Turn] = []
    conversation = secrets.token_hex()
    with open_existing(settings) as engine:
        filters.check(engine, only)
        with _model(engine, settings):
            for question in [options.question] if options.question else _lines():
                if options.documents:
                    _load(engine, question)
                answer = _answered(engine, question, history, only, options, conversation)
                if answer.text:
                    history.append(Turn(question, answer.text, answer.hits, answer.searched))
            _say_failures(engine)
    return 0


def _lines() -> Iterator[str]:
    """The questions that are typed or piped in; at a terminal after a prompt."""
    if sys.stdin.isatty():
        print("Ask; an empty line or Ctrl+D ends it.", file=sys.stderr)
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or (sys.stdin.isatty() and not line.strip()):
            return
        if line.strip():
            yield line.strip()


def _answered(
    engine: Engine,
    question: str,
    history: Sequence[Turn],
    only: Filters,
    options: argparse.Namespace,
    conversation: str,
) -> Answer:
    how: Any = {"documents": options.documents, "filters": only, "conversation": conversation}
    if options.json:
        answer = engine.ask(question, history=history, **how)
        print_json(
            answer_json(answer), indent=2 if options.question else None
        )  # of a conversation: a line each
        return answer
    if not options.question:
        print(f"\n## {question}\n")
    answer = Answer(question, "", "")
    for event in engine.stream(question, history=history, **how):
        if isinstance(event, Retrieved) and event.searched:
            print(f"searched for: {event.searched}\n")
        elif isinstance(event, Delta):
            print(event.text, end="", flush=True)
        elif isinstance(event, Done):
            answer = event.answer
    print()
    if answer.weak:
        print("\nweak match: the passages fit only loosely")
    for start, end in answer.unsupported:
        print(f"\nnot found in the sources: {' '.join(answer.text[start:end].split())}")
    found = answer.coverage
    if found.waiting or (engine.embedding.state == "ready" and not found.complete):
        print(coverage(found), file=sys.stderr)
    for told in dict.fromkeys(f"[{one.number}] {place(one)}" for one in answer.citations):
        print(f"\n{told}")
    return answer


@contextmanager
def _model(engine: Engine, settings: config.Settings) -> Iterator[None]:
    """Let the same model answer that the page would: the one that was named, or the best on this machine."""
    from ragkit import profiles

    chosen = profiles.choose(settings)
    if chosen.kind == "quotes":
        yield
        return
    with waiting(f"loading {chosen.name} ..."):
        llm = profiles.load(chosen, settings)
    print(f"answering: {chosen.name}", file=sys.stderr)
    engine.use_model(llm, chosen.languages, simple=chosen.simple)
    try:
        yield
    finally:
        engine.use_model(None)
        if close := getattr(llm, "close", None):
            close()


def _load(engine: Engine, question: str) -> None:
    """Load the embedding model, which may take seconds, where the question is one that it can read."""
    if engine.embedding_reads(question):
        with waiting(f"loading {engine.embedding.name or 'the embedding model'} ..."):
            engine.load_embedding(few=True)


def _say_failures(engine: Engine) -> None:
    if engine.reranking.state == "failed":
        print(f"not reranked: {engine.reranking.error}\nhint:  {engine.reranking.hint}", file=sys.stderr)
