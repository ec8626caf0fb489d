"""Commands that ask: `search`, `ask`."""

from __future__ import annotations

import argparse
import sys

from ragkit import config
from ragkit.commands.output import answer_json, coverage, hit_json, open_existing, place, print_json
from ragkit.schema import Delta, Done


def search(settings: config.Settings, options: argparse.Namespace) -> int:
    with open_existing(settings) as engine:
        engine.load_embedding()
        hits = engine.search(options.question, limit=options.limit)
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
    with open_existing(settings) as engine:
        engine.load_embedding()
        if options.json:
            print_json(answer_json(engine.ask(options.question)))
            return 0
        for event in engine.stream(options.question):
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
    return 0
