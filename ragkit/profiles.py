"""Which model answers: a server that was named, a model that was named, the best on this machine, or none.

Chosen from what is there, before anything is loaded; nothing is ever downloaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ragkit import models
from ragkit.config import Settings
from ragkit.errors import ModelError, RagkitError, UsageError
from ragkit.load_plan import DeviceFacts, LoadPlan, plan_first
from ragkit.schema import QUOTES, Language

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

# The window and answer that a server is asked for; it does not say what its model has.
SERVER_WINDOW, SERVER_ANSWER = 8192, 512
SIMPLE_ANSWER = 96  # tokens; the smallest models only repeat themselves after that
_TIMEOUT_S = 5.0

OnLoading = Callable[[str, float], None]
"""Told the stage ("weights", "quantise", "save", "warm_up") and how much of it is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What answers, and what the user must know of it."""

    kind: Literal["quotes", "local", "server"]
    name: str
    path: Path | None = None  # of a local model
    url: str = ""  # of a server
    languages: tuple[Language, ...] = ("zh", "en")  # a question in another one is answered in quotes
    leaves_machine: bool = False  # the passages are sent to another computer
    simple: bool = False  # one of the smallest models: short prompts, short answers


QUOTES_PROFILE = Profile("quotes", QUOTES)


def choose(settings: Settings) -> Profile:
    """Choose by what was asked for, else by what is there and fits. Raises ModelError or UsageError
    when that which was asked for is not there."""
    if settings.llm:
        url = _server_url(settings.llm)
        name = settings.model or _first_model(url, settings.llm_key)
        return Profile("server", name, url=url, leaves_machine=not _is_this_machine(url))
    if settings.model == QUOTES:
        return QUOTES_PROFILE
    if settings.model:
        found = models.find_local(settings.model, settings.data_dir)
        if found is None:
            raise _not_here(settings.model)
        return local(settings.model, found)
    # The smallest answers worse than quotes: it is for whoever chooses it.
    best = models.best_local(
        settings.data_dir, fits=lambda model: model.name != models.SMOLLM2 and _fits(model, settings)
    )
    return local(best.name, best.path) if best else QUOTES_PROFILE


def plan(
    profile: Profile, settings: Settings, *, released: Mapping[str, int] | None = None
) -> LoadPlan | None:
    """How a local model would be loaded, with its memory. Imports torch. Raises ModelError when it does not fit.

    `released`: what will be free before it is loaded, by device, because another model goes.
    """
    if profile.path is None:
        return None
    from ragkit.model_facts import has_quantiser, model_facts

    machine = devices(settings, released or {})
    return plan_first(model_facts(profile.path), machine, settings.precision, quantiser=has_quantiser())


def devices(settings: Settings, released: Mapping[str, int]) -> list[DeviceFacts]:
    """Where a model may run, the first choice first, with `released` counted as free. Imports torch."""
    from ragkit.model_facts import device_facts

    found = [device_facts(settings.device)]
    if settings.device == "auto" and found[0].kind != "cpu":
        found.append(device_facts("cpu"))
    return [replace(one, free_bytes=one.free_bytes + released.get(one.device, 0)) for one in found]


def setting_of(profile: Profile, settings: Settings) -> str:
    """What `model` must be in the settings for `choose` to choose this profile."""
    if profile.kind == "server":
        return settings.model
    if profile.path is None or models.find_local(profile.name, settings.data_dir) == profile.path:
        return profile.name
    return str(profile.path)


def load(profile: Profile, settings: Settings, *, progress: OnLoading | None = None) -> LLM | None:
    """Load or connect what was chosen; None for quotes. Raises ModelError."""
    if profile.kind == "server":
        return _connect(profile, settings)
    if profile.path is None:
        return None
    from ragkit import llm

    model = llm.load(
        profile.path,
        precision=settings.precision,
        device=settings.device,
        progress=progress,
        cache_dir=settings.data_dir / "models" / models.QUANTISED,
    )
    model.model_name = profile.name  # of a model in the hub's cache the folder's name is a hash
    if profile.simple:
        model.max_new_tokens = SIMPLE_ANSWER
    model.probe()
    return model


def local(name: str, path: Path | None) -> Profile:
    """The profile of a model on this machine, or (without a path) of one that would be here once it was fetched."""
    known = models.find_known(name)
    shown = path.name if path and Path(name).expanduser().exists() else name
    languages = known.languages if known else ("zh", "en")
    return Profile("local", shown, path=path, languages=languages, simple=name == models.SMOLLM2)


def _fits(model: models.LocalModel, settings: Settings) -> bool:
    """Whether a model that nobody asked for may be loaded; one that cannot be read is passed over."""
    try:
        return plan(local(model.name, model.path), settings) is not None
    except RagkitError:
        return False


def _not_here(name: str) -> ModelError:
    place = Path(name).expanduser()
    if place.exists():
        return ModelError(
            f"{place} is not a whole model: {', '.join(models.missing(place))} missing",
            "Copy or download all files of the model again.",
        )
    return ModelError(
        f"the model {name} is not on this machine",
        f"Run: python -m ragkit download {name}  (or name a folder that holds it, or --model quotes)",
    )


def _server_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{url!r} is not the address of a server", "For example: --llm http://127.0.0.1:8000/v1"
        )
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _first_model(url: str, key: str) -> str:
    """Ask a server for its model. Raises ModelError when it cannot be reached or names none."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{url}/models", headers=headers, timeout=_TIMEOUT_S).raise_for_status().json()
        listed = [str(model["id"]) for model in answer["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{url} does not answer as an OpenAI-compatible server: {str(error) or type(error).__name__}",
            "Check that the server runs, and its address and --llm-key.",
        ) from error
    if not listed:
        raise ModelError(f"{url} names no model", "Name it: --model NAME")
    return listed[0]


def _connect(profile: Profile, settings: Settings) -> LLM:
    from llama_index.llms.openai_like import OpenAILike

    model: LLM = OpenAILike(
        model=profile.name,
        api_base=profile.url,
        api_key=settings.llm_key or "none",
        is_chat_model=True,
        context_window=SERVER_WINDOW,
        max_tokens=SERVER_ANSWER,
        temperature=0.0,
        timeout=120.0,
        max_retries=1,
    )
    return model
