"""Settings, and the only place that reads or sets the environment.

A value comes from the default, then data/settings.json, then RAGKIT_* in the environment, then what
the caller says (command line or page): the later one wins.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

from ragkit.errors import UsageError
from ragkit.schema import Language

# Least and most of what can be chosen by number; a text may have so many characters.
LIMITS: dict[str, tuple[float, float]] = {
    "passages": (1, 20),
    "context_chars": (500, 20_000),
    "gate": (0, 1),
    "gate_weak": (0, 1),
    "temperature": (0, 2),
    "max_tokens": (0, 4096),
    "instructions": (0, 4000),
}

# Read before prepare_environment keeps the libraries from asking a hub on their own.
_OFFLINE = bool(
    {os.environ.get(name, "").upper() for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    & {"1", "ON", "YES", "TRUE"}
)

_FILE = "settings.json"
REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "data" / "samples"
ASSETS = REPOSITORY / "assets"
KB_HELP = "a knowledge base: a name under data/library (a new one is made there), or a folder, as ./NAME"


def default_data_dir() -> Path:
    """RAGKIT_DATA, else the repository's data/: never the working directory."""
    return Path(os.environ.get("RAGKIT_DATA") or REPOSITORY / "data").expanduser().resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen. Frozen: a change makes a new one (`replace`)."""

    data_dir: Path
    kb: Path  # the folder of the knowledge base: kb.sqlite, originals/, lock
    language: Language | Literal[""] = ""  # of the page; "" follows the browser. Answers follow the question
    # "auto": the bundled model; "off": lexical search only; else a model's folder, or a name that was downloaded
    embedding: str = "auto"
    # "auto": bge-reranker-v2-m3 where it and a GPU are on this machine; "off"; else a model's folder or name
    rerank: str = "auto"
    device: str = "auto"  # of both models: "auto", "cpu", "cuda", "mps"
    model: str = ""  # "": the best on this machine; "quotes": none; else a folder, a .gguf file or a name
    precision: str = "auto"  # or 4bit, 8bit, bf16, fp16, fp32
    llm: str = ""  # URL of an OpenAI-compatible server that answers instead; `model` then names its model
    llm_key: str = ""
    passages: int = 6  # at most so many passages go under an answer
    context_chars: int = 3000  # and at most so many characters; facts: 2,000-4,000 keep recall at 96-98 %
    # Share of the question's information (idf) that the best passage must hold. Below `gate` nothing is
    # answered; up to `gate_weak` the answer is marked as a weak match. Chosen on cmrc2018's dev half.
    gate: float = 0.35
    gate_weak: float = 0.5
    temperature: float = 0.0  # of the model's answers; 0 takes the likeliest word each time
    max_tokens: int = 0  # of an answer; 0: as many as the model is made for
    instructions: str = ""  # of the user, for every answer; they follow ragkit's own rules
    reader_timeout_s: float = 120.0
    allowed_hosts: str = ""  # more names, comma separated, under which the page may be reached
    auth: str = ""  # USER:PASSWORD

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read file and environment; `overrides` that are None count as not given.

        Raises UsageError for a value that cannot be read as its type, naming where it stands.
        """
        data_dir = cast("Path | None", overrides.pop("data_dir", None)) or default_data_dir()
        settings = cls(data_dir=data_dir, kb=data_dir / "library" / "default")
        file = data_dir / _FILE
        kept, environment = saved(data_dir), _environment()
        given = {name: value for name, value in overrides.items() if value is not None}
        if not kept.get("llm") and (environment | given).get("llm"):
            kept.pop(
                "model", None
            )  # it was saved for answers in this process: no name for the server's model
        if "kb" in kept and not (library_folder(str(kept["kb"]), data_dir) / "kb.sqlite").is_file():
            kept.pop("kb")  # the one that was open last is gone: the default one is opened instead
        return settings._with(kept, str(file))._with(environment, "the environment")._with(given, "the call")

    def changed(self, origin: str, **values: object) -> Self:
        """With these values instead, which may be of the wrong type or out of bounds. Raises UsageError."""
        return self._with(values, origin)

    def _with(self, values: dict[str, Any], origin: str) -> Self:
        known = {field.name: field for field in fields(self)}
        changed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise UsageError(
                    f"unknown setting {name!r} in {origin}", f"Known settings: {', '.join(sorted(known))}."
                )
            if name == "kb" and isinstance(value, str):
                changed[name] = library_folder(value, self.data_dir)
                continue
            wanted = type(getattr(self, name))
            kind = Path if issubclass(wanted, Path) else wanted
            try:
                changed[name] = kind(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise UsageError(
                    f"setting {name!r} in {origin} is {value!r}", f"It must be a {kind.__name__}."
                ) from error
            if kind is Path:
                changed[name] = changed[name].expanduser().resolve()
            least, most = LIMITS.get(name, (-math.inf, math.inf))
            if (
                kind is not Path
                and not least <= (len(changed[name]) if kind is str else changed[name]) <= most
            ):
                raise UsageError(
                    f"setting {name!r} in {origin} is {value!r}", f"It must be {least:g} to {most:g}."
                )
        return replace(self, **changed)


def library_folder(name: str, data_dir: Path) -> Path:
    """A knowledge base by its folder, or by its bare name: under data/library, there already or not.

    A bare name also opens a knowledge base that is a folder of that name in the working directory.
    """
    place = Path(name).expanduser()
    is_name = is_bare(name) and not (place / "kb.sqlite").is_file()
    return data_dir / "library" / name if is_name else place.resolve()


def is_bare(name: str) -> bool:
    """Whether this names a knowledge base, and no folder: without a separator, and neither . nor .. nor ~."""
    return bool(name) and name != ".." and Path(name).expanduser().name == name


def library_name(kb: Path, data_dir: Path) -> str:
    """What `library_folder` knows a knowledge base by."""
    return kb.name if kb.parent == data_dir / "library" else str(kb)


def libraries(data_dir: Path) -> list[Path]:
    """The folders of the knowledge bases under data/library."""
    return sorted(file.parent for file in (data_dir / "library").glob("*/kb.sqlite"))


def saved(data_dir: Path) -> dict[str, Any]:
    """What data/settings.json holds; nothing if it is not there. Raises UsageError."""
    return _read_json(data_dir / _FILE)


def save(data_dir: Path, **values: str | float | None) -> None:
    """Put values into data/settings.json in one step; None takes one out, what else stands there stays.
    Raises UsageError, OSError."""
    kept = {name: value for name, value in {**saved(data_dir), **values}.items() if value is not None}
    text = json.dumps(kept, indent=2, ensure_ascii=False)
    data_dir.mkdir(parents=True, exist_ok=True)
    new = data_dir / f"{_FILE}.part"
    new.write_text(text + "\n", encoding="utf-8")
    if (data_dir / _FILE).exists():
        shutil.copymode(data_dir / _FILE, new)  # it may hold a key that others must not read
    new.replace(data_dir / _FILE)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {file}: {error}", "Mend the file, or delete it to start afresh."
        ) from error
    if not isinstance(values, dict):
        raise UsageError(
            f"{file} does not hold a JSON object", "Mend the file, or delete it to start afresh."
        )
    return values


def _environment() -> dict[str, Any]:
    names = {
        f"RAGKIT_{field.name.upper()}": field.name for field in fields(Settings) if field.name != "data_dir"
    }
    return {names[key]: value for key, value in os.environ.items() if key in names and value != ""}


class HubAccess(NamedTuple):
    """Which model hub the user's environment names, and whether it may be asked at all."""

    endpoint: str
    token: str | None
    offline: bool


def hub_access() -> HubAccess:
    """HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE, as the user set them."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return HubAccess(endpoint, os.environ.get("HF_TOKEN") or None, _OFFLINE)


def prepare_environment() -> None:
    """Set what gradio and the Hugging Face libraries read while they are imported; call it before."""
    # launch() calls its own server through httpx: with a proxy set that call would leave the machine.
    for name in ("NO_PROXY", "no_proxy"):
        listed = [host for host in os.environ.get(name, "").split(",") if host]
        listed += [host for host in ("localhost", "127.0.0.1", "::1") if host not in listed]
        os.environ[name] = ",".join(listed)
    # Nothing leaves this machine unasked: no analytics, no telemetry, no look-up at a hub.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # ragkit says itself how far things are


def prepare_process(data_dir: Path | None = None) -> Path:
    """`prepare_environment`, and a folder of this process's own for uploads, which is given back.

    The folders that dead processes left behind are removed.
    """
    prepare_environment()
    folder = (data_dir or default_data_dir()) / "tmp"
    shutil.rmtree(folder / str(os.getpid()), ignore_errors=True)  # of an earlier process of our number
    scratch = scratch_folder(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(scratch)
    return scratch


def scratch_folder(folder: Path) -> Path:
    """A folder of this process's own in `folder`; those of processes that are gone are removed."""
    import psutil

    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name.isdecimal() and not psutil.pid_exists(int(old.name)):
            shutil.rmtree(old, ignore_errors=True)
    scratch = folder / str(os.getpid())
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    return scratch
