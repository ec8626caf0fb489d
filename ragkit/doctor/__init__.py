"""`python -m ragkit doctor`: what works on this machine, what does not, and the next step.

Nothing is changed, but that weights which the self-check quantised are kept, as after any loading.

No text of a question or a document, no login, token or password is in the report.
"""

from __future__ import annotations

import locale
import re
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from ragkit import __version__, config, models
from ragkit.config import HubAccess, Settings
from ragkit.doctor import embedding_here, machine, models_here, selfcheck, tokenizer
from ragkit.doctor.report import Check, Report, guarded, part, render, without_secrets
from ragkit.errors import UsageError
from ragkit.schema import Language

__all__ = ["Report", "default_language", "examine", "language_of", "part", "render"]

PORT = 7860


def examine(
    settings: Settings,
    *,
    model: str | None = None,
    embedding: str | None = None,
    load: bool = True,
    port: int = PORT,
    hub: HubAccess | None = None,
    on_check: Callable[[Check], None] = lambda _: None,
) -> Report:
    """Look at everything, and tell `on_check` of each result as it comes.

    `model` (a folder, a .gguf file, or the name of a model that is here) is checked as well, and run unless `load` is
    False. `embedding` (a folder, or a known name) is checked in place of the embedding model in use. Raises UsageError
    when there is no such model.
    """
    settings = replace(settings, embedding=embedding) if embedding else settings
    access = hub or config.hub_access()
    where = _place(model, settings) if model else None
    secrets = _secrets(settings, access)
    done: list[Check] = []
    for result in _all(settings, access, where, load, port):
        done.append(without_secrets(result, secrets))
        on_check(done[-1])
    return Report(__version__, tuple(done))


def language_of(name: str | None) -> Language:
    """The report's language by a locale's name: zh for zh_CN and for Windows' "Chinese (Simplified)_China"."""
    return "zh" if (name or "").lower().startswith(("zh", "chinese")) else "en"


def default_language() -> Language:
    """The language of this process's locale."""
    return language_of(locale.getlocale()[0])


def _all(settings: Settings, access: HubAccess, where: Path | None, load: bool, port: int) -> Iterator[Check]:
    looks: dict[str, Callable[[], Check | Iterable[Check]]] = {
        "system.python": machine.python,
        "system.packages": machine.packages,
        "system.sqlite": machine.sqlite,
        "system.ocr": machine.recognition,
        "storage.folders": lambda: machine.folders(settings),
        "storage.disk": lambda: machine.disk(settings.data_dir),
        "storage.library": lambda: machine.library(settings.kb),
        "network.hub": lambda: machine.hub(access),
        "network.proxy": machine.proxies,
        "network.port": lambda: machine.port(port),
        # From here on torch is needed, whose import takes seconds.
        "system.torch": machine.torch,
        "system.memory": models_here.memories,
        "embedding.run": lambda: embedding_here.embedder(settings),
        "models.here": lambda: models_here.local_models(settings.data_dir),
        "models.tokenizer": lambda: tokenizer.found_tokenizer(settings),
    }
    for id, look in looks.items():
        yield from guarded(id, partial(_results, look))
    if where is not None:
        yield from selfcheck.self_check(settings, where, load=load)


def _results(look: Callable[[], Check | Iterable[Check]]) -> Generator[Check, None, None]:
    found = look()
    yield from (found,) if isinstance(found, Check) else found


def _place(model: str, settings: Settings) -> Path:
    """The folder as it is, whole or not: what is wrong with it is the report's business."""
    place = Path(model).expanduser()
    found = place if place.exists() else models.find_local(model, settings.data_dir)
    if found is None:
        raise UsageError(
            f"there is no model {model} on this machine",
            "Name the folder that holds config.json, or download it first: python -m ragkit download NAME",
        )
    return found


def _secrets(settings: Settings, access: HubAccess) -> list[str]:
    """What must never be printed, as it was given and as it was meant."""
    found = [access.token or "", settings.llm_key, settings.auth, settings.auth.partition(":")[2]]
    for url in (access.endpoint, settings.llm, *urllib.request.getproxies().values()):
        user = url.partition("://")[2].rpartition("@")[0]
        password = user.partition(":")[2]
        # In pieces too: an error that quotes a part of the address cuts it at these.
        found += [user, password, *re.split("[:/@]", password)]
    # A shorter one would black out half of the words; in an address it is blacked out by its place.
    return [word for secret in found for word in {secret, unquote(secret)} if len(word) > 3]
