"""Take them: `python -m tests.screenshots FOLDER [--only NAME ...] [--fast] [--assets]`.

A state is one function in chat_states.py or library_states.py. One that fails is told at the end, and makes the
exit code 1; the pictures of the others are there all the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
for _name in [name for name in os.environ if name.startswith("RAGKIT_")]:
    del os.environ[_name]

from playwright.sync_api import Browser

from tests.screenshots import chat_states, library_states, settings_states  # noqa: F401  # they fill STATES
from tests.screenshots.assets import write_assets
from tests.screenshots.sites import Sites
from tests.screenshots.windows import SIZES, STATES, State, chromium, settle, window


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description="Pictures of the page.")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where the pictures go")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="states whose names begin so")
    parser.add_argument("--list", action="store_true", help="name the states, and do nothing")
    parser.add_argument(
        "--fast", action="store_true", help="without the bundled embedding, which takes seconds"
    )
    parser.add_argument("--assets", action="store_true", help="write the README's pictures into assets/")
    flags = parser.parse_args(arguments)
    states = [one for one in STATES if not flags.only or one.name.startswith(tuple(flags.only))]
    if flags.list:
        print(*(one.name for one in states), sep="\n")
        return 0
    if not (flags.folder or flags.assets) or not states:
        parser.error("no FOLDER, or no state of such a name")
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ragkit-shots-", ignore_cleanup_errors=True) as data:
        sites = Sites(Path(data), fast=flags.fast)
        try:
            with chromium() as browser:
                if flags.assets:
                    write_assets(browser, sites)
                if flags.folder:
                    failures = take(browser, sites, states, flags.folder)
        finally:
            sites.close()
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


def take(browser: Browser, sites: Sites, states: Sequence[State], folder: Path) -> list[str]:
    """Write the pictures of these states; give back what failed, and why."""
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for state in states:
        for language in state.languages:
            for theme in state.themes:
                name = f"{state.name}-{language}-{theme}"
                try:
                    site = sites(state.site)
                    first = SIZES[state.widths[0]]
                    with window(browser, site, language, theme, first, waits_for=state.waits_for) as opened:
                        state.steps(opened)
                        for width in state.widths:  # the layout is CSS: one page serves all widths
                            opened.page.set_viewport_size({"width": width, "height": SIZES[width][1]})
                            settle(opened.page)
                            path = folder / f"{name}-{width}.png"
                            opened.page.screenshot(path=path, full_page=state.whole, animations="disabled")
                            print(path.name, flush=True)
                except Exception as error:  # noqa: BLE001  # of any kind: the other pictures are still wanted
                    failures.append(f"{name}: {type(error).__name__}: {str(error)[:600]}")
                    print(f"failed: {name}", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
