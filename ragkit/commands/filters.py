"""`--in`, `--type`, `--since`, `--until` of the commands that ask, made into `Filters`."""

from __future__ import annotations

import argparse
from datetime import date, datetime, time, timedelta

from ragkit.engine import Engine
from ragkit.errors import UsageError
from ragkit.schema import Filters


def add(parser: argparse.ArgumentParser) -> None:
    """Give a command the four flags."""
    only = parser.add_argument_group("only some documents")
    only.add_argument(
        "--in",
        dest="places",
        action="append",
        default=[],
        metavar="SOURCE",
        help="a file, a folder or a root, as `list` names it; may be given several times",
    )
    only.add_argument(
        "--type", dest="types", action="append", default=[], metavar="ENDING", help="pdf, for example"
    )
    only.add_argument("--since", metavar="DATE", help="changed on this day or later: 2026-01-31")
    only.add_argument("--until", metavar="DATE", help="changed on this day or earlier")


def read(options: argparse.Namespace) -> Filters:
    """What the flags say. Raises UsageError."""
    since, until = _day("--since", options.since), _day("--until", options.until)
    if since and until and since > until:
        raise UsageError(
            f"--since {options.since} is after --until {options.until}", "No document can be both."
        )
    for flag, values in (("--in", options.places), ("--type", options.types)):
        if not all(value.strip("./ ") for value in values):
            raise UsageError(
                f"{flag} is empty", "Name something, or leave it out: then everything is searched."
            )
    return Filters(
        places=tuple(options.places),
        types=frozenset(options.types),
        since=_start(since) if since else None,
        until=_start(until + timedelta(days=1)) if until and until < date.max else None,
    )


def check(engine: Engine, only: Filters) -> None:
    """Raise UsageError where no document meets the flags: a slip of the pen is no missing answer."""
    if not engine.holds(only):
        raise UsageError(
            "no document of this knowledge base is among those that --in, --type, --since and --until name",
            "python -m ragkit list  names the documents.",
        )


def _day(flag: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise UsageError(f"{flag} {text} is no date", "Write year, month, day: 2026-01-31.") from error


def _start(day: date) -> float:
    """The first moment of a day where this machine stands."""
    try:
        return datetime.combine(day, time()).timestamp()
    except (OSError, OverflowError, ValueError) as error:
        raise UsageError(f"{day} is out of range", "Write a year from 1970 on.") from error
