"""Commands that ask: `search`, `ask`."""

from __future__ import annotations

import argparse
import sys

from ragkit import config
from ragkit.commands import filters
from ragkit.commands.output import answer_json, coverage, hit_json, open_existing, place, print_json
from ragkit.commands.table import explanation, explanation_json
from ragkit.engine import Engine
from ragkit.schema import Delta, Done


def search(settings: config.Settings, options: argparse.Namespace) -> int:
    only = filters.read(options)
    with open_existing(settings) as engine:
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
    only = filters.read(options)
    with open_existing(settings) as engine:
        _load(engine, options.question)
        if options.json:
            print_json(answer_json(engine.ask(options.question, filters=only)))
            return 0
        for event in engine.stream(options.question, filters=only):
            if isinstance(event, Delta):
                print(event.text, end="", flush=True)
            elif isinstance(event, Done):
                print()
                found = event.answer.coverage
                for start, end in event.answer.unsupported:
                    print(f"\nnot found in the sources: {' '.join(event.answer.text[start:end].split())}")
                if found.waiting or (engine.embedding.state == "ready" and not found.complete):
                    print(coverage(found), file=sys.stderr)
                for told in dict.fromkeys(f"[{one.number}] {place(one)}" for one in event.answer.citations):
                    print(f"\n{told}")
        _say_failures(engine)
    return 0


def _load(engine: Engine, question: str) -> None:
    """Load the embedding model, which takes seconds, where the question is one that it can read."""
    if not engine.embedding_reads(question):
        return
    waits = sys.stderr.isatty()
    if waits:
        print(
            f"loading {engine.embedding.name or 'the embedding model'} ...",
            end="",
            file=sys.stderr,
            flush=True,
        )
    engine.load_embedding()
    if waits:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _say_failures(engine: Engine) -> None:
    if engine.reranking.state == "failed":
        print(f"not reranked: {engine.reranking.error}\nhint:  {engine.reranking.hint}", file=sys.stderr)
