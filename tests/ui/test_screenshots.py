"""The command that takes the pictures of the page, on a few of its states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ragkit.config import REPOSITORY

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api")
Image = pytest.importorskip("PIL.Image")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the place of uploads is set once a process."""
    return subprocess.run(
        [sys.executable, "-m", "tests.screenshots", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def colours(path: Path) -> int:
    return len(Image.open(path).convert("RGB").getcolors(1 << 24))


@pytest.mark.usefixtures("browser")  # where there is none, this is skipped, or fails
def test_each_state_is_a_picture_of_the_asked_size_with_something_on_it(tmp_path: Path) -> None:
    done = command(str(tmp_path), "--fast", "--only", "refusal", "empty-library", "chat-empty")
    assert done.returncode == 0, done.stderr
    sizes = {path.name: Image.open(path).size for path in tmp_path.iterdir()}
    assert sizes["refusal-zh-dark-1440.png"] == (1440, 900)
    assert sizes["refusal-narrow-en-light-390.png"] == (390, 844)
    assert sizes["empty-library-zh-light-1440.png"] == (1440, 900)
    assert {name for name in sizes if name.startswith("chat-empty")} == {
        f"chat-empty-{language}-{theme}-{width}.png"
        for language in ("zh", "en")
        for theme in ("light", "dark")
        for width in (1440, 1024, 820, 390)
    }
    assert {name: size[0] for name, size in sizes.items()} == {
        name: int(name.removesuffix(".png").rsplit("-", 1)[1]) for name in sizes
    }
    assert min(colours(path) for path in tmp_path.iterdir()) > 50
    light, dark = (
        Image.open(tmp_path / f"chat-empty-en-{theme}-1440.png").convert("L") for theme in ("light", "dark")
    )
    assert light.getpixel((700, 600)) > 200 > 60 > dark.getpixel((700, 600))


@pytest.mark.usefixtures("browser")
def test_a_state_that_fails_is_told_and_the_others_are_there(tmp_path: Path) -> None:
    code = (
        "from tests.screenshots import __main__ as shots\n"
        "from tests.screenshots.windows import once\n"
        "@once('en', 'light', site='empty')\n"
        "def empty_and_broken(at): raise AssertionError('no such button')\n"
        "@once('en', 'light', site='empty')\n"
        "def empty_and_leaving(at): at.page.evaluate(\"fetch('http://127.0.0.1:9/x').catch(() => 0)\")\n"
        "@once('en', 'light', site='empty')\n"
        "def empty_and_wrong(at): at.page.evaluate(\"setTimeout(() => { throw Error('lost') })\")\n"
        f"raise SystemExit(shots.main([{str(tmp_path)!r}, '--fast', '--only', 'empty-']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 1
    assert "FAILED empty-and-broken-en-light: AssertionError: no such button" in done.stderr
    assert "FAILED empty-and-wrong-en-light: AssertionError: error in the page: lost" in done.stderr
    assert re.search(
        r"FAILED empty-and-leaving-en-light: AssertionError: .*http://127\.0\.0\.1:9/x", done.stderr
    )
    assert (tmp_path / "empty-library-zh-light-1440.png").is_file()
    assert not (tmp_path / "empty-and-broken-en-light-1440.png").exists()


def test_a_name_that_no_state_has_is_an_error() -> None:
    assert command("unused", "--only", "no-such-state").returncode == 2
