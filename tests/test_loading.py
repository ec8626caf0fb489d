"""Folders into memory: every precision, the quantised weights that are kept, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from ragkit.errors import ModelError
from ragkit.internlm2 import InternLM2ForCausalLM, load_model, save_llama
from ragkit.internlm2_tokenizer import load_tokenizer
from ragkit.load_plan import plan_load
from ragkit.loading import load_parts
from ragkit.model_facts import device_facts, model_facts
from tests import tiny

PROMPT = torch.arange(3, 23)[None]


@pytest.fixture(scope="module")
def internlm2(tmp_path_factory) -> Path:
    return tiny.internlm2(tmp_path_factory.mktemp("a") / "internlm2")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("b") / "llama")


@pytest.fixture
def own(tmp_path) -> Path:
    """A Llama folder that the test may spoil."""
    return tiny.llama(tmp_path / "llama")


def _load(folder: Path, precision: str = "fp32", **options):
    facts = model_facts(folder)
    return load_parts(facts, plan_load(facts, device_facts("cpu"), precision), **options)


def _greedy(model) -> list[int]:
    tokens = model.generate(
        PROMPT, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True
    )
    return tokens[0, PROMPT.shape[1] :].tolist()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_dtype_is_the_plans(internlm2, llama, precision, dtype):
    for folder in (internlm2, llama):
        model, _ = _load(folder, precision)
        assert {weight.dtype for weight in model.parameters()} == {dtype}


def test_internlm2_comes_by_our_loader_and_others_by_transformers(internlm2, llama):
    assert type(_load(internlm2)[0]) is InternLM2ForCausalLM
    assert type(_load(llama)[0]) is LlamaForCausalLM


def test_every_token_that_ends_a_turn_is_in_the_generation_config(internlm2, own):
    assert _load(internlm2)[0].generation_config.eos_token_id == [2, 1508]
    file = own / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": [3, 5]}), encoding="utf-8")
    assert _load(own)[0].generation_config.eos_token_id == [3, 5, 258]


def test_progress_is_told_and_may_end_the_loading(llama):
    told: list[tuple[str, float]] = []
    _load(llama, progress=lambda stage, done: told.append((stage, done)))
    weights = [done for stage, done in told if stage == "weights"]
    assert weights == sorted(weights) and weights[0] == 0 and weights[-1] == 1 and len(weights) > 3
    assert told[-1] == ("warm_up", 1.0)

    class Cancelled(Exception):
        pass

    def cancel(stage: str, done: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled) as caught:
        _load(llama, progress=cancel)
    assert caught.value.__cause__ is None


# Quantised by bitsandbytes


@pytest.fixture
def bitsandbytes():
    return pytest.importorskip("bitsandbytes")


def test_quantised_weights_are_kept_and_read_again(bitsandbytes, internlm2, llama, tmp_path):
    for folder in (internlm2, llama):
        stages: list[str] = []
        first, _ = _load(
            folder, "8bit", cache_dir=tmp_path, progress=lambda stage, _, s=stages: s.append(stage)
        )
        assert {"quantise", "save"} <= set(stages) and "weights" not in stages
        stages.clear()
        again, _ = _load(
            folder, "8bit", cache_dir=tmp_path, progress=lambda stage, _, s=stages: s.append(stage)
        )
        assert "weights" in stages and not {"quantise", "save"} & set(stages)
        for model in (first, again):
            assert "Linear8bitLt" in {type(module).__name__ for module in model.modules()}
        assert _greedy(first) == _greedy(again)
        assert again.generation_config.eos_token_id == first.generation_config.eos_token_id


def test_a_changed_model_replaces_the_weights_that_were_kept(bitsandbytes, tmp_path):
    folder, kept = tiny.internlm2(tmp_path / "m"), tmp_path / "kept"
    before = _greedy(_load(folder, "8bit", cache_dir=kept)[0])
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    tiny.internlm2(folder, seed=5)
    after = _greedy(_load(folder, "8bit", cache_dir=kept)[0])
    assert before != after and after == _greedy(_load(folder, "8bit")[0])
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "source.json"])
def test_kept_weights_that_are_damaged_are_made_anew(bitsandbytes, internlm2, tmp_path, caplog, damage):
    expected = _greedy(_load(internlm2, "8bit", cache_dir=tmp_path)[0])
    (file,) = tmp_path.glob(f"*/{damage}")
    file.write_bytes(file.read_bytes()[:-20])
    assert _greedy(_load(internlm2, "8bit", cache_dir=tmp_path)[0]) == expected
    stages: list[str] = []
    _load(internlm2, "8bit", cache_dir=tmp_path, progress=lambda stage, _: stages.append(stage))
    assert "quantise" not in stages


def test_weights_that_cannot_be_kept_are_used_all_the_same(bitsandbytes, internlm2, tmp_path, caplog):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        model, _ = _load(internlm2, "8bit", cache_dir=in_the_way)
    assert _greedy(model) and "cannot be kept" in caplog.text


def test_a_folder_that_is_quantised_already_is_read_as_it_is(bitsandbytes, internlm2, tmp_path):
    from transformers import BitsAndBytesConfig

    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = load_model(internlm2, dtype=torch.bfloat16, quantization_config=packed)
    folder = tmp_path / "nf4"
    save_llama(model, load_tokenizer(internlm2), folder)
    facts, original = model_facts(folder), model_facts(internlm2)
    assert facts.quantised == "4bit"
    assert facts.matrix_parameters == pytest.approx(original.matrix_parameters, rel=0.1)
    again, _ = _load(folder, "auto")
    assert "Linear4bit" in {type(module).__name__ for module in again.modules()}
    assert _greedy(again) == _greedy(model)


# GGUF


def test_a_gguf_file_is_read_without_its_folder_being_a_model(llama, tmp_path):
    folder = _gguf(llama, tmp_path / "g")
    facts = model_facts(folder)
    assert (facts.gguf, facts.name, facts.layers, facts.kv_heads, facts.vocab) == (
        "tiny.gguf",
        "tiny",
        2,
        2,
        259,
    )
    assert facts.parameters == model_facts(llama).parameters
    model, tokenizer = _load(folder)
    assert tokenizer.chat_template == tiny.LLAMA_TEMPLATE
    assert _greedy(model) == _greedy(_load(llama)[0])
    assert model_facts(folder / "tiny.gguf") == facts


def _gguf(llama: Path, folder: Path) -> Path:
    """Write the tiny Llama as llama.cpp would: its names, and q and k in its order of rows."""
    gguf = pytest.importorskip("gguf")
    folder.mkdir()
    config = json.loads((llama / "config.json").read_text(encoding="utf-8"))
    vocab = json.loads((llama / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    tokens = [*sorted(vocab, key=vocab.get), "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_name("tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(258)
    writer.add_chat_template(tiny.LLAMA_TEMPLATE)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers.": "blk.",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for name, tensor in load_file(llama / "model.safetensors").items():
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads:
            rows, columns = tensor.shape
            pairs = tensor.reshape(config[heads], 2, rows // config[heads] // 2, columns)
            tensor = pairs.transpose(1, 2).reshape(rows, columns)
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        writer.add_tensor(name, tensor.float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


# Refusals


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no chat template") as caught:
        _load(tiny.llama(tmp_path / "base", template=None))
    assert "instruct" in caught.value.hint


def test_a_model_that_needs_code_of_its_own_is_refused_and_nothing_of_it_runs(own):
    _edit(own / "config.json", model_type="brand_new", auto_map={"AutoConfig": "code.Config"})
    (own / "code.py").write_text("raise SystemExit('run')", encoding="utf-8")
    with pytest.raises(ModelError, match="'brand_new'"):
        _load(own)


def test_code_beside_a_known_model_is_not_run(own):
    _edit(own / "config.json", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    (own / "code.py").write_text("raise SystemExit('run')", encoding="utf-8")
    assert type(_load(own)[0]) is LlamaForCausalLM


def test_a_pickle_beside_the_weights_is_not_opened(own):
    (own / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert type(_load(own)[0]) is LlamaForCausalLM


def test_weights_that_are_missing_are_not_made_up(own):
    file = own / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj"):
        _load(own)


def test_weights_of_another_shape_are_refused(own):
    _edit(own / "config.json", intermediate_size=96)
    with pytest.raises(ModelError, match="cannot be loaded"):
        _load(own)


def test_a_model_that_computes_no_numbers_is_refused(own):
    file = own / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] = weights["model.norm.weight"] * float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN"):
        _load(own)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("out"), RuntimeError("can't allocate memory: 8 GB")]
)
def test_memory_that_runs_out_names_what_fits(internlm2, llama, error):
    def fail(stage: str, done: float) -> None:
        if done > 0.2:
            raise error

    for folder in (internlm2, llama):
        with pytest.raises(ModelError, match="memory of cpu ran out") as caught:
            _load(folder, "fp32", progress=fail)
        assert "--precision" in caught.value.hint


def _edit(file: Path, **changes: object) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | changes), encoding="utf-8")
