"""Open the engine behind the page that is already there. Knows no Gradio and no HTML."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ragkit import config, log
from ragkit.config import Settings
from ragkit.errors import ModelError, RagkitError
from ragkit.schema import Progress

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.llms import LLM

    from ragkit.engine import Engine
    from ragkit.profiles import Profile
    from ragkit.watch import Watched, Watcher

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
BootState = Literal["opening", "samples", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The language model on its way into memory. "quotes": none was asked for and none is there."""

    state: Literal["quotes", "choosing", "loading", "ready", "failed"] = "choosing"
    profile: Profile | None = None
    label: str = ""  # the precision, and where: "4-bit NF4, cuda"
    needed_bytes: int = 0
    done: float = 0.0  # 0 to 1
    error: RagkitError | None = None


class _Cancelled(BaseException):
    """Ends a load when the page is closed; no Exception, so that nothing on the way takes it for a failure."""


def is_default_library(settings: Settings) -> bool:
    """Tell whether this is the library that the sample documents go into."""
    return settings.kb == settings.data_dir / "library" / "default"


class Boot:
    """The engine on its way up: opening, reading the sample documents, ready; or failed, with the reason.

    `llm` and `embed_model` are handed to `Engine.open`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        llm: LLM | None = None,
        embed_model: BaseEmbedding | None = None,
        watch: Sequence[Path] = (),
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._watcher: Watcher | None = None
        self._llm = llm
        self._embed_model = embed_model
        self._engine: Engine | None = None
        self._opened = threading.Event()
        self._settled = threading.Event()
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ragkit-boot", daemon=True)
        self.state: BootState = "opening"
        self.model = ModelStatus()
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

    def close(self) -> None:
        """Stop what is under way and close the engine."""
        self._cancel.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._watcher is not None:
            self._watcher.close()
        if self._engine is not None:
            self._engine.close()
        if free := getattr(self._llm, "close", None):  # a model in this process: let its memory go
            free()

    def _run(self) -> None:
        try:
            engine = self._open()
            self._settled.set()
            self._load_models(engine)
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

        engine = Engine.open(self._settings, llm=self._llm, embed_model=self._embed_model)
        self._engine = engine
        self.state = "samples"
        self._opened.set()
        if is_default_library(self._settings) and config.SAMPLES.is_dir():
            engine.seed(config.SAMPLES, progress=self._note, cancel=self._cancel)
        self.state = "ready"
        if self._watch:
            from ragkit.watch import Watcher

            self._watcher = Watcher(engine, self._watch)
            self._watcher.start()
        logger.info("ready: profile %s, %d documents", engine.profile, len(engine.documents()))
        return engine

    def _load_models(self, engine: Engine) -> None:
        """Bring up the dense leg and what answers; until then, and if that fails, words and quotes do.

        One after the other: transformers fills its modules when they are first used, and two threads that
        import from it at once fail with "cannot import name".
        """
        if self._llm is not None:
            self.model = ModelStatus("ready")
        chosen = None if self._llm is not None else self._attempt(self._choose)
        engine.load_embedding()
        if chosen is None or chosen.kind == "quotes":
            engine.start()
            return
        if chosen.kind == "local":
            self._attempt(lambda: import_module("ragkit.llm"))
        engine.start()
        if self.model.state == "loading":
            self._attempt(lambda: self._load(engine, chosen))

    def _choose(self) -> Profile:
        from ragkit import profiles

        chosen = profiles.choose(self._settings)
        if chosen.kind == "quotes":
            self.model = ModelStatus("quotes", chosen)
            return chosen
        self.model = ModelStatus("choosing", chosen)
        plan = profiles.plan(chosen, self._settings)  # refuses what does not fit, before it swaps
        self.model = ModelStatus(
            "loading",
            chosen,
            label=f"{plan.label}, {plan.device}" if plan else "",
            needed_bytes=plan.needed_bytes if plan else 0,
        )
        return chosen

    def _load(self, engine: Engine, chosen: Profile) -> None:
        from ragkit import profiles

        llm = profiles.load(chosen, self._settings, progress=self._on_loading)
        engine.use_model(llm, chosen.languages, simple=chosen.simple)
        self._llm = llm
        self.model = replace(self.model, state="ready", done=1.0)
        logger.info("model ready: %s", self.model.label or chosen.kind)

    def _attempt(self, step: Callable[[], Result]) -> Result | None:
        """Run one step on the way to a model; when it fails the quotes go on answering, and the page says why."""
        try:
            return step()
        except _Cancelled:
            logger.info("the model's loading was cancelled")
        except RagkitError as error:
            self.model = replace(self.model, state="failed", error=error)
            logger.warning("the model could not be loaded: %s", error.code)
        except Exception as error:  # noqa: BLE001  # many libraries stand behind a model
            log.failed(logger, "loading the model", error)
            failure = ModelError(
                f"{type(error).__name__}: {error}", "Run: python -m ragkit doctor --model DIR"
            )
            self.model = replace(self.model, state="failed", error=failure)
        return None

    def _on_loading(self, stage: str, done: float) -> None:
        if self._cancel.is_set():
            raise _Cancelled
        # Quantising on a CPU takes minutes, the rest seconds.
        self.model = replace(self.model, done=done)

    def _note(self, progress: Progress) -> None:
        self.samples = progress

    def _fail(self, error: RagkitError) -> None:
        self.error = error
        self.state = "failed"
        logger.error("cannot start: %s", error.code)
