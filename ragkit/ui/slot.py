"""The place of the language model: chosen and loaded at the start, switched and given back while the page runs.

One change at a time. Whatever fails, quotes answer, and no half a model stays in memory. Knows no Gradio and no HTML.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Literal, TypeVar

from ragkit import config, log
from ragkit.config import Settings
from ragkit.errors import ModelError, RagkitError

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from ragkit.engine import Engine
    from ragkit.load_plan import LoadPlan
    from ragkit.profiles import Profile

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

STOP_WAIT_S = (
    10.0  # that answers under way are given to end; a reader that stands still would hold a switch up
)
_JOIN_S = 10.0
# What share of a bar each stage of `ragkit.loading` is. Quantising on a CPU takes minutes, the rest seconds.
_SHARES = {"weights": (0.0, 0.95), "quantise": (0.0, 0.85), "save": (0.85, 0.95), "warm_up": (0.95, 1.0)}


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What answers, or is on its way to. "quotes": none was asked for, or none is there, or it was given up."""

    state: Literal["quotes", "choosing", "loading", "ready", "failed"] = "choosing"
    profile: Profile | None = None
    precision: str = ""  # as it was asked for
    label: str = ""  # the precision that it is, and where: "4-bit NF4, cuda"
    needed_bytes: int = 0
    stage: str = ""
    done: float = 0.0  # 0 to 1
    started_at: float = 0.0  # of time.monotonic
    error: RagkitError | None = None
    saved: bool = True  # for the next start


class _Cancelled(BaseException):
    """Ends a load that was given up; no Exception, so that nothing on the way takes it for a failure."""


class ModelSlot:
    """What answers in place of the quotes. `status` is what there is, `attempt` what was asked for instead.

    `attempt` is None but while a switch is being planned ("choosing") and after one was refused ("failed"); in
    both cases what `status` says goes on answering. `libraries` is held by whoever imports from transformers or
    may: it fills its modules when they are first used, and two threads that do so at once fail with "cannot
    import name".
    """

    def __init__(self, settings: Settings, llm: LLM | None = None) -> None:
        self._settings = settings
        self._llm = llm
        self._changing = threading.Lock()
        self._changing.acquire()  # by the start: `bring_up` lets go of it
        self._give_up = threading.Event()  # the load under way
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.libraries = threading.Lock()
        self.status = ModelStatus()
        self.attempt: ModelStatus | None = None

    @property
    def moving(self) -> bool:
        """Whether something changes by itself."""
        planned = self.attempt is not None and self.attempt.state == "choosing"
        return planned or self.status.state in {"choosing", "loading"}

    def bring_up(self, engine: Engine) -> None:
        """Load the dense leg and what the settings choose; until then, and if that fails, words and quotes do."""
        try:
            with self.libraries:
                self._bring_up(engine)
        finally:
            self._changing.release()

    def switch(self, engine: Engine, wanted: Profile, precision: str) -> bool:
        """Let `wanted` answer instead of what answers now; returns at once. False: a change is under way already.

        What does not fit is refused while the old model goes on. Else answers under way end with what was said
        so far, the old model's memory is given back, and quotes answer until the new one is loaded.
        """
        if self._closed.is_set() or not self._changing.acquire(blocking=False):
            return False
        self._give_up.clear()
        self.attempt = ModelStatus("choosing", wanted, precision, started_at=time.monotonic())
        self._thread = threading.Thread(
            target=self._switch, args=(engine, wanted, precision), name="ragkit-switch", daemon=True
        )
        self._thread.start()
        return True

    def serve(self, engine: Engine) -> bool:
        """Let what answers answer for another library too. False: a change is under way."""
        if self._closed.is_set() or not self._changing.acquire(blocking=False):
            return False
        try:
            chosen = self.status.profile
            if self._llm is not None and chosen is not None:
                engine.use_model(self._llm, chosen.languages, simple=chosen.simple)
            elif self._llm is not None:
                engine.use_model(self._llm)
        finally:
            self._changing.release()
        return True

    def cancel(self) -> None:
        """Give the load under way up; quotes answer."""
        self._give_up.set()

    def released(self) -> dict[str, int]:
        """The memory that would be free, by device, if the model in use went."""
        held: dict[str, int] = getattr(self._llm, "held_bytes", dict)()
        return held

    def stop(self) -> None:
        """Accept no further switch, and end the one under way."""
        self._closed.set()
        self._give_up.set()
        if self._thread is not None:
            self._thread.join(timeout=_JOIN_S)

    def free(self) -> None:
        """Let the memory of a model in this process go."""
        if close := getattr(self._llm, "close", None):
            close()

    # ── The start ──

    def _bring_up(self, engine: Engine) -> None:
        """One after the other: see `libraries`. What waits is read meanwhile, which takes none of them."""
        engine.start(embed=False)
        if self._llm is not None:
            self.status = ModelStatus("ready")
        chosen = None if self._llm is not None else self._attempt(self._choose, self._failed)
        engine.load_embedding()
        if chosen is None or chosen.kind == "quotes":
            engine.start()
            return
        if chosen.kind == "local":
            self._attempt(lambda: import_module("ragkit.llm"), self._failed)
        engine.start()
        if self.status.state == "loading":
            self._attempt(lambda: self._load(engine, self._settings), self._failed)

    def _choose(self) -> Profile:
        from ragkit import profiles

        chosen = profiles.choose(self._settings)
        self.status = ModelStatus("choosing", chosen)
        self.status = self._planned(chosen, self._settings)
        return chosen

    # ── A switch ──

    def _switch(self, engine: Engine, wanted: Profile, precision: str) -> None:
        settings = replace(self._settings, precision=precision)
        try:
            with self.libraries:
                planned = self._attempt(lambda: self._planned(wanted, settings), self._refused)
                if planned is None:
                    return
                self.attempt = None
                if self._attempt(lambda: self._unload(engine), self._failed) is None:
                    return
                self.status = planned
                if planned.state == "loading":
                    self._attempt(lambda: self._load(engine, settings), self._failed)
            if self.status.state == "ready" or wanted.kind == "quotes":
                self._save(wanted, precision)
        finally:
            self._changing.release()

    def _planned(self, wanted: Profile, settings: Settings) -> ModelStatus:
        """The status at the beginning of a load. Raises ModelError for what does not fit or is not there."""
        from ragkit import profiles

        if wanted.kind == "quotes":
            return ModelStatus("quotes", wanted, settings.precision)
        if wanted.kind == "server":
            wanted = profiles.choose(self._settings)  # asks it for its model: is it there?
        plan = profiles.plan(wanted, settings, released=self.released())
        if self._give_up.is_set():
            raise _Cancelled
        started = self.attempt.started_at if self.attempt else time.monotonic()
        return _of_plan(ModelStatus("loading", wanted, settings.precision, started_at=started), plan)

    def _unload(self, engine: Engine) -> bool:
        """Quotes answer from now on; answers under way end, and the model's memory is given back."""
        llm, self._llm = self._llm, None
        engine.use_model(None)
        engine.stop_answers(STOP_WAIT_S)
        if close := getattr(llm, "close", None):
            close()
        return True

    def _save(self, profile: Profile, precision: str) -> None:
        """Keep the choice for the next start. A server that was only named by a flag is no choice of the page."""
        from ragkit import profiles

        try:
            values = {"model": profiles.setting_of(profile, self._settings), "precision": precision}
            if "llm" in config.saved(self._settings.data_dir):
                values["llm"] = profile.url
            elif profile.kind == "server":
                return
            config.save(self._settings.data_dir, **values)
        except (OSError, RagkitError) as error:
            logger.warning("the choice of the model could not be saved: %s", type(error).__name__)
            self.status = replace(self.status, saved=False)

    # ── Both ──

    def _load(self, engine: Engine, settings: Settings) -> None:
        from ragkit import profiles

        chosen = self.status.profile
        assert chosen is not None
        llm = profiles.load(chosen, settings, progress=self._on_loading)
        if self._give_up.is_set():
            if close := getattr(llm, "close", None):
                close()
            raise _Cancelled
        self._llm = llm
        engine.use_model(llm, chosen.languages, simple=chosen.simple)
        self.status = replace(_of_plan(self.status, getattr(llm, "plan", None)), state="ready", done=1.0)
        logger.info("model ready: %s", self.status.label or chosen.kind)

    def _attempt(
        self, step: Callable[[], Result], on_failure: Callable[[RagkitError], None]
    ) -> Result | None:
        """Run one step on the way to a model; None when it failed or was given up."""
        try:
            return step()
        except _Cancelled:
            logger.info("the model's loading was cancelled")
            self._given_up()
        except RagkitError as error:
            logger.warning("the model could not be loaded: %s", error.code)
            on_failure(error)
        except Exception as error:  # noqa: BLE001  # many libraries stand behind a model
            log.failed(logger, "loading the model", error)
            on_failure(
                ModelError(f"{type(error).__name__}: {error}", "Run: python -m ragkit doctor --model DIR")
            )
        _sweep()  # only now: the exception held the frames, and they what was loaded
        return None

    def _given_up(self) -> None:
        from ragkit.profiles import QUOTES_PROFILE

        self.attempt = None
        if self.status.state in {"choosing", "loading"}:
            self.status = ModelStatus("quotes", QUOTES_PROFILE)

    def _failed(self, error: RagkitError) -> None:
        self.status = replace(self.status, state="failed", error=_bare(error))

    def _refused(self, error: RagkitError) -> None:
        assert self.attempt is not None
        self.attempt = replace(self.attempt, state="failed", error=_bare(error))

    def _on_loading(self, stage: str, done: float) -> None:
        if self._give_up.is_set():
            raise _Cancelled
        low, high = _SHARES.get(stage, (0.0, 1.0))
        self.status = replace(self.status, stage=stage, done=low + (high - low) * done)


def _of_plan(status: ModelStatus, plan: LoadPlan | None) -> ModelStatus:
    if plan is None:
        return status
    return replace(status, label=f"{plan.label}, {plan.device}", needed_bytes=plan.needed_bytes)


def _bare(error: RagkitError) -> RagkitError:
    """The error without the frames that it came through: they hold what was loaded so far."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def _sweep() -> None:
    """Give back what a load that did not end has left behind."""
    if "ragkit.memory" in sys.modules:  # else nothing was loaded, and the import takes seconds
        import_module("ragkit.memory").release_memory()
