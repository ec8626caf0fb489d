"""InternLM2 on transformers' Llama against the logits and tokens of the original code (transformers 4.41.1, fp32)."""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaModel, PreTrainedModel

from ragkit.errors import ModelError
from ragkit.internlm2 import (
    InternLM2Config,
    InternLM2ForCausalLM,
    MergeGroupedQKV,
    SplitGroupedQKV,
    export_llama,
    load_model,
    register,
    save,
    save_llama,
)
from ragkit.internlm2_tokenizer import load_tokenizer, stop_ids
from tests import tiny
from tests.tiny import GOLDEN

CHECKPOINTS = ["plain", "dynamic", "linear", "bias"]
ATTENTION = ["eager", "sdpa"]
ORIGINAL_LENGTH = 64  # max_position_embeddings of all four
TOLERANCE = 1e-4  # logits up to 10; the largest difference measured is 3.4e-5 (linear, 100 tokens)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def reference() -> Any:
    with np.load(GOLDEN / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, str], PreTrainedModel]:
    return {
        (name, attention): load_model(GOLDEN / name, attn_implementation=attention)
        for name in CHECKPOINTS
        for attention in ATTENTION
    }


@pytest.fixture(params=[(name, attention) for name in CHECKPOINTS for attention in ATTENTION], ids="-".join)
def case(request, models, reference) -> Iterator[tuple[PreTrainedModel, dict[str, torch.Tensor]]]:
    """One model and its reference arrays, without the model's name in their keys."""
    name = request.param[0]
    prefix = f"{name}."
    yield (
        models[request.param],
        {key.removeprefix(prefix): value for key, value in reference.items() if key.startswith(prefix)},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole InternLM2 folder: dynamic rope, and the tokenizer."""
    return tiny.golden(tmp_path / "model", "dynamic")


# Equality with the original


@pytest.mark.parametrize("length", [40, 100])
def test_logits_equal_the_original(case, length):
    model, expected = case
    logits = _logits(model, expected[f"{length}.input_ids"])
    assert _difference(logits, expected[f"{length}.logits"]) < TOLERANCE


@pytest.mark.parametrize("length", [40, 100])
def test_greedy_tokens_equal_the_original(case, length):
    """40 + 40 tokens cross the original length of 64 while generating; 100 begin above it."""
    model, expected = case
    tokens = _greedy(model, expected[f"{length}.input_ids"], n_new=40)
    assert torch.equal(tokens, expected[f"{length}.greedy"])


def test_logits_of_a_padded_batch_equal_the_original(case):
    model, expected = case
    mask = expected["padded.attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = _logits(model, expected["padded.input_ids"], attention_mask=mask, position_ids=positions)
    real = mask.bool()
    assert _difference(logits[real], expected["padded.logits"][real]) < TOLERANCE


def test_greedy_tokens_of_a_padded_batch_equal_the_original(case):
    model, expected = case
    mask = expected["padded.attention_mask"]
    tokens = _greedy(model, expected["padded.input_ids"], n_new=30, attention_mask=mask)
    assert torch.equal(tokens, expected["padded.greedy"])


# Dynamic rope


@pytest.mark.parametrize("length", [40, ORIGINAL_LENGTH, ORIGINAL_LENGTH + 1, 80])
def test_a_long_prompt_does_not_change_the_next_shorter_one(models, reference, length):
    """Llama of transformers 5.23 answers 64 to 99 tokens differently after 100: it keeps the longest's frequencies."""
    model = models["dynamic", "sdpa"]
    long = reference["dynamic.100.input_ids"]
    before = _logits(load_model(GOLDEN / "dynamic"), long[:, :length])
    _logits(model, long)
    assert torch.equal(_logits(model, long[:, :length]), before)


def test_a_long_answer_does_not_change_the_next_short_one(models, reference):
    model = models["dynamic", "sdpa"]
    for length in (100, 40):
        tokens = _greedy(model, reference[f"dynamic.{length}.input_ids"], n_new=40)
        assert torch.equal(tokens, reference[f"dynamic.{length}.greedy"])


def test_dynamic_rope_differs_from_none_only_above_the_original_length(models, reference):
    """The two checkpoints have the same weights, so this is what the golden cases above would catch."""
    ids = reference["dynamic.100.input_ids"]
    plain, dynamic = models["plain", "sdpa"], models["dynamic", "sdpa"]
    below, above = ids[:, :ORIGINAL_LENGTH], ids[:, : ORIGINAL_LENGTH + 1]
    assert torch.equal(_logits(plain, below), _logits(dynamic, below))
    assert _difference(_logits(plain, above), _logits(dynamic, above)) > TOLERANCE


# Loading


def test_auto_model_loads_transformers_own_llama(folder):
    register()
    register()  # again: nothing breaks
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is InternLM2ForCausalLM
    assert type(model.model) is LlamaModel


def test_the_pinned_eager_attention_is_dropped(folder):
    assert json.loads((folder / "config.json").read_text())["attn_implementation"] == "eager"
    assert load_model(folder).config._attn_implementation == "sdpa"


def test_a_callers_own_attention_is_kept(folder):
    assert load_model(folder, attn_implementation="eager").config._attn_implementation == "eager"


def test_a_config_without_bias_means_bias():
    """configuration_internlm2.py has bias=True; LlamaConfig has False."""
    assert InternLM2Config().attention_bias
    assert not InternLM2Config(bias=False).attention_bias


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": False}, {"trust_remote_code": True}], ids=str)
def test_the_folders_own_code_is_never_run(folder, monkeypatch, options):
    marker = folder.parent / "was-run"
    for module in ("configuration_internlm2", "modeling_internlm2", "tokenization_internlm2_fast"):
        (folder / f"{module}.py").write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="utf-8")
    assert "modeling_internlm2" in (folder / "config.json").read_text()

    def ask(prompt: object = "") -> str:
        raise AssertionError(f"asked on stdin: {prompt}")

    monkeypatch.setattr(builtins, "input", ask)
    register()
    AutoConfig.from_pretrained(folder, **options)
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    load_tokenizer(folder)
    save(model, folder.parent / "saved")
    assert not marker.exists()
    assert not list((folder.parent / "saved").glob("*.py"))
    assert "auto_map" not in (folder.parent / "saved" / "config.json").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: _shard(folder).unlink(),
        lambda folder: _shard(folder).write_bytes(_shard(folder).read_bytes()[:-1000]),
        lambda folder: _shard(folder).write_text("version https://git-lfs.github.com/spec/v1\n"),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: _edit_config(folder, num_hidden_layers=3),
        lambda folder: _edit_config(folder, num_key_value_heads=4),
    ],
    ids=["no shard", "cut shard", "lfs pointer", "cut config", "no config", "too few layers", "other heads"],
)
def test_a_folder_that_is_not_whole_is_refused(folder, damage):
    """transformers only warns about missing layers and fills them with random numbers."""
    damage(folder)
    with pytest.raises(ModelError, match=str(folder)) as caught:
        load_model(folder)
    assert "download all files" in caught.value.hint


# The fused weights


def test_wqkv_is_split_by_kv_head():
    """2 kv heads, 3 query heads each, head size 2; each row holds its own number."""
    config = InternLM2Config(hidden_size=12, num_attention_heads=6, num_key_value_heads=2)
    names = ["q", "k", "v"]
    fused = torch.arange(20.0)[:, None].expand(20, 12)
    parts = SplitGroupedQKV().convert({"wqkv": [fused]}, ["wqkv"], names, config=config)
    assert parts["q"][0][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    assert parts["k"][0][:, 0].tolist() == [6, 7, 16, 17]
    assert parts["v"][0][:, 0].tolist() == [8, 9, 18, 19]
    merged = MergeGroupedQKV().convert(parts, names, ["wqkv"], config=config)
    assert torch.equal(merged["wqkv"][0], fused)


# Saving


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_save_writes_every_tensor_back_byte_for_byte(tmp_path, name, dtype):
    source = Path(shutil.copytree(GOLDEN / name, tmp_path / "source"))
    for shard in source.glob("*.safetensors"):
        save_file({key: value.to(dtype) for key, value in load_file(shard).items()}, shard, {"format": "pt"})
    save(load_model(source, dtype=dtype), tmp_path / "saved")
    assert _raw_tensors(tmp_path / "saved") == _raw_tensors(source)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_save_writes_the_config_keys_that_the_original_code_reads(tmp_path, name):
    save(load_model(GOLDEN / name), tmp_path / "saved")
    original = json.loads((GOLDEN / name / "config.json").read_text())
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    for key in ("auto_map", "attn_implementation", "transformers_version"):
        del original[key]
    assert {key: saved.get(key, "absent") for key in original} == original


def test_a_saved_model_loads_again_with_the_same_logits(tmp_path, models, reference):
    model, ids = models["linear", "sdpa"], reference["linear.100.input_ids"]
    save(model, tmp_path / "saved")
    assert torch.equal(_logits(load_model(tmp_path / "saved"), ids), _logits(model, ids))


def test_save_refuses_a_quantised_model(tmp_path):
    model = load_model(GOLDEN / "plain")
    model.hf_quantizer = object()
    with pytest.raises(ModelError, match="quantised") as caught:
        save(model, tmp_path / "saved")
    assert "save_llama" in caught.value.hint


def test_save_never_writes_into_a_folder_in_use(tmp_path):
    """Saving over the folder that the weights are still mapped from would destroy both."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="not an empty folder"):
        save(load_model(GOLDEN / "plain"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interrupted_export_leaves_nothing(tmp_path):
    class FullDisk:
        def __getattr__(self, name: str) -> Any:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_llama(load_model(GOLDEN / "plain"), FullDisk(), tmp_path / "llama")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# Export

_READ_WITHOUT_RAGKIT = """
import json, sys
import numpy as np, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
strings = json.load(sys.stdin)["strings"]
for folder, length in zip(sys.argv[1::2], sys.argv[2::2]):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model((torch.arange(int(length)) % 500)[None]).logits
    np.save(f"{folder}.npy", logits)
    chat = [{"role": "user", "content": "你好"}]
    facts = {
        "class": type(model).__module__ + "." + type(model).__name__,
        "stops": model.generation_config.eos_token_id,
        "ids": tokenizer(strings).input_ids,
        "chat": tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True),
        "padding": tokenizer.padding_side,
        "ragkit": any(name.startswith("ragkit") for name in sys.modules),
    }
    json.dump(facts, open(f"{folder}.json", "w"))
"""


def test_an_exported_folder_is_read_by_transformers_alone(tmp_path):
    golden = json.loads((GOLDEN / "tokenizer_reference.json").read_text(encoding="utf-8"))
    lengths = {"dynamic": 100, "bias": 40}
    for name in lengths:
        source = tiny.golden(tmp_path / f"internlm2-{name}", name)
        export_llama(source, tmp_path / name)
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        assert "chat_template" in (tmp_path / name / "tokenizer_config.json").read_text(encoding="utf-8")
    arguments = [part for name, length in lengths.items() for part in (str(tmp_path / name), str(length))]
    subprocess.run(
        [sys.executable, "-I", "-c", _READ_WITHOUT_RAGKIT, *arguments],
        input=json.dumps({"strings": golden["strings"]}),
        encoding="utf-8",
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    for name, length in lengths.items():
        facts = json.loads((tmp_path / f"{name}.json").read_text())
        assert facts == {
            "class": "transformers.models.llama.modeling_llama.LlamaForCausalLM",
            "stops": stop_ids(load_tokenizer(GOLDEN / "tokenizer")),
            "ids": golden["input_ids"],
            "chat": golden["chat_text"][0],
            "padding": "left",
            "ragkit": False,
        }
        expected = _logits(load_model(GOLDEN / name), (torch.arange(length) % 500)[None])
        assert _difference(torch.from_numpy(np.load(tmp_path / f"{name}.npy")), expected) < 1e-6


# Helpers


def _logits(model: Any, ids: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(ids, **inputs).logits


def _greedy(
    model: Any, ids: torch.Tensor, *, n_new: int, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    mask = torch.ones_like(ids) if attention_mask is None else attention_mask
    return model.generate(
        ids, attention_mask=mask, max_new_tokens=n_new, do_sample=False, eos_token_id=None, pad_token_id=2
    )


def _difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max())


def _raw_tensors(folder: Path) -> dict[str, tuple[torch.dtype, list[int], bytes]]:
    """Return what the files of a checkpoint hold: name -> type, shape, bytes."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no dict
                tensor = file.get_tensor(name)
                raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
                found[name] = (tensor.dtype, list(tensor.shape), raw)
    return found


def _shard(folder: Path) -> Path:
    return folder / "model-00002-of-00002.safetensors"


def _edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
