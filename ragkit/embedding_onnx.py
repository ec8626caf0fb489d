"""An embedding model's transformer in int8, run by ONNX Runtime: made once of the weights here, then kept.

`take_over` is for the process that embeds, `make` for the one of `ragkit.embedding_export`. Tokenizer, prefixes, pooling and limits stay those of sentence-transformers. Imports torch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers.modeling_outputs import BaseModelOutput

from ragkit.embedding_records import ModelRecord
from ragkit.errors import ModelError

INPUTS: Final = ["input_ids", "attention_mask"]
OUTPUT: Final = "last_hidden_state"
# How far int8 may move a text, as a share of what lies between two unrelated ones. MiniLM: 0.01. Some models have a
# few large activations that 8 bits cannot hold beside the small ones; their vectors mean little afterwards.
MOST_MOVED: Final = 0.1
PROBES: Final = (
    "The warranty of the pump ends after two years.",
    "Trains to the coast leave every hour from the second platform, and the first of them at six in the morning.",
    "水泵的保修期为两年，请妥善保管发票。",
    "食堂在二楼，周一至周五中午开放，晚上不供应饭菜。",
    "def mean(values): return sum(values) / len(values)",
    "2026-11-25 14:07 ERROR 4711 connection refused",
)


class Session(torch.nn.Module):
    """Stands where the transformer stood: (batch, tokens) in, states of (batch, tokens, dim) out."""

    device = torch.device("cpu")

    def __init__(self, file: Path, transformer: Any) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.config = transformer.config

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: object) -> BaseModelOutput:
        given = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        states = self._session.run([OUTPUT], given)[0]
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


class _States(torch.nn.Module):
    """The transformer with the two inputs that a text needs, and nothing but its last states."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        found = self.transformer(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return cast("torch.Tensor", found.last_hidden_state)


def take_over(network: SentenceTransformer, file: Path) -> None:
    """Let int8 run in place of the network's own transformer, from `file`. Raises what ONNX Runtime raises."""
    network[0].model = Session(file, network[0].model)


def make(network: SentenceTransformer, record: ModelRecord, file: Path) -> float:
    """Make `file` of the network, and tell how far int8 moves a text.

    Raises ModelError for a model that int8 does not suit, and what the libraries raise.
    """
    transformer = network[0].model
    file.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that the last step is a rename: what bears the name is whole, and was tried.
    with tempfile.TemporaryDirectory(prefix=f".{file.stem}.", dir=file.parent) as scratch:
        made = Path(scratch, "int8.onnx")
        export(transformer, Path(scratch, "fp32.onnx"), made)
        before = _vectors(network)
        network[0].model = Session(made, transformer)
        share = moved(before, _vectors(network))
        network[0].model = transformer  # lets the file go: Windows renames none that is open
        if not share <= MOST_MOVED:  # also where it is no number
            raise ModelError(
                f"int8 does not suit {record.name}: it moves a text by {share:.0%} of what lies between two "
                f"texts, and {MOST_MOVED:.0%} is the most",
                "Choose the model without 'onnx-int8:' in front.",
            )
        made.replace(file)
    return share


def export(transformer: Any, whole: Path, made: Path) -> None:
    """Write the transformer as ONNX to `whole`, and in int8 to `made`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    caches = getattr(transformer.config, "use_cache", None)
    transformer.config.use_cache = False  # a decoder would give its cache back as well
    ids = torch.ones((2, 8), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        torch.onnx.export(
            _States(transformer).eval(),
            (ids, mask),
            str(whole),
            input_names=INPUTS,
            output_names=[OUTPUT],
            dynamic_shapes=dict.fromkeys(INPUTS, free),
            dynamo=True,
            external_data=True,  # one file may hold 2 GB
            verbose=False,
        )
    finally:
        if caches is not None:
            transformer.config.use_cache = caches
    # A scale for each column: with one for a whole matrix MiniLM's cosine falls from 0.991 to 0.926. Seven bits of
    # the eight: without VNNI, sums of eight would saturate, and a library's vectors depend on the processor.
    quantize_dynamic(whole, made, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def moved(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How far vectors of length 1, (n, dim), moved on average, over how far they lie from each other."""
    alike = before @ before.T
    apart = 1 - alike[~np.eye(len(before), dtype=bool)].mean()
    return float((1 - (before * after).sum(axis=1)).mean() / max(apart, 1e-6))


def _vectors(network: SentenceTransformer) -> NDArray[np.float32]:
    return cast(
        "NDArray[np.float32]",
        network.encode(list(PROBES), prompt="", normalize_embeddings=True, show_progress_bar=False),
    )
