"""The model that comes with pip, in numpy: for the few texts of a command, which is over before torch is imported.

Importing torch, transformers and sentence-transformers takes a command many times as long as a question takes the
model. The vectors are those of `ragkit.embedding_model` but for the last digits; many texts are its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from ragkit.embedding_records import ModelRecord

Array = NDArray[np.float32]

# As its config.json says; the sha256 of its weights is checked, so that they are the ones that this fits.
LAYERS: Final = 6
HEADS: Final = 12
_EPSILON: Final = 1e-12


class PlainModel:
    """As much of a LlamaIndex embedding model as `ragkit.embedding.Embedder` asks for."""

    def __init__(self, folder: Path, record: ModelRecord) -> None:
        self._weights: dict[str, Array] = load_file(folder / "model.safetensors")
        self._record = record
        self._read = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._read.no_padding()
        self._read.enable_truncation(record.max_tokens)
        self.tokenizer = _Words(folder)

    def get_query_embedding(self, question: str) -> Array:
        return self._vector(self._record.query_prefix + question)

    def get_text_embedding_batch(self, texts: Sequence[str]) -> list[Array]:
        return [self._vector(self._record.text_prefix + text) for text in texts]

    def _vector(self, text: str) -> Array:
        """The mean of the last states; its length is the Embedder's business."""
        states = self._states(np.array(self._read.encode(text).ids))
        return np.asarray(states.mean(axis=0), np.float32)

    def _states(self, ids: NDArray[np.int64]) -> Array:  # (tokens, dim)
        weights = self._weights
        x = weights["embeddings.word_embeddings.weight"][ids]
        x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}"
            seen = self._linear(
                f"{layer}.attention.output.dense", self._attention(f"{layer}.attention.self", x)
            )
            x = self._norm(f"{layer}.attention.output.LayerNorm", seen + x)
            wide = _gelu(self._linear(f"{layer}.intermediate.dense", x))
            x = self._norm(f"{layer}.output.LayerNorm", self._linear(f"{layer}.output.dense", wide) + x)
        return x

    def _attention(self, name: str, x: Array) -> Array:
        query, key, value = (
            self._linear(f"{name}.{part}", x).reshape(len(x), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )  # each (heads, tokens, width of a head)
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.asarray((shares @ value).transpose(1, 0, 2).reshape(x.shape))

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, name: str, x: Array) -> Array:
        apart = x - x.mean(axis=-1, keepdims=True)
        apart /= np.sqrt((apart * apart).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        return np.asarray(apart * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])


class _Words:
    """The tokenizer as `Embedder.unknown_share` asks it: texts whole."""

    def __init__(self, folder: Path) -> None:
        self._words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._words.no_truncation()
        self._words.no_padding()
        self.unk_token_id: int | None = self._words.token_to_id("[UNK]")

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        found: Any = self._words.encode(text, add_special_tokens=add_special_tokens)
        return list(found.ids)


def _gelu(x: Array) -> Array:
    return np.asarray(x * (np.float32(0.5) * (1 + _erf(x / np.float32(np.sqrt(2))))))


def _erf(x: Array) -> Array:
    """The error function, which numpy lacks: Abramowitz and Stegun 7.1.26, exact to 1.5e-7."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    tail = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + np.float32(factor)) * t
    return np.asarray(np.sign(x) * (1 - tail * np.exp(-x * x)))
