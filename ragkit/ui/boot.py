"""Open the engine behind the page that is already there. Knows no Gradio and no HTML."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ragkit import config, log
from ragkit.config import Settings
from ragkit.errors import LibraryBusy, RagkitError
from ragkit.schema import Progress
from ragkit.ui.downloads import Downloads, fetch
from ragkit.ui.slot import STOP_WAIT_S, ModelSlot, ModelStatus

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.llms import LLM

    from ragkit.engine import Engine
    from ragkit.profiles import Profile
    from ragkit.watch import Watched, Watcher

logger = logging.getLogger(__name__)

BootState = Literal["opening", "samples", "ready", "failed"]


def is_default_library(settings: Settings) -> bool:
    """Tell whether this is the library that the sample documents go into."""
    return settings.kb == settings.data_dir / "library" / "default"


class Boot:
    """The engine on its way up: opening, reading the sample documents, ready; or failed, with the reason.

    `llm` and `embed_model` are handed to `Engine.open`. `watch` is kept mirrored, `folders` are only offered.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        llm: LLM | None = None,
        embed_model: BaseEmbedding | None = None,
        watch: Sequence[Path] = (),
        folders: Sequence[Path] = (),
    ) -> None:
        self.settings = settings  # of the library that is open, and of the answers
        self._watch, self._watching_kb = watch, settings.kb
        self.folders = (*watch, *folders)  # what the page may mirror
        self._watcher: Watcher | None = None
        self._embed_model = embed_model
        self._engine: Engine | None = None
        self._opened = threading.Event()
        self._settled = threading.Event()
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ragkit-boot", daemon=True)
        self._moving = threading.Lock()  # to another library
        self.slot = ModelSlot(settings, llm)
        self.downloads = Downloads(fetch(settings.data_dir))
        self._llm = llm
        self.state: BootState = "opening"
        self.error: RagkitError | None = None
        self.samples: Progress | None = None

    def start(self) -> None:
        """Begin; returns at once. A second call does nothing."""
        if not self._thread.is_alive() and not self._settled.is_set():
            self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until questions can be answered from all that is there; False while that is not so."""
        return self._settled.wait(timeout_s)

    def engine(self, timeout_s: float | None = None) -> Engine:
        """Give the engine as soon as it is open, even while samples are being read.

        Raises the error that kept it from opening, or RagkitError when that takes too long.
        """
        self._opened.wait(timeout_s)
        if self.error is not None:
            raise self.error
        if self._engine is None:
            raise RagkitError("The knowledge base is still being opened.", "Try again in a moment.")
        return self._engine

    def peek(self) -> Engine | None:
        """The engine if it is open and well, else None."""
        return self._engine if self.error is None else None

    def watched(self) -> list[Watched]:
        """How each mirrored folder stands."""
        return self._watcher.watched() if self._watcher else []

    def confirm(self, folder: Path) -> None:
        """Forget what is gone from a watched folder that is held."""
        if self._watcher is not None and any(
            one.folder.expanduser().resolve() == folder for one in self.watched()
        ):
            self._watcher.confirm(folder)

    @property
    def model(self) -> ModelStatus:
        """The language model: what there is of it."""
        return self.slot.status

    def switch(self, wanted: Profile, precision: str) -> bool:
        """Let another model answer; returns at once, and `slot` shows what becomes of it.

        False: a change is under way already. Raises RagkitError while there is no engine.
        """
        return self.slot.switch(self.engine(0), wanted, precision)

    def use_settings(self, settings: Settings) -> None:
        """Answer by these settings from the next question on."""
        self.settings = settings
        if self._engine is not None:
            self._engine.use_settings(settings)

    def open_library(self, kb: Path) -> None:
        """Open another knowledge base in place of this one, or make it. Answers under way end with what was said
        so far. Raises RagkitError, and then the old one stays open."""
        from ragkit.engine import Engine

        old = self.engine(0)
        if not self._settled.is_set() or not self._moving.acquire(blocking=False):
            raise LibraryBusy("the knowledge base is still being opened", "Try again in a moment.")
        try:
            settings = replace(self.settings, kb=kb)
            engine = Engine.open(settings, embed_model=self._embed_model)
            if not self.slot.serve(engine):
                engine.close()
                raise LibraryBusy("the language model is being changed", "Wait for it, then try again.")
            old.stop_answers(STOP_WAIT_S)
            watcher, self._watcher = self._watcher, None
            self._engine, self.settings = engine, settings
            if kb == self._watching_kb:
                self._start_watching(engine)
            threading.Thread(target=self._move_in, args=(engine, old, watcher), daemon=True).start()
        finally:
            self._moving.release()
        logger.info("opened another knowledge base, %d documents", len(engine.documents()))

    def _move_in(self, engine: Engine, old: Engine, watcher: Watcher | None) -> None:
        if watcher is not None:
            watcher.close()
        old.close()
        engine.start(embed=False)
        with self.slot.libraries:
            engine.load_embedding()
        engine.start()

    def close(self) -> None:
        """Stop what is under way and close the engine."""
        self._cancel.set()
        self.downloads.close()
        self.slot.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._watcher is not None:
            self._watcher.close()
        if self._engine is not None:
            self._engine.close()
        self.slot.free()

    def _run(self) -> None:
        try:
            engine = self._open()
            self._settled.set()
            self.slot.bring_up(engine)
        except RagkitError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # the thread's edge: nobody above would see it
            log.failed(logger, "opening the engine", error)
            self._fail(RagkitError(f"{type(error).__name__}: {error}", "The log file says where."))
        finally:
            self._opened.set()
            self._settled.set()

    def _open(self) -> Engine:
        from ragkit.engine import Engine  # heavy: only here, after the page is up

        llm, self._llm = self._llm, None  # from now on it is the slot's alone, which may let it go
        engine = Engine.open(self.settings, llm=llm, embed_model=self._embed_model)
        self._engine = engine
        self.state = "samples"
        self._opened.set()
        if is_default_library(self.settings) and config.SAMPLES.is_dir():
            engine.seed(config.SAMPLES, progress=self._note, cancel=self._cancel)
        self.state = "ready"
        self._start_watching(engine)
        logger.info("ready: profile %s, %d documents", engine.profile, len(engine.documents()))
        return engine

    def _start_watching(self, engine: Engine) -> None:
        if self._watch:
            from ragkit.watch import Watcher

            self._watcher = Watcher(engine, self._watch)
            self._watcher.start()

    def _note(self, progress: Progress) -> None:
        self.samples = progress

    def _fail(self, error: RagkitError) -> None:
        self.error = error
        self.state = "failed"
        logger.error("cannot start: %s", error.code)
