"""Int8 embedding: asked for by name, never mixed with other vectors, and close to the model that it was made of.

What needs ONNX Runtime is skipped where it is not installed: it is an option.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model, XLMRobertaConfig, XLMRobertaModel

from ragkit import embedding, embedding_int8, embedding_model, embedding_onnx
from ragkit.config import REPOSITORY
from ragkit.embedding_int8 import PACKAGES, PREFIX, kept_file
from ragkit.embedding_records import BUNDLED, KNOWN, ModelRecord
from ragkit.errors import ModelError
from tests import tiny_embedding

lacks = embedding_int8.lacking()
needs_onnx = pytest.mark.skipif(bool(lacks), reason=f"not installed: {', '.join(lacks)}")

INT8 = replace(BUNDLED, backend="onnx-int8")
TEXTS = ["annual leave " * n + "is ten days" for n in (1, 90, 7, 300, 2, 30, 0)]


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(embedding_int8, "find_spec", lambda name: object() if name in names else None)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tiny_embedding.bert(tmp_path / "mine")
    tiny_embedding.sentence_files(folder, pooling="mean", dim=32)
    return folder


# ── The record ──


@pytest.mark.parametrize("record", [BUNDLED, replace(KNOWN[-1], revision="0123")])
def test_int8_vectors_are_kept_apart_from_those_of_the_model_itself(record: ModelRecord) -> None:
    """By `same_vectors` a library renames the vectors of an earlier ragkit: these two must not be taken for one."""
    int8 = replace(record, backend="onnx-int8")
    assert int8.key != record.key
    assert not int8.same_vectors(record.key) and not record.same_vectors(int8.key)
    assert int8.same_vectors(int8.key) and record.same_vectors(record.key)
    assert int8.label != record.label == record.name


def test_another_way_to_quantise_gives_another_record(monkeypatch: pytest.MonkeyPatch) -> None:
    before = INT8.key
    monkeypatch.setattr("ragkit.embedding_records.INT8_RECIPE", 2)
    assert before != INT8.key and not INT8.same_vectors(before)


# ── The packages ──


def test_without_the_packages_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(ModelError, match="onnxruntime, onnx, onnxscript") as caught:
        embedding.find("onnx-int8:auto", tmp_path)
    wanted = " ".join(f"{name}=={version}" for name, version in PACKAGES.items())
    assert f"{sys.executable} -m pip install {wanted}" in caught.value.hint
    assert embedding.find("auto", tmp_path)[1] == BUNDLED


@pytest.mark.parametrize("name", ["README.md", "README_zh-CN.md"])
def test_the_readmes_name_the_versions_that_the_error_does(name: str) -> None:
    wanted = "pip install " + " ".join(f"{name}=={version}" for name, version in PACKAGES.items())
    assert f"`{wanted}`" in (REPOSITORY / name).read_text(encoding="utf-8")


def test_once_the_file_is_made_only_the_runtime_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "onnxruntime")
    with pytest.raises(ModelError, match="not installed: onnx, onnxscript"):
        embedding.find("onnx-int8:auto", tmp_path)
    file = kept_file(embedding.bundled_folder(), BUNDLED, tmp_path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert embedding.find("onnx-int8:auto", tmp_path) == (embedding.bundled_folder(), INT8)
    installed(monkeypatch, "onnx", "onnxscript")
    with pytest.raises(ModelError, match="not installed: onnxruntime"):
        embedding.find("onnx-int8:auto", tmp_path)


def test_a_model_that_is_not_there_is_missed_before_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch)
    with pytest.raises(ModelError, match="no embedding model BAAI/bge-m3"):
        embedding.find("onnx-int8:BAAI/bge-m3", tmp_path)


# ── The process that makes the file ──


@pytest.fixture
def has_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, *PACKAGES)


def test_making_it_can_be_cancelled_at_any_time(tiny: Path, tmp_path: Path, has_packages: None) -> None:
    file = tmp_path / "int8.onnx"
    asked = iter([False, False, True])
    assert not embedding_int8.make(tiny, BUNDLED, file, cancelled=lambda: next(asked))
    assert not file.exists()


def test_what_is_wrong_with_a_model_is_told_by_the_process_that_finds_it(
    tiny: Path, tmp_path: Path, has_packages: None, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, record = embedding.find(str(tiny), tmp_path)
    with pytest.raises(ModelError, match=r"has dim 32, and its record .* says dim 384") as caught:
        embedding_int8.make(folder, replace(record, dim=384), tmp_path / "int8.onnx")
    assert "ragkit-embedding.json" in caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_a_process_that_dies_is_an_error_with_a_next_step(
    tiny: Path,
    tmp_path: Path,
    has_packages: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(embedding_int8, "asdict", lambda _: {})
    with pytest.raises(ModelError, match="ended with code 1") as caught:
        embedding_int8.make(tiny, BUNDLED, tmp_path / "int8.onnx")
    assert "without 'onnx-int8:'" in caught.value.hint
    assert "KeyError: 'languages'" in caplog.text


def test_the_process_ends_with_the_one_that_started_it(tiny: Path, tmp_path: Path) -> None:
    """It would go on for a minute after Ctrl+C, and nobody would have its file."""
    arguments = [str(tiny), json.dumps(asdict(BUNDLED)), str(tmp_path / "int8.onnx")]
    ended = subprocess.run(
        [sys.executable, "-m", "ragkit.embedding_export", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")


def test_preparing_makes_the_file_once_and_nothing_for_another_model(
    tiny: Path, tmp_path: Path, has_packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(folder: Path, record: ModelRecord, file: Path, *, cancelled: Callable[[], bool]) -> bool:
        if cancelled():
            return False
        made.append(file)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        return True

    monkeypatch.setattr(embedding_int8, "make", make)
    assert embedding.prepare(str(tiny), tmp_path) and not made
    assert not embedding.prepare(PREFIX + str(tiny), tmp_path, cancelled=lambda: True)
    assert embedding.prepare(PREFIX + str(tiny), tmp_path) and embedding.prepare(PREFIX + str(tiny), tmp_path)
    assert made == [kept_file(*embedding.find(str(tiny), tmp_path), tmp_path)]


# ── The file that is kept ──


def test_the_kept_file_goes_by_what_the_model_is_and_not_by_where_it_lies(tmp_path: Path) -> None:
    here = tiny_embedding.bert(tmp_path / "a" / "mine")
    there = tiny_embedding.bert(tmp_path / "b" / "other")
    record = replace(BUNDLED, name="me/mine", revision="0123")
    file = kept_file(here, record, tmp_path)
    assert kept_file(there, record, tmp_path) == file
    assert kept_file(here, replace(record, backend="onnx-int8"), tmp_path) == file
    assert kept_file(here, replace(record, revision="4567"), tmp_path) != file
    tiny_embedding.write(there, config={"hidden_size": 32, "num_attention_heads": 2})
    assert kept_file(there, record, tmp_path) != file
    assert file.parent == tmp_path / "models" / ".quantised"


def test_how_far_int8_moves_a_text_is_a_share_of_what_lies_between_texts() -> None:
    apart = np.eye(3, dtype=np.float32)
    assert embedding_onnx.moved(apart, apart) == 0
    assert embedding_onnx.moved(apart, np.roll(apart, 1, axis=0)) == pytest.approx(1)
    # Vectors that all point one way: little is much.
    near = np.array([[1, 0.1, 0], [1, 0, 0.1], [1, 0, 0]], np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    assert embedding_onnx.moved(near, np.roll(near, 1, axis=0)) == pytest.approx(1, abs=0.1)
    assert not embedding_onnx.moved(apart, apart * np.float32("nan")) <= embedding_onnx.MOST_MOVED


# ── With ONNX Runtime ──


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def int8(data_dir: Path) -> embedding.Embedder:
    return embedding.load("onnx-int8:auto", "cpu", data_dir)


@pytest.fixture(scope="module")
def whole() -> embedding.Embedder:
    return embedding.load("auto", "cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def kept(data_dir: Path) -> list[str]:
    return sorted(file.suffix for file in (data_dir / "models" / ".quantised").iterdir())


@needs_onnx
def test_int8_vectors_are_near_those_of_the_model(
    int8: embedding.Embedder, whole: embedding.Embedder, data_dir: Path
) -> None:
    assert int8.record == INT8 and int8.languages == ("en",)
    found = int8.embed(TEXTS)
    assert found.shape == (len(TEXTS), 384) and found.dtype == np.float32
    cosines = (found * whole.embed(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.98 and cosines.max() < 0.99999  # near, and really int8
    question = "How long is the annual leave?"
    assert int8.embed_query(question) @ whole.embed_query(question) > 0.97
    assert kept(data_dir) == [".onnx"]


@needs_onnx
def test_the_company_of_a_text_changes_its_int8_vector_little(int8: embedding.Embedder) -> None:
    """Activations are scaled by the largest of a batch, so that a neighbour is felt."""
    together = int8.embed(TEXTS)
    alone = np.stack([int8.embed([text])[0] for text in TEXTS])
    assert (together * alone).sum(axis=1).min() > 0.98


@needs_onnx
def test_the_kept_file_is_used_again(
    int8: embedding.Embedder, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = int8.embed(TEXTS)
    monkeypatch.delattr(embedding_int8, "make")
    again = embedding.load("onnx-int8:auto", "cpu", data_dir)
    assert again.embed(TEXTS) == pytest.approx(first, abs=1e-6)


@needs_onnx
def test_nothing_that_the_packages_say_is_on_the_terminal(tiny: Path, tmp_path: Path) -> None:
    """Deprecations of torch.onnx, rewrites of onnxscript, devices that onnxruntime looked for in vain."""
    code = f"from pathlib import Path; from ragkit import embedding; embedding.load({PREFIX + str(tiny)!r}, 'cpu', Path({str(tmp_path)!r})).embed(['a'])"
    ran = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], cwd=REPOSITORY, capture_output=True, check=True
    )
    said = (ran.stdout + ran.stderr).decode()
    assert "onnx" not in said


@needs_onnx
def test_a_kept_file_that_cannot_be_read_is_made_anew(tiny: Path, tmp_path: Path) -> None:
    where = PREFIX + str(tiny)
    folder, record = embedding.find(str(tiny), tmp_path)
    file = kept_file(folder, record, tmp_path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut off")
    embedder = embedding.load(where, "cpu", tmp_path)
    assert embedder.embed(["annual leave"]).shape == (1, 32)
    assert file.stat().st_size > 1000 and kept(tmp_path) == [".onnx"]


@needs_onnx
def test_a_model_that_int8_does_not_suit_is_refused_and_nothing_is_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_onnx, "MOST_MOVED", 0.0)
    folder, record = embedding.find(str(tiny), tmp_path)
    network = embedding_model.open_model(folder, record, "cpu").network
    with pytest.raises(ModelError, match="int8 does not suit") as caught:
        embedding_onnx.make(network, record, kept_file(folder, record, tmp_path))
    assert "without" in caught.value.hint and kept(tmp_path) == []


SHAPE = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@needs_onnx
@pytest.mark.parametrize(
    "build",
    [
        lambda: BertModel(BertConfig(**SHAPE)),
        lambda: XLMRobertaModel(XLMRobertaConfig(**SHAPE, max_position_embeddings=66)),
        lambda: Qwen3Model(Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=16)),
    ],
    ids=["bert", "xlm-roberta", "qwen3"],
)
def test_every_build_of_the_known_models_can_be_exported(build: object, tmp_path: Path) -> None:
    """At every length and padding, not just those of the example that it is traced with."""
    torch.manual_seed(0)
    transformer = build().eval()  # type: ignore[operator]
    embedding_onnx.export(transformer, tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    session = embedding_onnx.Session(tmp_path / "int8.onnx", transformer)
    for rows, tokens, padding in ((1, 1, ()), (1, 5, ()), (3, 21, ((1, slice(9, 21)), (2, slice(0, 4))))):
        ids = torch.randint(5, 100, (rows, tokens))
        mask = torch.ones_like(ids)
        for place in padding:
            mask[place], ids[place] = 0, 1
        with torch.no_grad():
            wanted = transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        found = session(input_ids=ids, attention_mask=mask, token_type_ids=None).last_hidden_state
        alike = torch.cosine_similarity(found, wanted, dim=-1)[mask == 1]
        assert alike.min() > 0.98
