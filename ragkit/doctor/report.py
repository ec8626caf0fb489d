"""The doctor's report: the record of one check, the whole as JSON, and as lines for a person. Looks at nothing."""

from __future__ import annotations

import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from ragkit.doctor.text import FIX, GROUPS, MACHINE, SUMMARY, Saying, State
from ragkit.doctor.text_embedding import EMBEDDING
from ragkit.doctor.text_models import MODELS
from ragkit.errors import RagkitError
from ragkit.schema import Language
from ragkit.sizes import gigabytes

T = TypeVar("T")
OUTCOMES: Final = MACHINE | EMBEDDING | MODELS
_MARKS: Final[dict[State, str]] = {"ok": "✓", "warn": "!", "fail": "✗", "skipped": "-"}
_USER_IN_URL = re.compile(r"(?<=://)[^/\s]*@")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. Facts are plain values with their unit in the name."""

    id: str  # group.name
    state: State
    message: Saying
    fix: Saying | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    table: tuple[tuple[str, ...], ...] = ()  # cells that need no translation; the first row is the head


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, in the order in which they are shown."""

    version: str  # of ragkit
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0: nothing failed (warnings are no failures); 1: something did."""
        return int(any(check.state == "fail" for check in self.checks))

    def as_json(self) -> dict[str, object]:
        """The report as one document, in both languages."""
        return {
            "ragkit": self.version,
            "exit_code": self.exit_code,
            "counts": {state: self._count(state) for state in _MARKS},
            "checks": [
                {
                    "id": check.id,
                    "state": check.state,
                    "message": check.message._asdict(),
                    "fix": check.fix._asdict() if check.fix else None,
                    "facts": dict(check.facts),
                }
                for check in self.checks
            ],
        }

    def _count(self, state: State) -> int:
        return sum(check.state == state for check in self.checks)


def part(check: Check, language: Language) -> str:
    """The part of the report that a check is in, to tell what is being looked at."""
    return f"{GROUPS[check.id.partition('.')[0]].in_language(language)} …"


def render(report: Report, language: Language) -> str:
    """Write the report for a person: a heading a group, a line a check, its fix under it."""
    lines = [f"ragkit {report.version}"]
    for group, heading in GROUPS.items():
        checks = [check for check in report.checks if check.id.partition(".")[0] == group]
        if checks:
            lines += ["", heading.in_language(language)]
        for check in checks:
            lines.append(f"  {_MARKS[check.state]} {_printable(check.message.in_language(language))}")
            lines += [f"      {row}" for row in _aligned(check.table)]
            if check.fix:
                lines.append(
                    f"      {FIX.in_language(language)}: {_printable(check.fix.in_language(language))}"
                )
    counts = [
        f"{_MARKS[state]} {saying.in_language(language).format(n=n)}"
        for state, saying in SUMMARY.items()
        if (n := report._count(state))
    ]
    return "\n".join([*lines, "", "   ".join(counts)])


def _printable(text: str) -> str:
    """One line without control characters: what a model answers must not steer the terminal."""
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)


def _aligned(table: tuple[tuple[str, ...], ...]) -> list[str]:
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def _width(text: str) -> int:
    """Columns on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def check(id: str, outcome: str, /, *, table: tuple[tuple[str, ...], ...] = (), **facts: object) -> Check:
    """Make the record of a check that ended in `outcome`, a key of OUTCOMES. A Saying is a word, not a fact."""
    state, en, zh, fix_en, fix_zh = OUTCOMES[outcome]
    facts_en, facts_zh = _shown(facts, "en"), _shown(facts, "zh")
    fix = Saying(fix_en.format(**facts_en), (fix_zh or fix_en).format(**facts_zh)) if fix_en else None
    plain = {name: value for name, value in facts.items() if not isinstance(value, Saying)}
    return Check(id, state, Saying(en.format(**facts_en), zh.format(**facts_zh)), fix, plain, table)


def broken(id: str, error: Exception) -> Check:
    """Make the record of a check that ended in an exception: ours brings its hint, any other its class."""
    if isinstance(error, RagkitError):
        fix = Saying(error.hint, error.hint) if error.hint else None
        return Check(id, "fail", Saying(error.message, error.message), fix, {"error": error.code})
    return check(id, "crashed", error=type(error).__name__, text=str(error))


def guarded(id: str, step: Callable[[], Generator[Check, None, T]]) -> Generator[Check, None, T | None]:
    """Run a step that yields checks; an exception in it is one more check that failed, and gives None."""
    try:
        return (yield from step())
    except Exception as error:  # noqa: BLE001  # the report must come, whatever this machine is like
        yield broken(id, error)
        return None


def without_secrets(check: Check, secrets: Iterable[str]) -> Check:
    """Black out these words, and the user and password of any address, wherever a check says them."""
    words = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def clean(value: object) -> object:
        if isinstance(value, str):
            for word in words:
                value = value.replace(word, "***")
            return _USER_IN_URL.sub("***@", value)
        if isinstance(value, Mapping):
            return {key: clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list | tuple) else value

    def said(saying: Saying) -> Saying:
        return Saying(str(clean(saying.en)), str(clean(saying.zh)))

    facts = {name: clean(value) for name, value in check.facts.items()}
    return replace(check, message=said(check.message), fix=check.fix and said(check.fix), facts=facts)


def quoted(path: Path | str) -> str:
    """Write a path as a shell takes it."""
    text = str(path)
    if os.name != "nt":
        return shlex.quote(text)
    return f'"{text}"' if " " in text else text


def _shown(facts: Mapping[str, object], language: Language) -> dict[str, object]:
    """The facts as a sentence has them, and what every fix may name."""
    always = {"python": quoted(sys.executable), "set": "set" if os.name == "nt" else "export"}
    return always | {name: _as_words(name, value, language) for name, value in facts.items()}


def _as_words(name: str, value: object, language: Language) -> object:
    if isinstance(value, Saying):
        return value.in_language(language)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if name.endswith("_bytes") and isinstance(value, int):
        return gigabytes(value)
    return value
