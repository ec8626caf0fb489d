"""4-bit layers on a CPU: rounding, packing, both ways of multiplying, and models made of them."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from ragkit import int4, int4_kept, int4_probe
from ragkit.errors import ModelError
from ragkit.generation import forward
from ragkit.int4 import Int4Linear, Layout
from ragkit.load_plan import Int4Facts, plan_load
from ragkit.loading import load_parts
from ragkit.memory import held_bytes
from ragkit.model_facts import device_facts, model_facts
from tests import tiny

PROMPT = torch.arange(3, 43)[None]
KERNEL = Int4Facts(kernel_rows=16, product="float32", decode=2, prefill=1)
NO_KERNEL = replace(KERNEL, kernel_rows=0)
# (rows, columns): whole blocks of every layout, some left over, rows to fill up, a group of 32, several pieces
SHAPES = [(64, 64), (48, 128), (259, 64), (80, 96), (20, 32), (1100, 4096)]


def _matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.empty(rows, columns).normal_(0, 0.02, generator=torch.Generator().manual_seed(seed))


def _rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return int4.quantise(weight, int4.group_of(weight.shape[1]))


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


# Rounding


@pytest.mark.parametrize(("columns", "group"), [(2048, 64), (96, 32), (64, 64), (32, 32), (80, 0), (31, 0)])
def test_the_group_divides_the_width(columns, group):
    assert int4.group_of(columns) == group


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_rounding_errs_by_no_more_than_4_bits_must(rows, columns):
    weight = _matrix(rows, columns)
    nibbles, scales = _rounded(weight)
    group = int4.group_of(columns)
    assert nibbles.shape == (rows, columns // 2) and nibbles.dtype == torch.uint8
    assert scales.shape == (columns // group, int4.filled(rows), 2) and scales.dtype == torch.bfloat16
    assert 0.05 < _error(int4.dequantise(nibbles, scales), weight) < 0.1


def test_fitting_scale_and_zero_errs_less_than_cutting_the_range_evenly():
    weight = _matrix(256, 2048)
    errors = [
        _error(int4.dequantise(*int4.quantise(weight, 64, refits=refits)), weight) for refits in (0, 1, 2)
    ]
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.97 * errors[0]


def test_no_weight_is_further_off_than_half_a_step_when_the_range_is_cut_evenly():
    weight = _matrix(64, 128)
    restored = int4.dequantise(*int4.quantise(weight, 64, refits=0))
    groups = weight.view(64, 2, 64)
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    # bf16 keeps 8 bits of scale and zero: up to a twentieth of a step more, at the ends of the range
    off = (restored - weight).view(64, 2, 64).abs().amax(-1)
    assert bool((off <= 0.56 * step).all())


def test_groups_without_a_range_are_kept():
    weight = torch.cat((torch.full((16, 64), 0.5), torch.zeros(16, 64), torch.full((16, 64), -3.0)))
    restored = int4.dequantise(*_rounded(weight))
    assert restored.isfinite().all() and torch.allclose(restored, weight, atol=1e-6)


def test_an_outlier_costs_its_own_group_only():
    weight = _matrix(16, 256)
    spoiled = weight.clone()
    spoiled[:, 0] = 5.0
    found, expected = (int4.dequantise(*_rounded(each))[:, 64:] for each in (spoiled, weight))
    assert torch.equal(found, expected)


def test_weights_stored_in_half_precision_are_rounded_as_their_values_are():
    weight = _matrix(32, 128).bfloat16()
    for found, expected in zip(_rounded(weight), _rounded(weight.float()), strict=True):
        assert torch.equal(found, expected)


# Packing and multiplying


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_packing_gives_what_torchs_own_op_gives(rows, columns):
    nibbles, _ = _rounded(_matrix(rows, columns))
    assert torch.equal(int4.pack(nibbles), int4._packed_by_torch(nibbles))


@pytest.fixture(params=[None, *int4._LAYOUTS], ids=str)
def any_layout(request, monkeypatch):
    """A processor whose kernel has this layout; None: one that is not known."""
    monkeypatch.setattr(int4, "layout", lambda: request.param)
    return request.param


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_many_rows_are_the_product_with_the_rounded_weights_in_every_layout(any_layout, rows, columns):
    nibbles, scales = _rounded(_matrix(rows, columns))
    layer = Int4Linear(nibbles, scales, kernel_rows=0)
    assert (layer.nibbles is None) == (any_layout is not None)  # one copy of the weights where that is enough
    x = _matrix(40, columns, seed=1)
    assert _error(layer(x), x @ int4.dequantise(nibbles, scales).T) < 1e-5


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_the_kernel_gives_the_product_with_the_rounded_weights(rows, columns, count):
    nibbles, scales = _rounded(_matrix(rows, columns))
    layer = Int4Linear(nibbles, scales, kernel_rows=16)
    x = _matrix(count, columns, seed=1)
    assert _error(layer(x), x @ int4.dequantise(nibbles, scales).T) < 0.01  # bf16 has 8 bits


def test_on_both_sides_of_the_crossover_a_row_gives_the_same():
    nibbles, scales = _rounded(_matrix(192, 256))
    layer = Int4Linear(nibbles, scales, kernel_rows=16)
    x = _matrix(17, 256, seed=1)
    assert _error(layer(x)[:16], layer(x[:16])) < 0.01


@pytest.mark.parametrize("product", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_answer_has_the_dtype_and_the_shape_of_the_question(dtype, product):
    nibbles, scales = _rounded(_matrix(259, 64))
    bias = torch.arange(259, dtype=dtype)
    layer = Int4Linear(nibbles, scales, bias, kernel_rows=8, product=product)
    for shape in ((64,), (2, 3, 64), (2, 9, 64)):
        x = torch.ones(shape, dtype=dtype)
        y = layer(x)
        assert y.dtype == dtype and y.shape == (*shape[:-1], 259)
        expected = x.float() @ int4.dequantise(nibbles, scales).T + bias
        assert _error(y, expected) < 0.01


def test_the_layout_is_the_one_whose_bytes_are_torchs():
    known = int4.layout()
    assert known is None or isinstance(known, Layout)
    if known:
        nibbles, _ = _rounded(_matrix(known.block * 2 + 16, 64))
        assert torch.equal(int4._packed(nibbles, known), int4._packed_by_torch(nibbles))


# Timing


def test_timing_a_layer_gives_numbers_that_a_plan_can_use():
    threads = torch.get_num_threads()
    facts = int4_probe.timings()
    assert facts.decode > 0 and facts.prefill > 0 and facts.product == "float32"
    assert facts.kernel_rows in (0, *int4_probe._STEPS)
    assert torch.get_num_threads() == threads
    assert int4_probe.timings() is facts  # once a process


def test_a_cpu_is_described_with_its_timing():
    assert device_facts("cpu").int4 is not None


def test_bf16_products_are_taken_where_they_are_the_quicker_ones(monkeypatch):
    def times(slower: torch.dtype):
        def fake(ways, **_options):
            layers = [getattr(way, "func", None) for way in ways]
            return [2.0 if getattr(layer, "product", None) == slower else 1.0 for layer in layers]

        return fake

    for slower, taken in ((torch.float32, "bfloat16"), (torch.bfloat16, "float32")):
        monkeypatch.setattr(int4_probe, "_times", times(slower))
        assert int4_probe.timings.__wrapped__(bf16=True).product == taken


# Models


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    made = {
        "internlm2": tiny.internlm2(base / "internlm2"),
        "internlm2-bias": tiny.internlm2(base / "internlm2-bias", bias=True),
        "llama": tiny.llama(base / "llama"),
        "tied": _tied(base / "tied"),
        "qwen2": _qwen2(base / "qwen2", hidden_size=64),
        "odd": _qwen2(base / "odd", hidden_size=96, intermediate_size=80),
    }
    return made


def _tied(folder: Path) -> Path:
    tiny.llama(folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _edit(folder / "config.json", tie_word_embeddings=True)
    return folder


def _qwen2(folder: Path, **config: int) -> Path:
    """q, k and v with a bias, an output that is the embedding, bf16; `odd`: a width that no group divides."""
    tiny.llama(folder)
    shape = {**tiny._SHAPE, "vocab_size": 259, "tie_word_embeddings": True, "eos_token_id": 258, **config}
    torch.manual_seed(2)
    model = Qwen2ForCausalLM(Qwen2Config(**shape, bos_token_id=None)).to(torch.bfloat16)
    torch.nn.init.normal_(model.model.layers[0].self_attn.q_proj.bias)
    model.save_pretrained(folder)
    return folder


def _edit(file: Path, **changes: object) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | changes), encoding="utf-8")


def _load(folder: Path, timed: Int4Facts = KERNEL, *, amx: bool = False, **options):
    facts = model_facts(folder)
    plan = plan_load(facts, replace(device_facts("cpu"), int4=timed, has_amx=amx), "4bit")
    return load_parts(facts, plan, **options)[0]


def _greedy(model, prompt: torch.Tensor = PROMPT) -> list[int]:
    tokens = model.generate(prompt, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    return tokens[0, prompt.shape[1] :].tolist()


def _logits(model, length: int = 40) -> torch.Tensor:
    from transformers import DynamicCache

    return forward(model, PROMPT[:, :length], DynamicCache())


KINDS = ["internlm2", "internlm2-bias", "llama", "tied", "qwen2", "odd"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kept_weights_give_the_tokens_of_the_first_load(folders, tmp_path, kind):
    told: list[tuple[str, float]] = []
    first = _load(folders[kind], cache_dir=tmp_path, progress=lambda *step: told.append(step))
    assert {stage for stage, _ in told} == {"quantise", "save", "warm_up"}
    told.clear()
    again = _load(folders[kind], cache_dir=tmp_path, progress=lambda *step: told.append(step))
    assert {stage for stage, _ in told} == {"weights", "warm_up"}
    weights = [done for stage, done in told if stage == "weights"]
    assert weights == sorted(weights) and weights[0] == 0 and weights[-1] == 1
    assert torch.equal(_logits(first), _logits(again))
    assert _greedy(first) == _greedy(again)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timed", [KERNEL, NO_KERNEL], ids=["kernel", "no kernel"])
def test_a_model_computes_with_the_rounded_weights(folders, kind, timed):
    """Against the same model in fp32 whose weights were replaced by the rounded ones: what is left is bf16."""
    folder = folders[kind]
    model = _load(folder, timed)
    facts = model_facts(folder)
    plain = load_parts(facts, plan_load(facts, device_facts("cpu"), "fp32"))[0]
    for layer in plain.modules():
        if isinstance(layer, torch.nn.Linear) and int4.group_of(layer.in_features):
            rounded = int4.dequantise(*_rounded(layer.weight.detach().to(_stored(facts))))
            layer.weight = torch.nn.Parameter(rounded)
    for length in (1, 40):
        assert _error(_logits(model, length), _logits(plain, length)) < 0.04


def _stored(facts) -> torch.dtype:
    return torch.bfloat16 if facts.bytes_by_dtype[0][0] == "BF16" else torch.float32


@pytest.mark.parametrize(("amx", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_every_linear_layer_that_can_be_is_4_bits_and_the_rest_is_of_the_plans_dtype(folders, amx, dtype):
    for kind in KINDS:
        model = _load(folders[kind], amx=amx)
        names = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        if kind == "odd":  # 80 columns are no multiple of 32
            assert names == {f"model.layers.{n}.mlp.down_proj" for n in (0, 1)}
        else:
            assert not names
        assert isinstance(model.lm_head, Int4Linear)
        embedding = model.get_input_embeddings()
        others = {parameter.dtype for parameter in model.parameters() if parameter is not embedding.weight}
        assert others == {dtype} == {embedding(PROMPT).dtype}
        stored = _stored(model_facts(folders[kind]))
        assert embedding.weight.dtype == min(stored, dtype, key=lambda each: each.itemsize)
        assert model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_an_output_that_is_the_embedding_leaves_the_embedding_as_it_is(folders):
    model = _load(folders["tied"])
    stored = load_file(folders["tied"] / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(model.get_input_embeddings().weight, stored)
    assert _error(int4.dequantise(*_rounded(stored)), stored) < 0.1


def test_a_model_holds_what_its_plan_reckons(folders):
    facts = model_facts(folders["internlm2"])
    plan = plan_load(facts, device_facts("cpu"), "4bit")
    model = _load(folders["internlm2"])
    held = held_bytes(model)["cpu"]
    if Path("/proc/self/maps").exists():
        held += model.get_input_embeddings().weight.nbytes  # which lies in the mapped file
    assert held == pytest.approx(plan.weights_bytes, rel=0.02)


def test_without_a_place_nothing_is_kept(folders, tmp_path):
    assert _greedy(_load(folders["llama"])) == _greedy(_load(folders["llama"], cache_dir=tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    folder = tiny.llama(tmp_path / "llama")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][5, 7] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        _load(folder, cache_dir=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_load_that_is_ended_leaves_nothing_behind(folders, tmp_path):
    class Cancelled(Exception):
        pass

    def cancel(stage: str, done: float) -> None:
        if done > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        _load(folders["llama"], cache_dir=tmp_path, progress=cancel)
    assert list(tmp_path.iterdir()) == []


# What is kept


@pytest.fixture
def own(tmp_path) -> Path:
    return tiny.llama(tmp_path / "llama")


def _stages(folder: Path, kept: Path) -> set[str]:
    stages: set[str] = set()
    _load(folder, cache_dir=kept, progress=lambda stage, _: stages.add(stage))
    return stages - {"warm_up"}


NEW, KEPT = {"quantise", "save"}, {"weights"}


def test_a_changed_model_replaces_what_was_kept(own, tmp_path, caplog):
    kept = tmp_path / "kept"
    before = _greedy(_load(own, cache_dir=kept))
    file = own / "model.safetensors"
    weights = {name: -each if each.dim() == 2 else each for name, each in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    with caplog.at_level(logging.INFO):
        after = _greedy(_load(own, cache_dir=kept))
    assert "made anew" in caplog.text and before != after == _greedy(_load(own))
    assert len(list(kept.iterdir())) == 1 and _stages(own, kept) == KEPT


def test_a_change_that_keeps_size_and_time_is_noticed(own, tmp_path):
    kept, file = tmp_path / "kept", own / "model.safetensors"
    _load(own, cache_dir=kept)
    times = file.stat()
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert _stages(own, kept) == NEW


def test_a_copy_with_another_time_is_the_same_model(own, tmp_path):
    kept, file = tmp_path / "kept", own / "model.safetensors"
    _load(own, cache_dir=kept)
    os.utime(file, ns=(1, 1))
    assert _stages(own, kept) == KEPT
    (stamp,) = kept.glob(f"*/{int4_kept.STAMP}")
    assert [entry[2] for entry in json.loads(stamp.read_text("utf-8"))["files"]][
        1
    ] == 1  # and known next time


def test_another_way_of_rounding_makes_new_weights(own, tmp_path):
    kept = tmp_path / "kept"
    _load(own, cache_dir=kept)
    (stamp,) = kept.glob(f"*/{int4_kept.STAMP}")
    _edit(stamp, group=32)
    assert _stages(own, kept) == NEW and _stages(own, kept) == KEPT


@pytest.mark.parametrize("damage", ["cut", "noise", "gone", "stamp", "no stamp", "other names"])
def test_what_is_broken_is_made_anew(own, tmp_path, damage):
    kept = tmp_path / "kept"
    expected = _greedy(_load(own, cache_dir=kept))
    (file,), (stamp,) = kept.glob("*/*.safetensors"), kept.glob(f"*/{int4_kept.STAMP}")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    elif damage == "noise":
        file.write_bytes(b"\xff" * 400)
    elif damage == "gone":
        file.unlink()
    elif damage == "stamp":
        stamp.write_text("[]", encoding="utf-8")
    elif damage == "no stamp":
        stamp.unlink()
    else:
        tensors = load_file(file)
        save_file({f"x.{name}": each for name, each in tensors.items()}, file)
    assert _greedy(_load(own, cache_dir=kept)) == expected
    assert _stages(own, kept) == KEPT and len(list(kept.iterdir())) == 1


def test_weights_of_bitsandbytes_in_the_place_give_way(own, tmp_path):
    kept = tmp_path / "kept"
    _load(own, cache_dir=kept)
    (place,) = kept.iterdir()
    shutil.rmtree(place)
    place.mkdir()
    (place / "model.safetensors").write_bytes(b"packed by something else")
    (place / int4_kept.STAMP).write_text('{"format": 1, "dtype": "bfloat16", "files": []}', encoding="utf-8")
    assert _stages(own, kept) == NEW
    assert [file.name for file in sorted(place.iterdir())] == ["int4-00001.safetensors", int4_kept.STAMP]


def test_many_shards_are_one_set_of_weights(own, tmp_path, monkeypatch):
    monkeypatch.setattr(int4_kept, "_SHARD_BYTES", 10_000)
    first = _greedy(_load(own, cache_dir=tmp_path / "kept"))
    assert len(list((tmp_path / "kept").glob("*/*.safetensors"))) > 2
    assert _greedy(_load(own, cache_dir=tmp_path / "kept")) == first


def test_too_little_disk_is_a_warning(own, tmp_path, monkeypatch, caplog):
    kept = tmp_path / "kept"
    monkeypatch.setattr(
        int4_kept.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10)
    )
    with caplog.at_level(logging.WARNING):
        model = _load(own, cache_dir=kept)
    assert _greedy(model) and "too little disk" in caplog.text and list(kept.iterdir()) == []


def test_a_disk_that_fails_while_the_weights_are_written_is_a_warning(own, tmp_path, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(int4_kept, "_to_disk", full)
    with caplog.at_level(logging.WARNING):
        model = _load(own, cache_dir=tmp_path / "kept")
    assert _greedy(model) == _greedy(_load(own))
    assert "No space left" in caplog.text and list((tmp_path / "kept").iterdir()) == []


def test_a_place_that_cannot_be_made_is_a_warning(own, tmp_path, caplog):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert _greedy(_load(own, cache_dir=tmp_path / "file"))
    assert "cannot be kept" in caplog.text
