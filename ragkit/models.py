"""The chat models that ragkit knows by name, and those that lie on this machine already.

Looks at folders only: nothing is loaded here, and nothing is fetched (download.py does that).
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ragkit.errors import ModelError, UsageError
from ragkit.schema import Language

QUANTISED = ".quantised"  # beside the downloads: what was made of them
_PART = ".part"  # the end of a folder's name until its download is whole
MANIFEST = "ragkit.json"  # what a download brought, written last
_SENTENCE_MODULES = "modules.json"  # what sentence-transformers builds an embedding model from
_INDEX = "model.safetensors.index.json"
_TOKENIZERS = (("tokenizer.model",), ("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that can be offered by name. Any other id of a hub (OWNER/NAME) is taken as well."""

    name: str
    download_bytes: int  # about
    licence: str
    languages: tuple[Language, ...]
    modelscope: str = ""  # its id there


_INTERNLM = "code Apache-2.0; weights open for research, commercial use free on application (see model card)"


def _internlm(name: str, parameters: float) -> KnownModel:
    return KnownModel(
        name=f"internlm/{name}",
        download_bytes=round(parameters * 2),  # bf16
        licence=_INTERNLM,
        languages=("zh", "en"),
        modelscope=f"Shanghai_AI_Laboratory/{name}",
    )


DEFAULT = "internlm/internlm2-chat-1_8b"
SMOLLM2 = "smollm2-135m"
# Best first, as `best_local` tries them: by generation within a size. Parameters counted from the configs.
CATALOGUE = (
    _internlm("internlm2-chat-20b", 19.86e9),
    _internlm("internlm2_5-7b-chat", 7.74e9),
    _internlm("internlm2-chat-7b", 7.74e9),
    _internlm("internlm2_5-1_8b-chat", 1.89e9),
    _internlm("internlm2-chat-1_8b", 1.89e9),
    KnownModel(name=SMOLLM2, download_bytes=92_871_040, licence="Apache-2.0", languages=("en",)),
)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A whole model on this machine."""

    name: str
    path: Path  # a folder, or one .gguf file

    @property
    def known(self) -> KnownModel | None:
        return find_known(self.name)


@dataclass(frozen=True, slots=True)
class FileRecord:
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a download brought: from where, and the hash of every file."""

    name: str
    source: str
    revision: str
    files: dict[str, FileRecord]

    def save(self, folder: Path) -> None:
        new = folder / f"{MANIFEST}.part"
        new.write_text(json.dumps(asdict(self), indent=2, sort_keys=True), encoding="utf-8")
        new.replace(folder / MANIFEST)

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """Read a folder's manifest; None where there is none, or one that makes no sense."""
        try:
            values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files = {str(name): FileRecord(**record) for name, record in values.pop("files").items()}
            return cls(**values, files=files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def find_known(name: str) -> KnownModel | None:
    return next((model for model in CATALOGUE if model.name == name), None)


def folder_of(name: str, data_dir: Path) -> Path:
    """Name the folder that a download of this model goes to."""
    return data_dir / "models" / name.replace("/", "--")


def part_of(folder: Path) -> Path:
    """Name the folder where a download lies until it is whole."""
    return folder.with_name(f"{folder.name}{_PART}")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A download that did not end; the next one of this name goes on from what has come."""

    name: str
    folder: Path
    size_bytes: int


def unfinished(data_dir: Path) -> list[Unfinished]:
    """The downloads that did not end."""
    return [
        Unfinished(folder.name.removesuffix(_PART).replace("--", "/", 1), folder, bytes_in(folder))
        for folder in _download_folders(data_dir)
        if folder.name.endswith(_PART)
    ]


def downloads(data_dir: Path) -> list[Path]:
    """The folders that bear a model's name where downloads go, whole or not."""
    return [folder for folder in _download_folders(data_dir) if not folder.name.endswith(_PART)]


def _download_folders(data_dir: Path) -> list[Path]:
    """Without locks, which are files, and what was made of models or is being deleted."""
    return sorted(folder for folder in (data_dir / "models").glob("*/") if not folder.name.startswith("."))


def bytes_in(folder: Path) -> int:
    """How much a folder holds, with those in it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def find_local(name_or_path: str, data_dir: Path, *, hub_cache: Path | None = None) -> Path | None:
    """Find a whole model: a folder or .gguf file, one that was downloaded, or one in the hub's cache."""
    place = Path(name_or_path).expanduser()
    return _by_name(name_or_path, data_dir, hub_cache) if missing(place) else place


def local_models(data_dir: Path, *, hub_cache: Path | None = None) -> Iterator[LocalModel]:
    """Give the chat models on this machine, best first: InternLM2, what else was downloaded, SmolLM2."""
    names = [model.name for model in CATALOGUE if model.name != SMOLLM2]
    names += [folder.name.replace("--", "/", 1) for folder in downloads(data_dir)]
    for name in dict.fromkeys([*(name for name in names if name != SMOLLM2), SMOLLM2]):
        if (found := _by_name(name, data_dir, hub_cache)) and not (embeds(found) or reranks(found)):
            yield LocalModel(name, found)


def best_local(
    data_dir: Path, *, fits: Callable[[LocalModel], bool] = lambda _: True, hub_cache: Path | None = None
) -> LocalModel | None:
    """Give the best model that needs no download and that `fits` this machine."""
    return next((model for model in local_models(data_dir, hub_cache=hub_cache) if fits(model)), None)


def quantised_name(model: Path) -> str:
    """What the names of everything begin with that was made of a model: two of one name in two places have two."""
    place = hashlib.blake2b(str(model.resolve()).encode(), digest_size=4).hexdigest()
    return f"{model.name}-{place}-"


def is_download(place: Path, data_dir: Path) -> bool:
    """Whether a model lies where downloads go, so that ragkit may delete it."""
    return place.is_dir() and place.resolve().parent == (data_dir / "models").resolve()


def delete(folder: Path, data_dir: Path) -> None:
    """Delete a model that was downloaded, and what was made of it. Raises UsageError, ModelError."""
    if not is_download(folder, data_dir):
        raise UsageError(f"{folder} was not downloaded by ragkit.", "Delete it yourself.")
    made = f"{glob.escape(quantised_name(folder))}*"
    gone = folder.with_name(f".gone-{folder.name}")
    try:
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)  # in one step: a crash leaves no half of a model
        shutil.rmtree(gone)
    except OSError as error:
        raise ModelError(f"{folder} cannot be deleted: {error.strerror}", "Close what uses it.") from error
    for kept in (data_dir / "models" / QUANTISED).glob(made):
        shutil.rmtree(kept, ignore_errors=True)


def embeds(folder: Path) -> bool:
    """Whether a folder holds an embedding model, which cannot chat."""
    return (folder / _SENTENCE_MODULES).is_file()


def reranks(folder: Path) -> bool:
    """Whether a folder holds a model that gives scores, as rerankers do, and cannot chat."""
    try:
        built = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
        return any(str(name).endswith("ForSequenceClassification") for name in built)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def gguf_file(where: Path) -> Path | None:
    """Give the GGUF that the weights are read from; None for a folder of safetensors."""
    if where.suffix == ".gguf" and where.is_file():
        return where
    found = list(where.glob("*.gguf")) if where.is_dir() else []
    return found[0] if len(found) == 1 and not any(where.glob("*.safetensors")) else None


def missing(where: Path) -> list[str]:
    """List what a model needs and `where` does not have; nothing if it is whole (by names and sizes)."""
    if gguf_file(where):
        needed: list[str] = []
    elif where.is_dir():
        needed = ["config.json", *_shards(where)]
        if not any(all((where / file).is_file() for file in files) for files in _TOKENIZERS):
            needed.append("tokenizer.model")
    else:
        return [where.name]
    absent = {name for name in needed if not (where / name).is_file()}
    if manifest := Manifest.load(where):
        absent |= {name for name, file in manifest.files.items() if _size(where / name) != file.size_bytes}
    return sorted(absent)


def damaged(folder: Path) -> list[str]:
    """Hash every file of a downloaded model and list those that differ from its manifest."""
    manifest = Manifest.load(folder)
    files = manifest.files if manifest else {}
    return [name for name, file in files.items() if file_sha256(folder / name) != file.sha256]


def file_sha256(file: Path) -> str | None:
    """Hash a file; None if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _shards(folder: Path) -> list[str]:
    """Name the weight files: those of the index, else the only one."""
    try:
        return sorted(
            {str(name) for name in json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()}
        )
    except FileNotFoundError:
        return ["model.safetensors"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [f"{_INDEX} (readable)"]


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _by_name(name: str, data_dir: Path, hub_cache: Path | None) -> Path | None:
    folder = folder_of(name, data_dir)
    return _in_hub_cache(name, hub_cache) if missing(folder) else folder


def _in_hub_cache(name: str, cache: Path | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", cache_dir=cache)
    except HFValidationError:  # a path, not the name of a repository
        return None
    snapshot = Path(config).parent if isinstance(config, str) else None
    return snapshot if snapshot and not missing(snapshot) else None
