"""The pages that pictures are taken of, each over a real engine of its own, made when it is first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import PrivateAttr

from ragkit import config
from ragkit.config import Settings
from ragkit.ui import serving
from ragkit.ui.boot import Boot
from ragkit.ui.serving import Login
from tests.fakes import ScriptedLLM, WordEmbedding

WAIT_S: Final = 120
FIRST_PORT: Final = 18860


@dataclass(frozen=True)
class Site:
    """A page that is being served."""

    url: str
    boot: Boot
    settings: Settings
    llm: ScriptedLLM | None


class HeldEmbedding(WordEmbedding):
    """Stands still from `hold` to `let_go`."""

    _go: threading.Event = PrivateAttr(default_factory=threading.Event)

    def _get_text_embedding(self, text: str) -> list[float]:
        self._go.wait()
        return super()._get_text_embedding(text)

    def hold(self) -> None:
        self._go.clear()

    def let_go(self) -> None:
        self._go.set()


class Sites:
    """`sites("quotes")` gives a page, the same one each time. `fast`: no bundled embedding, which takes seconds."""

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        self._folder = folder
        self._fast = fast
        self._made: dict[str, Site] = {}
        self._open = ExitStack()
        config.prepare_process(folder / "uploads")

    def __call__(self, kind: str) -> Site:
        if kind not in self._made:
            self._made[kind] = _KINDS[kind](self, kind)
        return self._made[kind]

    def close(self) -> None:
        """Stop them all; each data folder is left to whoever made the folder."""
        self._open.close()

    def serve(
        self,
        kind: str,
        *,
        llm: ScriptedLLM | None = None,
        samples: bool = True,
        start: bool = True,
        bundled: bool = False,
        embedding: WordEmbedding | None = None,
        login: Login | None = None,
        prepare: Callable[[Path], object] = lambda data: None,
        **chosen: Any,
    ) -> Site:
        """Put a page up; `prepare` fills its data folder before anything opens it."""
        from ragkit.ui.app import build_app, launch  # gradio: only after prepare_process

        data = self._folder / kind
        data.mkdir()
        prepare(data)
        kb = data / "library" / ("default" if samples else "new")
        settings = Settings(data_dir=data, kb=kb, **{"model": "quotes", **chosen})
        embed_model = None if bundled and not self._fast else embedding or WordEmbedding()
        boot = Boot(settings, llm=llm, embed_model=embed_model)
        app = build_app(boot, settings, login=login)
        served = launch(app, settings, port=serving.free_port("127.0.0.1", FIRST_PORT), login=login)
        self._open.callback(boot.close)
        self._open.callback(app.close, verbose=False)
        if isinstance(embedding, HeldEmbedding):
            self._open.callback(embedding.let_go)
        if start:
            boot.start()
            if not boot.wait(WAIT_S):
                raise TimeoutError(f"{kind}: no engine within {WAIT_S} s")
        return Site(served.url.rstrip("/"), boot, settings, llm)


def embedded(site: Site) -> Site:
    """The same, when all its passages have vectors."""
    pause = threading.Event()
    for _ in range(WAIT_S * 5):
        engine = site.boot.engine()
        if engine.embedding.state == "ready" and engine.coverage().complete:
            return site
        pause.wait(0.2)
    raise TimeoutError(f"no vectors within {WAIT_S} s: {engine.embedding.state}")


def _quotes(sites: Sites, kind: str) -> Site:
    return embedded(sites.serve(kind, bundled=True))


def _indexing(sites: Sites, kind: str) -> Site:
    embedding = HeldEmbedding()
    embedding.let_go()
    site = embedded(sites.serve(kind, embedding=embedding))
    embedding.hold()
    papers = site.settings.data_dir / "papers"
    papers.mkdir()
    for number in range(5):
        (papers / f"note{number}.md").write_text(
            f"# Note {number}\n\nThe walrus of note {number}.\n", encoding="utf-8"
        )
    site.boot.engine().sync(papers)
    return site


def _model(sites: Sites, kind: str) -> Site:
    return sites.serve(kind, llm=ScriptedLLM(name="internlm2-chat-1_8b"))


def _loading(sites: Sites, kind: str) -> Site:
    """A model on its way up, as the page would see one: the real thing is over before a picture is taken."""
    from ragkit import profiles
    from ragkit.ui.slot import ModelStatus

    site = sites.serve(kind)
    asked = replace(profiles.QUOTES_PROFILE, kind="local", name="internlm/internlm2-chat-1_8b")
    site.boot.slot.status = ModelStatus(
        "loading",
        asked,
        label="bf16, cpu",
        needed_bytes=4_100_000_000,
        stage="weights",
        done=0.42,
        started_at=time.monotonic() - 21,
    )
    return site


def _models(sites: Sites, kind: str) -> Site:
    from tests import tiny

    def prepare(data: Path) -> None:
        tiny.internlm2(data / "models" / "acme--tiny-chat", num_hidden_layers=4)
        tiny.internlm2(data / "models" / "acme--other-chat", seed=1)

    return sites.serve(kind, prepare=prepare)


def _failed(sites: Sites, kind: str) -> Site:
    def prepare(data: Path) -> None:
        folder = data / "models" / "acme--half-a-model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "internlm2"}', encoding="utf-8")

    return sites.serve(kind, prepare=prepare, model="acme/half-a-model")


_KINDS: Final[dict[str, Callable[[Sites, str], Site]]] = {
    "quotes": _quotes,
    "demo": _quotes,  # a film adds a file of its own
    "model": _model,
    "loading": _loading,
    "models": _models,
    "failed": _failed,
    "library": lambda sites, kind: sites.serve(kind),  # what one state adds to it the next one sees
    "busy": lambda sites, kind: sites.serve(kind, samples=False),
    "empty": lambda sites, kind: sites.serve(kind, samples=False),
    "opening": lambda sites, kind: sites.serve(kind, start=False),
    "indexing": _indexing,
    "login": lambda sites, kind: sites.serve(kind, login=Login("ragkit", "a-long-password")),
}
