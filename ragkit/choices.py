"""What can answer on this machine, and whether each fits it at each precision. Loads and downloads nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from ragkit import embedding_int8, embedding_records, models, profiles
from ragkit.config import Settings
from ragkit.embedding_records import BUNDLED, KNOWN, ModelRecord
from ragkit.errors import ModelError, RagkitError
from ragkit.known_facts import known_facts
from ragkit.load_plan import (
    DeviceFacts,
    LoadPlan,
    ModelFacts,
    Precision,
    best_fitting,
    plan_first,
    plan_load,
)
from ragkit.profiles import Profile
from ragkit.schema import QUOTES

SERVER = "server"
Wanted = Precision | Literal["auto"]
WANTED: tuple[Wanted, ...] = ("auto", *get_args(Precision))

_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits this machine at one precision.

    `plan` is how it would be loaded; with "short" what it would take, and `instead` a precision that fits.
    """

    state: Literal["fits", "short", "impossible"]
    plan: LoadPlan | None = None
    free_bytes: int = 0
    instead: LoadPlan | None = None
    cause: str = ""  # of "impossible"


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that answers, or would once it was downloaded. `id` is all that the browser knows of it."""

    id: str
    profile: Profile
    here: bool = True
    size_bytes: int = 0  # of its files, or of the download
    licence: str = ""
    fits: Mapping[Wanted, Fit] | None = None  # of a model in this process
    own: bool = False  # downloaded by ragkit, which may delete it
    unfinished_bytes: int | None = None  # what has come of a download that did not end


@dataclass(frozen=True, slots=True)
class Survey:
    """The whole list, and the devices that it was made for."""

    choices: tuple[Choice, ...]
    devices: tuple[DeviceFacts, ...]

    def find(self, choice_id: str) -> Choice | None:
        return next((choice for choice in self.choices if choice.id == choice_id), None)


def survey(settings: Settings, released: Mapping[str, int]) -> Survey:
    """List what there is: quotes, the server, the models here, the known ones that are not. Imports torch.

    `released` is the memory that would be free, by device, because the model in use would go.
    """
    machine: list[DeviceFacts] = []
    try:
        machine = profiles.devices(settings, released)
        problem = ""
    except RagkitError as error:  # a device that is not there
        problem = error.message
    choices = [Choice(QUOTES, profiles.QUOTES_PROFILE)]
    if settings.llm:
        name = settings.model or urlsplit(settings.llm).netloc or settings.llm
        choices.append(Choice(SERVER, Profile("server", name, url=settings.llm)))
    choices += [
        replace(
            _local(profile, machine, problem),
            own=models.is_download(profile.path or Path(), settings.data_dir),
        )
        for profile in _profiles_here(settings)
    ]
    names = {choice.profile.name for choice in choices}
    begun = {
        part.name: part.size_bytes
        for part in models.unfinished(settings.data_dir)
        if not embedding_records.searches(part.name, part.folder)
    }
    for known in models.CATALOGUE:
        if known.name not in names:
            facts = known_facts(known.name)
            choices.append(
                Choice(
                    _id(known.name),
                    profiles.local(known.name, None),
                    here=False,
                    size_bytes=known.download_bytes,
                    licence=known.licence,
                    fits=_fits(facts, machine, problem) if facts else None,
                    unfinished_bytes=begun.pop(known.name, None),
                )
            )
    choices += [
        Choice(_id(name), profiles.local(name, None), here=False, unfinished_bytes=size)
        for name, size in begun.items()
        if name not in names
    ]
    return Survey(tuple(choices), tuple(machine))


@dataclass(frozen=True, slots=True)
class EmbeddingChoice:
    """An embedding model, or none. `where` is what the settings say of it; `record` is None for "off", and where
    `problem` says why it cannot be used. `install` is the command that brings what it needs."""

    where: str
    record: ModelRecord | None = None
    here: bool = True
    size_bytes: int = 0  # about, of a download
    problem: str = ""
    install: str = ""
    unfinished_bytes: int | None = None  # what has come of a download that did not end

    @property
    def usable(self) -> bool:
        return self.here and not self.problem and not self.install

    @property
    def id(self) -> str:
        return _id(self.where)


# About, by the number of their parameters.
_EMBEDDING_BYTES = {
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": 471_000_000,
    "intfloat/multilingual-e5-small": 471_000_000,
    "BAAI/bge-small-zh-v1.5": 96_000_000,
    "BAAI/bge-m3": 2_271_000_000,
    "Qwen/Qwen3-Embedding-0.6B": 1_192_000_000,
}


def embeddings(settings: Settings) -> list[EmbeddingChoice]:
    """The embedding models on this machine, those that could be fetched, and none. Imports no torch."""
    known = [record.name for record in KNOWN if record != BUNDLED]
    own = [
        embedding_records.folder_name(one)
        for one in models.downloads(settings.data_dir)
        if models.embeds(one)
    ]
    begun = {
        part.name: part.size_bytes
        for part in models.unfinished(settings.data_dir)
        if embedding_records.searches(part.name, part.folder)
    }
    chosen = settings.embedding.removeprefix(embedding_int8.PREFIX)
    named = [] if chosen in ("auto", "off", *known) else [chosen]
    listed = [EmbeddingChoice("auto", BUNDLED), EmbeddingChoice("off")]
    named = list(dict.fromkeys([*named, *own, *known, *begun]))
    listed += [_embedding(name, settings, begun.get(name)) for name in named]
    install = embedding_int8.command() if embedding_int8.lacking() else ""
    return [either for choice in listed for either in (choice, *_int8(choice, install))]


def _int8(choice: EmbeddingChoice, install: str) -> list[EmbeddingChoice]:
    """A model on this machine in int8."""
    if not choice.here or choice.record is None:
        return []
    record = replace(choice.record, backend="onnx-int8")
    return [EmbeddingChoice(embedding_int8.PREFIX + choice.where, record, install=install)]


def _embedding(name: str, settings: Settings, begun: int | None) -> EmbeddingChoice:
    place = models.find_local(name, settings.data_dir)
    if place is None:
        record, size = embedding_records.find_known(name), _EMBEDDING_BYTES.get(name, 0)
        return EmbeddingChoice(name, record, here=False, size_bytes=size, unfinished_bytes=begun)
    try:
        return EmbeddingChoice(name, embedding_records.record_of(place, name))
    except ModelError as error:
        return EmbeddingChoice(name, problem=error.message)


def fit(model: ModelFacts, devices: Sequence[DeviceFacts], wanted: Wanted, *, quantiser: bool) -> Fit:
    """Whether a model fits the first device that it can; what it lacks is told for the first of all."""
    first = devices[0]
    try:
        plan = plan_first(model, devices, wanted, quantiser=quantiser)
    except ModelError as error:
        needed = _endless(model, first, wanted, quantiser)
        if needed is None:
            return Fit("impossible", cause=error.message)
        others = (best_fitting(model, device, quantiser=quantiser) for device in devices)
        instead = next(filter(None, others), None)
        return Fit("short", needed, first.free_bytes, instead)
    free = next(device.free_bytes for device in devices if device.device == plan.device)
    return Fit("fits", plan, free)


def _endless(model: ModelFacts, device: DeviceFacts, wanted: Wanted, quantiser: bool) -> LoadPlan | None:
    """The plan if memory were not the question; 'auto' ends at 4bit where there is little."""
    device = replace(device, free_bytes=_UNLIMITED)
    for precision in ("4bit", "auto") if wanted == "auto" else (wanted,):
        try:
            return plan_load(model, device, precision, quantiser=quantiser)
        except ModelError:
            continue
    return None


def _profiles_here(settings: Settings) -> Iterator[Profile]:
    """The model that the settings name by its folder, and those in the usual places."""
    seen: set[Path] = set()
    if settings.model and settings.model != QUOTES and not settings.llm:
        named = models.find_local(settings.model, settings.data_dir)
        if named and all(named != model.path for model in models.local_models(settings.data_dir)):
            seen.add(named.resolve())
            yield profiles.local(settings.model, named)
    for model in models.local_models(settings.data_dir):
        if model.path.resolve() not in seen:
            yield profiles.local(model.name, model.path)


def _local(profile: Profile, machine: Sequence[DeviceFacts], problem: str) -> Choice:
    from ragkit.model_facts import model_facts

    assert profile.path is not None
    id = _id(str(profile.path))
    try:
        facts = model_facts(profile.path)
    except RagkitError as error:
        broken = Fit("impossible", cause=error.message)
        return Choice(id, profile, fits=dict.fromkeys(WANTED, broken))
    return Choice(id, profile, size_bytes=facts.disk_bytes, fits=_fits(facts, machine, problem))


def _fits(facts: ModelFacts, machine: Sequence[DeviceFacts], problem: str) -> dict[Wanted, Fit]:
    from ragkit.model_facts import has_quantiser

    if problem:
        return dict.fromkeys(WANTED, Fit("impossible", cause=problem))
    return {wanted: fit(facts, machine, wanted, quantiser=has_quantiser()) for wanted in WANTED}


def _id(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
