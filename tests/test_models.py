from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragkit import models
from ragkit.errors import UsageError
from tests.hub import NAME, REVISION, tiny_model


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def in_cache(cache: Path, name: str, files: dict[str, bytes]) -> Path:
    """Lay files out as huggingface_hub documents its cache."""
    repository = cache / f"models--{name.replace('/', '--')}"
    write(repository / "refs", {"main": REVISION.encode()})
    return write(repository / "snapshots" / REVISION, files)


def test_the_catalogue_holds_the_default_and_smollm2_with_their_languages() -> None:
    default, smollm2 = models.find_known(models.DEFAULT), models.find_known(models.SMOLLM2)
    assert default and default.languages == ("zh", "en") and 3.7e9 < default.download_bytes < 3.9e9
    assert smollm2 and smollm2.languages == ("en",) and not smollm2.modelscope
    assert len({model.name for model in models.CATALOGUE}) == 6
    assert models.find_known("acme/other") is None


def test_a_whole_folder_is_found_by_its_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", tiny_model())
    assert models.find_local(str(folder), tmp_path / "data") == folder


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.model", "model-00002-of-00002.safetensors"])
def test_a_folder_without_a_needed_file_is_not_a_model(tmp_path: Path, lost: str) -> None:
    files = tiny_model()
    del files[lost]
    folder = write(tmp_path / "mine", files)
    assert models.missing(folder) == [lost]
    assert models.find_local(str(folder), tmp_path / "data") is None


def test_one_weight_file_needs_no_index_and_a_tokenizer_json_will_do(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b""})
    assert models.missing(folder) == []


def test_a_reranker_is_no_model_to_chat_with(tmp_path: Path) -> None:
    built = {"architectures": ["XLMRobertaForSequenceClassification"]}
    files = {"config.json": json.dumps(built).encode(), "tokenizer.json": b"{}", "model.safetensors": b""}
    folder = write(models.folder_of("BAAI/bge-reranker-v2-m3", tmp_path), files)
    assert models.find_local("BAAI/bge-reranker-v2-m3", tmp_path) == folder and models.reranks(folder)
    assert "BAAI/bge-reranker-v2-m3" not in {model.name for model in models.local_models(tmp_path)}


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"weight_map": 3}', b"\xff"])
def test_a_broken_index_counts_as_missing(tmp_path: Path, index: bytes) -> None:
    folder = write(tmp_path, tiny_model() | {"model.safetensors.index.json": index})
    assert models.missing(folder) == ["model.safetensors.index.json (readable)"]


def test_pickled_weights_are_not_a_model(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"x"})
    assert models.missing(folder) == ["model.safetensors"]


def test_one_gguf_is_a_model_and_two_are_a_riddle(tmp_path: Path) -> None:
    folder = write(tmp_path / "gguf", {"a.gguf": b"GGUF"})
    assert models.missing(folder) == [] and models.gguf_file(folder) == folder / "a.gguf"
    assert models.find_local(str(folder / "a.gguf"), tmp_path) == folder / "a.gguf"
    write(folder, {"b.gguf": b"GGUF"})
    assert models.missing(folder) and models.gguf_file(folder) is None


def test_safetensors_go_before_a_gguf_beside_them(tmp_path: Path) -> None:
    assert models.gguf_file(write(tmp_path, tiny_model() | {"a.gguf": b"GGUF"})) is None


def test_a_model_in_the_hub_cache_is_found_without_a_network(tmp_path: Path, cache: Path) -> None:
    snapshot = in_cache(cache, NAME, tiny_model())
    assert models.find_local(NAME, tmp_path, hub_cache=cache) == snapshot


def test_half_a_model_in_the_hub_cache_is_not_found(tmp_path: Path, cache: Path) -> None:
    files = tiny_model()
    del files["model-00001-of-00002.safetensors"]
    in_cache(cache, NAME, files)
    assert models.find_local(NAME, tmp_path, hub_cache=cache) is None


@pytest.mark.parametrize("name", ["/no/such/folder", "../..", "a/b/c", "no spaces allowed", "", "C:\\models"])
def test_what_is_no_name_is_not_found_and_no_error(
    tmp_path: Path, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert models.find_local(name, tmp_path / "data", hub_cache=cache) is None


def test_the_best_model_is_the_first_of_the_catalogue_that_fits(tmp_path: Path, cache: Path) -> None:
    write(models.folder_of(models.SMOLLM2, tmp_path), {"a.gguf": b"GGUF"})
    write(models.folder_of(NAME, tmp_path), tiny_model())
    in_cache(cache, models.DEFAULT, tiny_model())
    large = "internlm/internlm2_5-7b-chat"
    write(models.folder_of(large, tmp_path), tiny_model())
    write(tmp_path / "models" / "half--done.part", tiny_model())
    found = [model.name for model in models.local_models(tmp_path, hub_cache=cache)]
    assert found == [large, models.DEFAULT, NAME, models.SMOLLM2]
    best = models.best_local(tmp_path, hub_cache=cache)
    assert best and best.name == large and best.known and best.path == models.folder_of(large, tmp_path)
    small = models.best_local(tmp_path, fits=lambda model: model.name != large, hub_cache=cache)
    assert small and small.name == models.DEFAULT


def test_an_empty_machine_has_no_model(tmp_path: Path, cache: Path) -> None:
    assert models.best_local(tmp_path, hub_cache=cache) is None


def test_a_file_that_a_manifest_names_is_missed_by_its_size_and_found_damaged_by_its_hash(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, {"a.gguf": b"GGUF", "LICENSE": b"free"})
    sizes = {name: (folder / name).stat().st_size for name in ("a.gguf", "LICENSE")}
    records = {n: models.FileRecord(sizes[n], models.file_sha256(folder / n) or "") for n in sizes}
    models.Manifest(NAME, "test", REVISION, records).save(folder)
    assert models.missing(folder) == [] and models.damaged(folder) == []
    (folder / "a.gguf").write_bytes(b"GGUX")
    assert models.missing(folder) == [] and models.damaged(folder) == ["a.gguf"]
    (folder / "LICENSE").write_bytes(b"")
    assert models.missing(folder) == ["LICENSE"]


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": 1}}', json.dumps({"files": {}, "more": 1})])
def test_a_manifest_that_makes_no_sense_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / models.MANIFEST).write_text(text, encoding="utf-8")
    assert models.Manifest.load(tmp_path) is None


def test_only_what_was_downloaded_is_deleted_with_what_was_made_of_it(tmp_path: Path) -> None:
    data_dir, own = tmp_path / "data", tmp_path / "own-model"
    downloaded = models.folder_of("internlm/internlm2-chat-1_8b", data_dir)
    kept = data_dir / "models" / models.QUANTISED / f"{models.quantised_name(downloaded)}4bit"
    other = data_dir / "models" / models.QUANTISED / f"{downloaded.name}-sft-01234567-4bit"
    for folder in (downloaded, own, kept, other):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="own-model"):
        models.delete(own, data_dir)
    models.delete(downloaded, data_dir)
    assert own.is_dir()
    assert other.is_dir()
    assert not downloaded.exists()
    assert not kept.exists()
