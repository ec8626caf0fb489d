"""The doctor's look at the embedding model: how it is used, one real embedding, and whether its vectors make sense."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ragkit import embedding, embedding_int8
from ragkit.config import Settings
from ragkit.doctor.report import Check, check
from ragkit.doctor.text_embedding import LANGUAGES, NOTHING
from ragkit.embedding import SAMPLES, UNKNOWN_LIMIT, Embedder, ModelRecord
from ragkit.schema import Language

# A question that the sample answers, and a passage that answers another one.
_QUESTIONS: dict[Language, tuple[str, str]] = {
    "zh": ("水泵保修多久？", "食堂在二楼，周一至周五中午开放。"),
    "en": (
        "How long is the pump under warranty?",
        "The canteen on the second floor opens at noon from Monday to Friday.",
    ),
}


def embedder(settings: Settings) -> Iterator[Check]:
    """Check the embedding model in use; one that is not here or is not as it should be raises ModelError."""
    where = settings.embedding
    if where == "off":
        yield check("embedding.run", "embedding_off")
        return
    folder, record = embedding.find(where, settings.data_dir)
    if replace(record, backend="torch") == embedding.BUNDLED:
        yield check("embedding.files", "embedding_files", folder=str(folder))
    yield check(
        "embedding.record",
        "embedding_record",
        name=record.name,
        folder=str(folder),
        licence=record.licence,
        dimensions=record.dim,
        pooling=record.pooling,
        padding=record.padding,
        max_tokens=record.max_tokens,
        query_prefix=repr(record.query_prefix) if record.query_prefix else NOTHING,
        text_prefix=repr(record.text_prefix) if record.text_prefix else NOTHING,
    )
    started = time.monotonic()
    model = embedding.load(where, settings.device, settings.data_dir)
    vectors = model.embed(list(SAMPLES.values()))  # (2, dim)
    alike = float(vectors[0] @ vectors[1])
    yield check(
        "embedding.run",
        "embedding_ok" if alike < 0.999 else "embedding_wrong",
        model=record.label,
        dimensions=vectors.shape[1],
        seconds=round(time.monotonic() - started, 2),
        unknown_en=round(model.unknown_shares["en"], 3),
        unknown_zh=round(model.unknown_shares["zh"], 3),
    )
    yield _int8(where, folder, record, settings)
    for language in SAMPLES:
        yield sense(model, language)


def _int8(where: str, folder: Path, record: ModelRecord, settings: Settings) -> Check:
    """Whether the model runs in int8, which is an option, and how that is switched on."""
    if record.backend == "onnx-int8":
        file = embedding_int8.kept_file(folder, record, settings.data_dir)
        return check("embedding.int8", "embedding_int8", version=version("onnxruntime"), file=str(file))
    if embedding_int8.lacking():
        return check("embedding.int8", "embedding_int8_missing", command=embedding_int8.command())
    return check("embedding.int8", "embedding_int8_off", where=embedding_int8.PREFIX + where)


def sense(model: Embedder, language: Language) -> Check:
    """Whether a question lies nearer to its answer than to another passage, in a language that the model knows."""
    id, record = f"embedding.sense_{language}", model.record
    facts: dict[str, Any] = {
        "language": LANGUAGES[language],
        "model": record.name,
        "name": record.name,
    }
    named, share = language in record.languages, model.unknown_shares[language]
    if share > UNKNOWN_LIMIT and named:
        return check(id, "embedding_words", share=round(share, 3), **facts)
    if share > UNKNOWN_LIMIT or (record.languages and not named):
        return check(id, "embedding_other_language", **facts)
    question, distractor = _QUESTIONS[language]
    vector = model.embed_query(question)
    answer, other = (float(vector @ passage) for passage in model.embed([SAMPLES[language], distractor]))
    found = "embedding_sense" if answer > other else "embedding_no_sense" if named else "embedding_doubtful"
    return check(id, found, answer=round(answer, 3), other=round(other, 3), **facts)
