"""LlamaIndex's HuggingFaceEmbedding as a record wants it. Imports torch: only `ragkit.embedding.load` gets here.

The class guesses instructions for names that it knows and blanks those that the model brought; its retries wait up
to 20 s when memory is short; it sorts by length within 10 texts only. None of it happens here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from llama_index.core.utils import infer_torch_device
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers.utils.logging import disable_progress_bar

from ragkit import embedding_int8
from ragkit.embedding_records import MODULES_FILE, ModelRecord, positions
from ragkit.errors import ModelError

logger = logging.getLogger(__name__)

_POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}  # as sentence-transformers calls them
QUERY, TEXT = "query", "text"  # the names of the two prompts


class SentenceModel(HuggingFaceEmbedding):  # type: ignore[misc]  # the package has no types
    """A sentence-transformers model on this machine whose prefixes, pooling and limits are its record's."""

    @property
    def network(self) -> SentenceTransformer:
        return cast("SentenceTransformer", self._model)

    def token_counts(self, texts: Sequence[str], prefix: str) -> list[int]:
        """How long every text is for the model: with its prefix and special tokens, cut off where it is."""
        limit = self.network.max_seq_length
        ids = self.network.tokenizer([prefix + text for text in texts], truncation=True, max_length=limit)
        return [len(row) for row in ids["input_ids"]]

    def vectors(self, texts: Sequence[str], prompt_name: str) -> NDArray[np.float32]:
        """Embed one batch: (len(texts), dim), not normalised by us."""
        return cast(
            "NDArray[np.float32]",
            self.network.encode(
                list(texts),
                prompt_name=prompt_name,
                batch_size=max(1, len(texts)),
                show_progress_bar=False,
                normalize_embeddings=self.normalize,
            ).astype(np.float32, copy=False),
        )

    def _embed(self, inputs: list[Any], prompt_name: str | None = None) -> list[list[float]]:
        """What LlamaIndex's own methods end in: without its retries, which only wait."""
        found: list[list[float]] = self.vectors(inputs, prompt_name or TEXT).tolist()
        return found


def open_model(folder: Path, record: ModelRecord, device: str, *, int8: Path | None = None) -> SentenceModel:
    """Load the model in `folder` and check it against its record. Raises ModelError, and what the libraries raise.

    With `int8`, the file that it is kept in so, it runs on the processor whatever the device. One that cannot be read
    is made anew.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # the page shows what is going on; a bar among the log lines does not
    place = infer_torch_device() if device == "auto" else device
    if int8 is not None:
        place = "cpu"
    settings: dict[str, object] = {"use_safetensors": True}
    if torch.device(place).type == "cpu":
        settings["dtype"] = torch.float32  # half precision has no fast kernels on most processors
    model = SentenceModel(
        # The full path: a name that the class knows would bring instructions of its own.
        model_name=str(folder.resolve()),
        query_instruction=record.query_prefix,
        text_instruction=record.text_prefix,
        normalize=record.normalise,
        device=place,
        trust_remote_code=False,
        local_files_only=True,
        model_kwargs=settings,
    )
    network = model.network
    # Set again, whatever the class made of empty ones.
    network.prompts = {QUERY: record.query_prefix, TEXT: record.text_prefix}
    network.default_prompt_name = None
    if not (folder / MODULES_FILE).is_file():
        network[1] = Pooling(record.dim, _POOLING[record.pooling]).to(place)  # the library guessed one
    check(network, folder, record)
    network.tokenizer.padding_side = record.padding
    network.max_seq_length = record.max_tokens
    model.max_length = record.max_tokens
    if int8 is not None:
        from ragkit import embedding_onnx

        try:
            embedding_onnx.take_over(network, int8)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime has a class for each of a dozen causes
            logger.warning("%s cannot be read, and is made anew: %s", int8, error)
            embedding_int8.make(folder, record, int8)
            embedding_onnx.take_over(network, int8)
    return model


def check(network: SentenceTransformer, folder: Path, record: ModelRecord) -> None:
    """Raise ModelError for a loaded model that is built otherwise than its record says."""
    pools = [module for module in network if isinstance(module, Pooling)]
    found = {
        "pooling": " + ".join(str(pool.pooling_mode) for pool in pools),
        "dim": network.get_embedding_dimension(),
    }
    wanted = {"pooling": _POOLING[record.pooling], "dim": record.dim}
    if wrong := [what for what in wanted if found[what] != wanted[what]]:
        raise ModelError(
            f"the model in {folder} has {', '.join(f'{what} {found[what]}' for what in wrong)}, and its record "
            f"{record.name} says {', '.join(f'{what} {wanted[what]}' for what in wrong)}",
            "Correct ragkit-embedding.json in its folder, or download the model again.",
        )
    if record.max_tokens > (most := positions(folder)):
        raise ModelError(
            f"the model in {folder} reads {most} tokens, and its record {record.name} says {record.max_tokens}",
            f"Set max_tokens to {most} or less in ragkit-embedding.json in its folder.",
        )
