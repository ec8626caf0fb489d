"""A browser window on a page, and the list of states that pictures are taken of."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

from ragkit.schema import Language
from tests.fakes import ScriptedLLM
from tests.screenshots.sites import Site, Sites

Theme = Literal["light", "dark"]

SIZES: Final = {1440: (1440, 900), 1024: (1024, 768), 820: (820, 1180), 390: (390, 844)}
TIMEOUT_MS: Final = 20_000
SETTLED_MS: Final = 400  # colours and the sheet of sources change softly


@dataclass
class Window:
    """What the steps of a state work with."""

    page: Page
    site: Site
    language: Language
    after: ExitStack  # what is to be undone when the picture is taken
    hold: threading.Event = field(default_factory=threading.Event)

    def say(self, chinese: str, english: str) -> str:
        """What is right in the window's language."""
        return chinese if self.language == "zh" else english

    @property
    def llm(self) -> ScriptedLLM:
        """The model of a site that has one."""
        assert self.site.llm is not None
        return self.site.llm

    def held(self, *pieces: str) -> Iterator[str]:
        """An answer that stands still after these pieces until the picture is taken."""
        yield from pieces
        self.hold.wait()


Steps = Callable[[Window], object]


@dataclass(frozen=True)
class State:
    """A picture, or several: one for each language, theme and width."""

    name: str
    steps: Steps
    site: str
    languages: Sequence[Language]
    themes: Sequence[Theme]
    widths: Sequence[int]
    whole: bool  # what is below the edge of the window too
    waits_for: str


STATES: Final[list[State]] = []


def everywhere(*, site: str = "quotes", whole: bool = False) -> Callable[[Steps], Steps]:
    """A main state: in both languages and themes, at all widths."""
    return _listed(site, ("zh", "en"), ("light", "dark"), tuple(SIZES), whole)


def once(
    language: Language,
    theme: Theme,
    *,
    site: str = "quotes",
    width: int = 1440,
    whole: bool = False,
    waits_for: str = "#ask textarea",
) -> Callable[[Steps], Steps]:
    """A state of which one picture is enough."""
    return _listed(site, (language,), (theme,), (width,), whole, waits_for)


def _listed(
    site: str,
    languages: Sequence[Language],
    themes: Sequence[Theme],
    widths: Sequence[int],
    whole: bool,
    waits_for: str = "#ask textarea",
) -> Callable[[Steps], Steps]:
    def put(steps: Steps) -> Steps:
        name = steps.__name__.replace("_", "-")
        STATES.append(State(name, steps, site, languages, themes, widths, whole, waits_for))
        return steps

    return put


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium or Chrome of this machine."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("error: no Chromium found\nhint:  apt-get install chromium fonts-noto-cjk")
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def window(
    browser: Browser,
    site: Site,
    language: Language,
    theme: Theme,
    size: tuple[int, int],
    *,
    waits_for: str = "#ask textarea",
) -> Iterator[Window]:
    """Open the page. An error in it, or a request that leaves its host, is raised when the window closes."""
    troubles: list[str] = []
    with ExitStack() as after:
        context = browser.new_context(
            locale="zh-CN" if language == "zh" else "en-GB",
            color_scheme=theme,
            viewport={"width": size[0], "height": size[1]},
        )
        after.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: troubles.append(f"error in the page: {error}"))
        own = (site.url + "/", "data:", "blob:")
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(own) else troubles.append(f"sent to {request.url}")
            ),
        )
        # What the policy of the page kept from leaving is no request: only the console tells.
        page.on(
            "console",
            lambda told: troubles.append(told.text) if "Content Security Policy" in told.text else None,
        )
        page.goto(site.url)
        page.wait_for_selector(waits_for)
        opened = Window(page, site, language, after)
        after.callback(opened.hold.set)
        if site.llm is not None:
            site.llm._answers.clear()  # what a state that failed has left
        yield opened
    if troubles:
        raise AssertionError("; ".join(troubles))


def settle(page: Page) -> None:
    """Let the page come to rest before a picture is taken."""
    page.evaluate("document.fonts.ready.then(() => true)")
    page.wait_for_timeout(SETTLED_MS)


__all__ = [
    "SIZES",
    "STATES",
    "Sites",
    "State",
    "Window",
    "chromium",
    "everywhere",
    "once",
    "settle",
    "window",
]
