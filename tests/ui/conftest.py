"""The real page over a real engine, one browser for all tests; each test has a window of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ragkit import config
from ragkit.config import Settings
from ragkit.ui import serving
from ragkit.ui.boot import Boot
from tests.fakes import ScriptedLLM, WordEmbedding

if TYPE_CHECKING:
    from gradio import Blocks
    from playwright.sync_api import Browser, Page

TIMEOUT_MS = 15_000


@dataclass(frozen=True)
class Site:
    """A page that is being served."""

    url: str
    boot: Boot
    settings: Settings
    app: Blocks


Serve = Callable[..., Site]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Serve a page: `serve(llm=..., kb=..., start=False)`. All are closed at the end."""
    config.prepare_process(tmp_path_factory.mktemp("uploads"))
    from ragkit.ui.app import build_app, launch

    with ExitStack() as sites:

        def make(
            *,
            llm: ScriptedLLM | None = None,
            kb: Path | None = None,
            start: bool = True,
            fake_embedding: bool = True,
            watch: Sequence[Path] = (),
            folders: Sequence[Path] = (),
        ) -> Site:
            data = tmp_path_factory.mktemp("data")
            settings = Settings(data_dir=data, kb=kb or data / "library" / "default")
            embed_model = WordEmbedding() if fake_embedding else None
            boot = Boot(settings, llm=llm, embed_model=embed_model, watch=watch, folders=folders)
            app = build_app(boot, settings)
            served = launch(app, settings, port=serving.free_port("127.0.0.1", 17860))
            sites.callback(boot.close)
            sites.callback(app.close, verbose=False)
            if start:
                boot.start()
                assert boot.wait(60)
            return Site(served.url.rstrip("/"), boot, settings, app)

        yield make


@pytest.fixture(scope="session")
def site(serve: Serve) -> Site:
    """The page as a newcomer has it: sample documents, no language model."""
    return serve()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Without it these tests are skipped at home, and fail where CI is set."""
    sync_api = pytest.importorskip("playwright.sync_api") if not os.environ.get("CI") else None
    if sync_api is None:
        from playwright import sync_api
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium found: apt-get install chromium")
        pytest.skip("no Chromium found")
    sync_api.expect.set_options(timeout=TIMEOUT_MS)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


Visit = Callable[..., "Page"]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open a page in a fresh window. Any error in it, and any request that leaves its host, fails the test."""
    troubles: list[str] = []
    with ExitStack() as windows:

        def open_page(site: Site, *, locale: str = "zh-CN", width: int = 1280, height: int = 800) -> Page:
            context = browser.new_context(locale=locale, viewport={"width": width, "height": height})
            windows.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.on("pageerror", lambda error: troubles.append(f"error in the page: {error}"))
            page.on(
                "request",
                lambda request: (
                    None
                    if request.url.startswith((site.url + "/", "data:", "blob:"))
                    else troubles.append(f"request to {request.url}")
                ),
            )
            page.goto(site.url)
            page.wait_for_selector("#ask textarea")
            page.wait_for_selector("#top .badge.ok, #top .badge.bad, #top .badge.busy")
            return page

        yield open_page
    assert not troubles
