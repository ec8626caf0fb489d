"""What a folder and this machine say, read without loading anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ragkit.errors import ModelError, UsageError
from ragkit.model_facts import device_facts, model_facts
from tests import tiny

HIDDEN, VOCAB = 64, 512


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.GOLDEN / "plain", tmp_path / "model"))


def test_shapes_sizes_and_dtypes_are_read_from_config_and_headers(folder):
    facts = model_facts(folder)
    assert (facts.name, facts.model_type) == ("model", "internlm2")
    assert (facts.layers, facts.kv_heads, facts.head_dim) == (2, 2, 8)
    assert (facts.hidden, facts.vocab, facts.max_positions) == (HIDDEN, VOCAB, 64)
    assert facts.bytes_by_dtype == (("F32", 4 * facts.parameters),)
    assert facts.disk_bytes == sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert [file.name for file in facts.weight_files] == sorted(f.name for f in folder.glob("*.safetensors"))


def test_embedding_and_output_do_not_count_as_matrices(folder):
    facts = model_facts(folder)
    norms = (2 * facts.layers + 1) * HIDDEN
    assert facts.parameters - facts.matrix_parameters == 2 * VOCAB * HIDDEN + norms
    assert facts.largest_parameters == VOCAB * HIDDEN


def test_a_single_file_without_an_index_is_read(tmp_path):
    facts = model_facts(tiny.llama(tmp_path / "llama"))
    assert facts.model_type == "llama" and len(facts.weight_files) == 1


def test_reading_a_folder_loads_no_torch(folder):
    code = (
        f"from ragkit.model_facts import model_facts; model_facts({str(folder)!r}); import sys; "
        "print('torch' in sys.modules)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("missing", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
def test_a_shard_that_is_missing_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        model_facts(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        model_facts(tmp_path / "nothing")


def test_a_folder_without_config_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        model_facts(tmp_path)


def test_a_folder_with_config_alone_has_no_weights(folder):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="no safetensors"):
        model_facts(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickles_are_refused(folder, name):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="pickles"):
        model_facts(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"", "not a complete safetensors"),
        (b"\xff" * 40, "not a complete safetensors"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "not a complete safetensors"),
    ],
    ids=["pointer", "empty", "noise", "list"],
)
def test_a_weight_file_that_is_none_is_refused(folder, content, said):
    (folder / "model-00001-of-00002.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        model_facts(folder)


def test_a_weight_file_that_is_cut_off_is_refused(folder):
    file = folder / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="100 bytes are missing"):
        model_facts(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_config_that_describes_no_model_is_refused(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json"):
        model_facts(folder)


def test_a_folder_that_another_method_quantised_is_refused(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"quantization_config": {"quant_method": "awq"}}
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="awq"):
        model_facts(folder)


def test_several_gguf_files_leave_the_choice_to_the_user(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"a\.gguf, b\.gguf"):
        model_facts(tmp_path)


def test_a_gguf_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF\x03\x00")
    with pytest.raises(ModelError, match="not a complete GGUF"):
        model_facts(tmp_path)


def test_the_cpu_is_described_by_the_memory_of_this_machine():
    facts = device_facts("cpu")
    assert (facts.kind, facts.device) == ("cpu", "cpu")
    assert facts.total_bytes == psutil.virtual_memory().total >= facts.free_bytes > 0
    assert facts.name


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="no CUDA device"):
        device_facts("cuda:99")


def test_an_unknown_device_is_a_usage_error():
    with pytest.raises(UsageError, match="'tpu'"):
        device_facts("tpu")
