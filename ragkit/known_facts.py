"""The figures of the models that are known by name, from their config.json: what they need, before a file is here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ragkit import models
from ragkit.load_plan import INTERNLM2_1_8B, ModelFacts


def _internlm2(name: str, width: int, layers: int, heads: int, feed_forward: int) -> ModelFacts:
    """The figures of a larger InternLM2, from its config.json; the vocabulary is the same in all."""
    matrices = width * (heads + 16) * 128 + width * width + 3 * width * feed_forward
    vocab = INTERNLM2_1_8B.vocab * width
    parameters = layers * (matrices + 2 * width) + 2 * vocab + width
    return replace(
        INTERNLM2_1_8B,
        name=name,
        folder=Path(name),
        parameters=parameters,
        matrix_parameters=layers * matrices,
        largest_parameters=vocab,
        bytes_by_dtype=(("BF16", 2 * parameters),),
        disk_bytes=2 * parameters,
        layers=layers,
        hidden=width,
    )


_SMOLLM2 = replace(
    INTERNLM2_1_8B,
    name=models.SMOLLM2,
    folder=Path(models.SMOLLM2),
    model_type="llama",
    parameters=134_515_008,  # embedding and output are one
    matrix_parameters=106_168_320,
    largest_parameters=49_152 * 576,
    bytes_by_dtype=(("GGUF", 98_362_432),),
    disk_bytes=98_362_432,  # the download is a little less: it comes packed
    layers=30,
    kv_heads=3,
    head_dim=64,
    hidden=576,
    vocab=49_152,
    max_positions=8192,
    gguf="SmolLM2-135M-Instruct.gguf",
)
KNOWN: tuple[ModelFacts, ...] = (
    _internlm2("internlm2-chat-20b", 6144, 48, 48, 16_384),
    _internlm2("internlm2_5-7b-chat", 4096, 32, 32, 14_336),
    _internlm2("internlm2-chat-7b", 4096, 32, 32, 14_336),
    replace(INTERNLM2_1_8B, name="internlm2_5-1_8b-chat"),
    INTERNLM2_1_8B,
    _SMOLLM2,
)


def known_facts(name: str) -> ModelFacts | None:
    """The figures of a model of the catalogue: "internlm/internlm2-chat-7b"."""
    return next((facts for facts in KNOWN if facts.name == name.rpartition("/")[2]), None)
