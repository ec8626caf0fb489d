"""What the commands print: one JSON document, lines for a person, one line of progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from ragkit import config
from ragkit.engine import Engine
from ragkit.errors import UsageError
from ragkit.gate import Calibration, Thresholds
from ragkit.readers import page_kind
from ragkit.schema import Answer, Citation, Coverage, Hit, Progress

_MOMENT_S = 2.0
_STAGES = {"scan": "scanning", "read": "reading", "embed": "embedding"}


def print_json(value: object, *, indent: int | None = 2) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=indent), flush=True)


def open_existing(settings: config.Settings) -> Engine:
    """A knowledge base to read from: a wrong path must not make a new, empty one."""
    if not (settings.kb / "kb.sqlite").is_file():
        raise UsageError(
            f"there is no knowledge base in {settings.kb}",
            "Make one: python -m ragkit sync FOLDER  (with the same --kb), or start the page once. "
            "python -m ragkit list --all  names those that are there.",
        )
    return Engine.open(settings)


def place(at: Hit | Citation) -> str:
    page = f", {page_kind(at.source)} {at.page}" if at.page else ""
    return f"{at.source}{page}" + (f" > {' > '.join(at.heading)}" if at.heading else "")


def coverage(found: Coverage) -> str:
    """What an answer could rest on, while that is not everything."""
    files = f"{found.documents} of {found.documents + found.waiting} files"
    return f"answered from {files}, vectors for {100 * found.embedded // max(1, found.chunks)} %"


def gate_line(thresholds: Thresholds, calibration: Calibration | None) -> str:
    """Where answers stop in this library, and who said so."""
    told = f"refuses below {thresholds.refuse:.2f}, weak below {thresholds.weak:.2f}"
    if calibration is None:
        return f"{told} (default)"
    right = calibration.good_kept + calibration.bad_refused
    return (
        f"{told} (calibrated from {calibration.good} good and {calibration.bad} bad questions, "
        f"{right} of {calibration.good + calibration.bad} told apart)"
    )


def where_json(at: Hit | Citation) -> dict[str, object]:
    return {
        "source": at.source,
        "page": at.page,
        "heading": list(at.heading),
        "start": at.start,
        "end": at.end,
    }


def hit_json(hit: Hit) -> dict[str, object]:
    return where_json(hit) | {
        "text": hit.text,
        "score": hit.score,
        "lexical": hit.lexical,
        "dense": hit.dense,
    }


def answer_json(answer: Answer) -> dict[str, object]:
    return {
        "question": answer.question,
        "text": answer.text,
        "searched": answer.searched or answer.question,
        "refused": answer.refused,
        "weak": answer.weak,
        "citations": [
            {"number": c.number} | where_json(c) | {"quote": c.quote, "at": c.at, "words": c.words}
            for c in answer.citations
        ],
        "unsupported": [answer.text[start:end] for start, end in answer.unsupported],
        "profile": answer.profile,
    }


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is waited for: on a terminal while it lasts; in a log once, when it lasts longer than a moment."""
    live = sys.stderr.isatty()
    later = Timer(_MOMENT_S, lambda: print(text, file=sys.stderr, flush=True))
    later.daemon = True
    if live:
        print(text, end="", file=sys.stderr, flush=True)
    else:
        later.start()
    try:
        yield
    finally:
        later.cancel()
        if live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            later.join()  # it may be in the middle of its line


class ProgressLine:
    """One line on a terminal that is written over; in a log a line every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._live = sys.stderr.isatty()
        self._every_s = 0.1 if self._live else 5.0

    def __call__(self, progress: Progress) -> None:
        if progress.total:
            self.show(f"{_STAGES[progress.stage]} {progress.done}/{progress.total} {progress.current}")

    def show(self, text: str) -> None:
        if time.monotonic() - self._last < self._every_s:
            return
        self._last = time.monotonic()
        print(
            f"\r\x1b[K{text[:100]}" if self._live else text,
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        if self._live and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
