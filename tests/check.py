"""Run every check before a hand-in: `python tests/check.py [--without-tests] [pytest arguments]`.

All checks run, whatever the earlier ones said; the exit status is 1 if one failed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CHECKS: list[tuple[str, list[str]]] = [
    ("ruff format", ["ruff", "format", "--check", "."]),
    ("ruff check", ["ruff", "check", "."]),
    ("mypy", ["mypy", "--strict", "ragkit"]),
    ("pytest", ["pytest"]),
]


def main(arguments: list[str]) -> int:
    pytest_arguments = [argument for argument in arguments if argument != "--without-tests"]
    outcome: list[tuple[str, bool, float]] = []
    for name, command in CHECKS:
        if name == "pytest" and "--without-tests" in arguments:
            continue
        extra = pytest_arguments if name == "pytest" else []
        print(f"== {name}", flush=True)
        started = time.monotonic()
        finished = subprocess.run([sys.executable, "-m", *command, *extra], cwd=ROOT, check=False)
        outcome.append((name, finished.returncode == 0, time.monotonic() - started))
    print()
    for name, passed, seconds in outcome:
        print(f"{name:<12} {'ok' if passed else 'FAILED':<7} {seconds:6.1f} s")
    return 0 if all(passed for _, passed, _ in outcome) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
