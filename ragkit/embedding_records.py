"""What makes a vector what it is: the records of embedding models, known ones and those that a folder tells.

Reads small JSON files only: no weights are opened here, and nothing is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from ragkit import models
from ragkit.errors import ModelError
from ragkit.schema import Language

Pooling = Literal["mean", "cls", "last"]
Padding = Literal["right", "left"]
Backend = Literal["torch", "onnx-int8"]

RECORD_FILE: Final = "ragkit-embedding.json"
MODULES_FILE: Final = "modules.json"
INT8_RECIPE: Final = 1  # another way to quantise gives other vectors


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Everything that makes a vector what it is. Vectors of different records never meet."""

    name: str
    revision: str  # of the weights: the first 16 digits of their sha256
    query_prefix: str = ""
    text_prefix: str = ""
    normalise: bool = True  # to length 1; False for a model that was made for the dot product
    dim: int = 0  # 0, and "" below: not known, as of a model that the caller made
    max_tokens: int = 0  # prefix and special tokens included; the rest of a text is cut off
    pooling: Pooling | Literal[""] = ""
    padding: Padding | Literal[""] = ""
    languages: tuple[Language, ...] = ()  # that it was made for; no part of the key
    licence: str = ""  # no part of the key
    backend: Backend = "torch"  # int8 vectors are near those of torch, and not the same

    @property
    def multilingual(self) -> bool:
        """Knows Chinese as well as English: its scores weigh more in the fusion."""
        return set(self.languages) >= {"zh", "en"}

    @property
    def label(self) -> str:
        """The name to show."""
        return self.name if self.backend == "torch" else f"{self.name} (int8)"

    @property
    def key(self) -> str:
        """The record as one line, which vectors are stored under."""
        values: dict[str, object] = {
            "name": self.name,
            "revision": self.revision,
            "query_prefix": self.query_prefix,
            "text_prefix": self.text_prefix,
            "normalise": self.normalise,
        }
        if self == BUNDLED or not self.pooling:
            # The form of the first ragkit, under which libraries hold their vectors already.
            values["multilingual"] = False
        else:
            values |= {
                "dim": self.dim,
                "max_tokens": self.max_tokens,
                "pooling": self.pooling,
                "padding": self.padding,
            }
        if self.backend != "torch":
            values["backend"] = self._backend
        return json.dumps(values, ensure_ascii=False, sort_keys=True)

    @property
    def _backend(self) -> str:
        return self.backend if self.backend == "torch" else f"{self.backend} {INT8_RECIPE}"

    def is_kind_of(self, key: str) -> bool:
        """Whether `key` is this record's, of whatever weights: to tell it they would have to be read."""
        try:
            revision = json.loads(key)["revision"]
        except (ValueError, KeyError, TypeError):
            return False
        return replace(self, revision=revision).key == key

    def same_vectors(self, old_key: str) -> bool:
        """Whether vectors stored under `old_key` are those of this record, by the same weights and prefixes.

        The first ragkit named a folder's model by the folder alone, and did not write the pooling down: it took
        the one in the folder, which is the one that a record is checked against. What is known of both is equal.
        """
        try:
            old = json.loads(old_key)
        except ValueError:
            return False
        if not isinstance(old, dict) or not self.revision:
            return old_key == self.key
        mine = asdict(self)
        known = {"revision", "query_prefix", "text_prefix", "normalise", "dim", "max_tokens", "pooling"}
        same = all(old[field] == mine[field] for field in known & set(old))
        same = same and old.get("backend", "torch") == self._backend
        return same and {"revision", "query_prefix", "text_prefix", "normalise"} <= set(old)


BUNDLED: Final = ModelRecord(
    "sentence-transformers/all-MiniLM-L6-v2",
    revision="53aa51172d142c89",
    dim=384,
    max_tokens=256,
    pooling="mean",
    padding="right",
    languages=("en",),
    licence="Apache-2.0",
)

# As their model cards and sentence-transformers files say; the revision is filled in from the weights here.
KNOWN: Final[tuple[ModelRecord, ...]] = (
    BUNDLED,
    ModelRecord(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        revision="",
        dim=384,
        max_tokens=128,  # too few for most passages: what the tutorial takes, not what to choose
        pooling="mean",
        padding="right",
        languages=("zh", "en"),
        licence="Apache-2.0",
    ),
    ModelRecord(
        "intfloat/multilingual-e5-small",
        revision="",
        query_prefix="query: ",
        text_prefix="passage: ",
        dim=384,
        max_tokens=512,
        pooling="mean",
        padding="right",
        languages=("zh", "en"),
        licence="MIT",
    ),
    ModelRecord(
        "BAAI/bge-small-zh-v1.5",
        revision="",
        query_prefix="为这个句子生成表示以用于检索相关文章：",
        dim=512,
        max_tokens=512,
        pooling="cls",
        padding="right",
        languages=("zh",),
        licence="MIT",
    ),
    ModelRecord(
        "BAAI/bge-m3",
        revision="",
        dim=1024,
        max_tokens=8192,
        pooling="cls",
        padding="right",
        languages=("zh", "en"),
        licence="MIT",
    ),
    ModelRecord(
        "Qwen/Qwen3-Embedding-0.6B",
        revision="",
        # No blank after "Query:": so it was trained.
        query_prefix="Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        dim=1024,
        max_tokens=32_768,
        pooling="last",
        padding="left",
        languages=("zh", "en"),
        licence="Apache-2.0",
    ),
)

_POOLINGS: Final[dict[str, Pooling]] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
# Before sentence-transformers 5.
_POOLING_FLAGS: Final = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_QUERY_PROMPTS, _TEXT_PROMPTS = ("query",), ("document", "passage", "corpus", "text")
_MODULES = {"Transformer", "Pooling", "Normalize"}
# Families that are trained with prefixes, and whose older files do not name them.
_NEEDS_PREFIXES = re.compile(r"(^|[-_.])(e5|instruct|instructor|nomic)([-_.]|$)", re.I)


def find_known(name: str) -> ModelRecord | None:
    """Find a known model by its name on a hub, or by the last part of it, in whatever case."""
    wanted = name.lower().replace("--", "/").removeprefix("models/")
    return next(
        (r for r in KNOWN if wanted in (r.name.lower(), r.name.lower().partition("/")[2])),
        None,
    )


def record_of(folder: Path, name: str = "") -> ModelRecord:
    """Give the record of the model in `folder`, without its revision; `name` is what it was asked for by.

    From ragkit-embedding.json; else the known model of that name; else from the model's own
    sentence-transformers files. Raises ModelError for a folder that does not say how it is to be used.
    """
    if (folder / RECORD_FILE).is_file():
        return _explicit(folder)
    own = _own(folder)
    if known := _known(folder, name):
        _agree(folder, known, own)
        return known
    if own is None:
        raise _unsaid(folder, f"{folder} does not say how its tokens become one vector")
    if _NEEDS_PREFIXES.search(folder_name(folder)) and not own.query_prefix + own.text_prefix:
        raise _unsaid(folder, f"{folder} names no prefixes, and models of its family are trained with some")
    return own


def searches(name: str, folder: Path) -> bool:
    """Whether a model searches and cannot answer, by its files, or by its name where they have not come yet."""
    named = find_known(name) is not None or "rerank" in name.lower()
    return named or models.embeds(folder) or models.reranks(folder)


def folder_name(folder: Path) -> str:
    """The model's name by its place: OWNER/NAME in data/models and in the hub's cache, else the folder's."""
    if manifest := models.Manifest.load(folder):
        return manifest.name
    cached = folder.parent.parent.name
    if folder.parent.name == "snapshots" and cached.startswith("models--"):
        return cached.removeprefix("models--").replace("--", "/", 1)
    return folder.name.replace("--", "/", 1)


def config(folder: Path) -> dict[str, Any]:
    """The transformer's config.json. Raises ModelError."""
    return _object(folder / "config.json")


def _known(folder: Path, name: str) -> ModelRecord | None:
    return find_known(name) or find_known(folder_name(folder))


def _agree(folder: Path, known: ModelRecord, own: ModelRecord | None) -> None:
    """Refuse a folder that has a known model's name and says another thing of itself."""
    told = {"dim": own.dim, "pooling": own.pooling} if own else {}
    size = config(folder).get("hidden_size")
    told |= {"dim": size} if isinstance(size, int) else {}
    expected: dict[str, object] = {"dim": known.dim, "pooling": known.pooling}
    if wrong := [what for what in told if told[what] != expected[what]]:
        says = ", ".join(f"{what} {told[what]}" for what in wrong)
        record = ", ".join(f"{what} {expected[what]}" for what in wrong)
        raise ModelError(
            f"{folder} is not {known.name}: its files say {says}, the model of that name has {record}",
            f"Rename the folder if it is another model, or download it: python -m ragkit download {known.name}",
        )


def _explicit(folder: Path) -> ModelRecord:
    file = folder / RECORD_FILE
    values = _object(file)
    kinds: dict[str, type] = {
        "name": str,
        "query_prefix": str,
        "text_prefix": str,
        "normalise": bool,
        "dim": int,
        "max_tokens": int,
        "pooling": str,
        "padding": str,
        "languages": list,
        "licence": str,
    }
    wrong = [n for n, v in values.items() if type(v) is not kinds.get(n)]
    wrong += [n for n in ("dim", "max_tokens", "pooling") if n not in values]
    wrong += [n for n in ("dim", "max_tokens") if n in values and n not in wrong and values[n] < 1]
    wrong += ["pooling"] if values.get("pooling") not in (*get_args(Pooling), None) else []
    wrong += ["padding"] if values.get("padding") not in (*get_args(Padding), None) else []
    wrong += ["languages"] if not set(map(str, values.get("languages") or ())) <= {"zh", "en"} else []
    if wrong:
        raise _unsaid(folder, f"{file} does not make sense: {', '.join(sorted(set(wrong)))}")
    values["languages"] = tuple(values.get("languages", ()))
    return ModelRecord(
        **({"name": folder_name(folder), "padding": "right"} | values | {"revision": ""}),
    )


def _own(folder: Path) -> ModelRecord | None:
    """Read the files that sentence-transformers wrote; None where there are none."""
    if not (folder / MODULES_FILE).is_file():
        return None
    modules = _read(folder / MODULES_FILE)
    entries = modules if isinstance(modules, list) else []
    places: dict[str, str] = {
        str(entry.get("type", "")).rpartition(".")[2]: str(entry.get("path", ""))
        for entry in entries
        if isinstance(entry, dict)
    }
    foreign = [
        str(e.get("type")) for e in entries if not str(e.get("type")).startswith("sentence_transformers.")
    ]
    if foreign or not {"Transformer", "Pooling"} <= set(places) <= _MODULES:
        raise ModelError(
            f"{folder} is built of {', '.join(foreign or places) or 'nothing'}",
            "ragkit runs Transformer, Pooling and Normalize of sentence-transformers, and no code that a model "
            "brings. Choose another model.",
        )
    settings = _optional(folder / "config_sentence_transformers.json")
    prompts = cast("Mapping[str, str]", settings.get("prompts") or {})
    default = str(prompts.get(str(settings.get("default_prompt_name")), "") or "")
    return ModelRecord(
        folder_name(folder),
        revision="",
        query_prefix=_prompt(prompts, _QUERY_PROMPTS, default),
        text_prefix=_prompt(prompts, _TEXT_PROMPTS, default),
        normalise="Normalize" in places or settings.get("similarity_fn_name") not in ("dot", "dot_score"),
        dim=int(config(folder).get("hidden_size") or 0),
        max_tokens=_limit(folder, places["Transformer"]),
        pooling=_pooling(folder, folder / places["Pooling"] / "config.json"),
        padding=_padding(folder),
    )


def _prompt(prompts: Mapping[str, str], names: tuple[str, ...], default: str) -> str:
    return next((str(prompts[name] or "") for name in names if name in prompts), default)


def _pooling(folder: Path, file: Path) -> Pooling:
    told = _object(file)
    modes = told.get("pooling_mode") or [m for flag, m in _POOLING_FLAGS.items() if told.get(flag)]
    named = [modes] if isinstance(modes, str) else list(modes or ["mean"])
    if len(named) != 1 or named[0] not in _POOLINGS or told.get("include_prompt") is False:
        without = "" if told.get("include_prompt", True) else " without the prompt"
        raise ModelError(
            f"{folder} pools by {' + '.join(map(str, named))}{without}",
            f"ragkit knows {', '.join(get_args(Pooling))}, prompt included. Choose another model.",
        )
    return _POOLINGS[named[0]]


def _padding(folder: Path) -> Padding:
    side = _optional(folder / "tokenizer_config.json").get("padding_side")
    return "left" if side == "left" else "right"


def positions(folder: Path) -> int:
    """How many tokens the model has positions for (RoBERTa's begin at 2)."""
    told = config(folder)
    most = int(told.get("max_position_embeddings") or 512)
    return most - 2 if "roberta" in str(told.get("model_type")) else most


def _limit(folder: Path, transformer: str) -> int:
    """Where sentence-transformers cuts a text off: by its own file, else the tokenizer's, else the positions."""
    told = (
        _optional(folder / transformer / "sentence_bert_config.json").get("max_seq_length"),
        _optional(folder / "tokenizer_config.json").get("model_max_length"),
    )
    most = positions(folder)
    return min(most, int(next((limit for limit in told if limit), most)))


def _unsaid(folder: Path, message: str) -> ModelError:
    hidden = _optional(folder / "config.json").get("hidden_size") or 384
    example = ModelRecord(
        folder_name(folder), "", "query: ", "passage: ", True, int(hidden), 512, "mean", "right"
    )
    shown = asdict(replace(example, languages=("zh", "en")))
    text = json.dumps(
        {k: v for k, v in shown.items() if k not in ("revision", "licence", "backend")}, ensure_ascii=False
    )
    return ModelError(
        message,
        f"Write {folder / RECORD_FILE} with what its model card says "
        f"(pooling: {', '.join(get_args(Pooling))}; prefixes may be empty): {text}",
    )


def _read(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read {file}: {error}", "Download all files of the model again, or mend this one."
        ) from error


def _object(file: Path) -> dict[str, Any]:
    values = _read(file)
    if not isinstance(values, dict):
        raise ModelError(f"{file} does not hold a JSON object", "Download all files of the model again.")
    return values


def _optional(file: Path) -> dict[str, Any]:
    return _object(file) if file.is_file() else {}
