"""Which precision is taken where, what it costs, and what is said when nothing fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragkit.errors import ModelError, UsageError
from ragkit.load_plan import (
    INTERNLM2_1_8B,
    NOTES,
    PRECISIONS,
    DeviceFacts,
    Int4Facts,
    fitting,
    plan_first,
    plan_load,
)

GB = 1 << 30
SMALL = INTERNLM2_1_8B
EMBEDDING = SMALL.vocab * SMALL.hidden
# internlm2-chat-7b as its config.json and safetensors headers say
LARGE = replace(
    SMALL,
    name="internlm2-chat-7b",
    parameters=7_737_708_544,
    matrix_parameters=7_737_708_544 - 4 * EMBEDDING - 65 * 4096,
    largest_parameters=2 * EMBEDDING,
    layers=32,
    hidden=4096,
)
CPU = DeviceFacts(
    kind="cpu",
    device="cpu",
    name="a CPU",
    total_bytes=32 * GB,
    free_bytes=24 * GB,
    host_total_bytes=32 * GB,
    host_free_bytes=24 * GB,
    has_avx512=True,
)
AMX = replace(CPU, has_amx=True, bf16=True)
FAST = Int4Facts(kernel_rows=64, product="float32", decode=2.3, prefill=0.8)
QUICK = replace(CPU, int4=FAST)  # timed, and int4 pays
TWOFOLD = replace(
    CPU, bf16=True, int4=replace(FAST, product="bfloat16")
)  # an AVX-512 with quick bf16 products
SLOW = replace(CPU, int4=replace(FAST, kernel_rows=0, decode=0.04))  # no AVX2
GPU = replace(
    CPU,
    kind="cuda",
    device="cuda:0",
    name="a GPU",
    total_bytes=24 * GB,
    free_bytes=23 * GB,
    bf16=True,
    compute_capability=(8, 6),
    has_avx512=False,
)
TURING = replace(GPU, bf16=False, compute_capability=(7, 5))
MAC = replace(CPU, kind="mps", device="mps", name="Apple GPU", has_avx512=False)


def _free(device: DeviceFacts, free_gb: float) -> DeviceFacts:
    return replace(device, free_bytes=int(free_gb * GB))


@pytest.mark.parametrize(
    ("device", "model", "expected"),
    [
        (GPU, SMALL, "bf16"),
        (GPU, LARGE, "bf16"),
        (_free(GPU, 12), LARGE, "4bit"),
        (_free(GPU, 4), SMALL, "4bit"),
        (TURING, SMALL, "fp16"),
        (CPU, SMALL, "fp32"),
        (_free(CPU, 10), SMALL, "4bit"),  # fp32 would need 8.6 of them: not comfortable
        (CPU, LARGE, "4bit"),
        (AMX, SMALL, "bf16"),
        (_free(AMX, 5), SMALL, "4bit"),
        (QUICK, SMALL, "4bit"),
        (replace(AMX, int4=FAST), SMALL, "bf16"),  # which that processor does faster than fp32
        (replace(AMX, int4=replace(FAST, decode=3.4, prefill=2.5)), SMALL, "4bit"),
        (TWOFOLD, SMALL, "bf16"),
        (replace(TWOFOLD, int4=replace(TWOFOLD.int4, decode=5.8, prefill=1.5)), SMALL, "4bit"),
        (replace(CPU, bf16=True, int4=FAST), SMALL, "4bit"),  # it has them too, but slow ones
        (SLOW, SMALL, "fp32"),
        (_free(SLOW, 10), SMALL, "4bit"),  # for want of room
        (MAC, SMALL, "fp16"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_auto_takes_the_best_that_fits(device, model, expected):
    assert plan_load(model, device).precision == expected


@pytest.mark.parametrize(
    ("device", "precision", "dtype", "quantisation"),
    [
        (GPU, "4bit", "bfloat16", "nf4"),
        (TURING, "4bit", "float16", "nf4"),
        (AMX, "4bit", "bfloat16", "int4"),
        (CPU, "4bit", "float32", "int4"),
        (TWOFOLD, "4bit", "float32", "int4"),
        (SLOW, "4bit", "float32", "int4"),
        (GPU, "8bit", "float16", "int8"),
        (CPU, "8bit", "float16", "int8"),
        (CPU, "bf16", "bfloat16", None),
        (GPU, "fp16", "float16", None),
        (CPU, "fp32", "float32", None),
        (MAC, "fp16", "float16", None),
    ],
)
def test_a_precision_that_is_asked_for_is_kept(device, precision, dtype, quantisation):
    plan = plan_load(SMALL, device, precision)
    assert (plan.precision, plan.dtype, plan.quantisation) == (precision, dtype, quantisation)
    assert plan.device_map == {"": device.device}


@pytest.mark.parametrize(
    ("device", "precision", "weights_gb"),
    [
        (CPU, "fp32", 7.04),
        (CPU, "bf16", 3.52),
        (CPU, "8bit", 2.12),
        (GPU, "4bit", 1.43),
        (CPU, "4bit", 1.24),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_weights_are_reckoned_from_the_tensors(device, precision, weights_gb):
    """Measured: 7.3 GB anonymous memory at the fp32 load, 1.9 GB on disk for NF4 (facts, 2b and 2c)."""
    assert plan_load(SMALL, device, precision).weights_bytes / GB == pytest.approx(weights_gb, abs=0.01)


def test_an_output_that_is_the_embedding_is_packed_as_a_copy():
    tied = replace(SMALL, parameters=SMALL.parameters - EMBEDDING)
    assert plan_load(tied, QUICK, "4bit").weights_bytes == plan_load(SMALL, QUICK, "4bit").weights_bytes
    difference = plan_load(SMALL, CPU, "fp32").weights_bytes - plan_load(tied, CPU, "fp32").weights_bytes
    assert difference == 4 * EMBEDDING


@pytest.mark.parametrize(
    ("decode", "prefill", "chosen"),
    [(2, 0.75, "4bit"), (1.5, 0.85, "fp32"), (1.6, 1, "4bit"), (4, 0.5, "fp32")],
)
def test_int4_is_taken_where_a_whole_answer_takes_plainly_less_time(decode, prefill, chosen):
    timed = replace(FAST, decode=decode, prefill=prefill)
    assert plan_load(SMALL, replace(CPU, int4=timed)).precision == chosen


def test_the_plan_tells_the_loader_what_was_timed_and_the_user_which_4_bits_they_are():
    plan = plan_load(SMALL, QUICK, "4bit")
    assert (plan.int4, plan.label) == (FAST, "4-bit int4")
    plan = plan_load(SMALL, GPU, "4bit")
    assert (plan.int4, plan.label) == (None, "4-bit NF4")
    assert plan_load(SMALL, QUICK, "fp32").int4 is None


def test_the_kv_cache_follows_context_layers_heads_and_dtype():
    plan = plan_load(SMALL, GPU, "bf16", context=1000)
    assert plan.kv_cache_bytes == 2 * 24 * 8 * 128 * 2 * 1000
    assert plan_load(SMALL, CPU, "fp32", context=1000).kv_cache_bytes == 2 * plan.kv_cache_bytes


def test_no_more_context_is_reckoned_than_the_model_has():
    model = replace(SMALL, max_positions=2048)
    assert plan_load(model, GPU, context=8000) == plan_load(model, GPU, context=2048)


def test_a_long_context_can_be_what_does_not_fit():
    gpu = _free(GPU, 6)
    assert plan_load(SMALL, gpu, "bf16").precision == "bf16"
    with pytest.raises(ModelError, match=r"32,768 tokens of context 3\.0 GB"):
        plan_load(SMALL, gpu, "bf16", context=32_768)


def test_a_plan_needs_at_least_what_loading_and_answering_need():
    for precision in PRECISIONS:
        plan = plan_load(SMALL, CPU, precision)
        assert plan.needed_bytes >= plan.total_bytes > plan.weights_bytes + plan.kv_cache_bytes
        assert plan.needed_bytes >= plan.peak_load_bytes > plan.weights_bytes


# Refusals


def test_a_refusal_says_what_is_needed_what_is_free_and_which_precision_fits():
    with pytest.raises(ModelError) as caught:
        plan_load(LARGE, _free(CPU, 12), "fp32")
    assert caught.value.message == (
        "internlm2-chat-7b in fp32 takes 30.2 GB (weights 28.8 GB, 4,096 tokens of context 1.0 GB), and 0.5 GB must "
        "stay free; 12.0 GB are free on a CPU."
    )
    assert caught.value.hint.startswith("--precision 4bit fits: it takes ")


def test_what_a_refusal_names_does_fit():
    for free in (3, 5, 7, 9, 12, 17, 20):
        device = _free(GPU, free)
        try:
            plan_load(LARGE, device, "fp32")
        except ModelError as error:
            named = [p for p in PRECISIONS if f"--precision {p} fits" in error.hint]
            assert [plan_load(LARGE, device, p).precision for p in named] == named
            assert bool(named) == bool(fitting(LARGE, device))


def test_where_only_a_smaller_model_fits_it_is_named():
    with pytest.raises(ModelError) as caught:
        plan_load(LARGE, _free(CPU, 4))
    assert caught.value.hint.startswith("internlm2-chat-1_8b fits with --precision 4bit")
    assert plan_load(SMALL, _free(CPU, 4)).precision == "4bit"


def test_where_nothing_fits_quotations_are_offered():
    with pytest.raises(ModelError) as caught:
        plan_load(SMALL, _free(CPU, 1))
    assert "quotations" in caught.value.hint and "fits" not in caught.value.hint


@pytest.mark.parametrize(("device", "precision"), [(GPU, "4bit"), (GPU, "8bit"), (CPU, "8bit")])
def test_without_bitsandbytes_its_precisions_are_refused_with_the_command(device, precision):
    with pytest.raises(ModelError, match="not installed") as caught:
        plan_load(SMALL, device, precision, quantiser=False)
    assert caught.value.hint == "pip install bitsandbytes==0.50.2"


def test_without_bitsandbytes_auto_says_that_4bit_would_fit():
    with pytest.raises(ModelError) as caught:
        plan_load(SMALL, _free(GPU, 3.8), quantiser=False)
    assert "4bit would fit: pip install bitsandbytes" in caught.value.hint


def test_a_processor_needs_no_bitsandbytes_for_4_bits():
    assert plan_load(SMALL, CPU, "4bit", quantiser=False).quantisation == "int4"
    assert plan_load(SMALL, _free(CPU, 3.8), quantiser=False).precision == "4bit"
    with pytest.raises(ModelError) as caught:
        plan_load(SMALL, _free(CPU, 1), quantiser=False)
    assert "bitsandbytes" not in caught.value.hint


def test_a_folder_that_bitsandbytes_has_packed_needs_it_on_a_processor_too():
    stored = replace(SMALL, quantised="4bit")
    assert plan_load(stored, QUICK, "4bit").label == "4-bit NF4"
    with pytest.raises(ModelError, match="not installed"):
        plan_load(stored, QUICK, "4bit", quantiser=False)


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_bitsandbytes_is_refused_on_mps(precision):
    with pytest.raises(ModelError, match="MPS"):
        plan_load(SMALL, MAC, precision)


def test_a_gguf_file_is_not_quantised_again():
    gguf = replace(SMALL, gguf="model.gguf")
    assert plan_load(gguf, CPU).precision == "fp32"
    assert plan_load(gguf, TWOFOLD).precision == plan_load(gguf, AMX).precision == "fp32"
    with pytest.raises(ModelError, match="GGUF"):
        plan_load(gguf, CPU, "4bit")


def test_a_folder_that_is_quantised_already_keeps_its_precision():
    stored = replace(SMALL, quantised="4bit")
    assert plan_load(stored, AMX).precision == "4bit"
    assert plan_load(stored, AMX).notes == ()
    with pytest.raises(ModelError, match="stored in 4-bit NF4"):
        plan_load(stored, AMX, "bf16")


def test_an_unknown_precision_is_a_usage_error():
    with pytest.raises(UsageError, match="'int4'"):
        plan_load(SMALL, CPU, "int4")


# Several devices, notes


def test_the_first_device_that_the_model_fits_is_taken():
    assert plan_first(SMALL, [GPU, CPU]).device == "cuda:0"
    plan = plan_first(LARGE, [_free(GPU, 2), CPU])
    assert plan.device == "cpu" and plan.notes[0] == "fallback_device"


def test_when_no_device_fits_the_first_one_is_named():
    with pytest.raises(ModelError, match="a GPU"):
        plan_first(LARGE, [_free(GPU, 2), _free(CPU, 2)])


@pytest.mark.parametrize(
    ("device", "precision", "note"),
    [
        (CPU, "bf16", "bf16_emulated"),
        (replace(CPU, bf16=True), "bf16", "bf16_emulated"),  # avx512_bf16 alone: .71 x the prefill of fp32
        (TURING, "bf16", "bf16_emulated"),
        (CPU, "fp16", "fp16_on_cpu"),
        (CPU, "4bit", "int4_once"),
        (QUICK, "4bit", "int4_once"),
        (CPU, "8bit", "quantise_once"),
    ],
)
def test_what_is_worth_knowing_is_noted(device, precision, note):
    assert plan_load(SMALL, device, precision).notes == (note,)
    assert note in NOTES


def test_a_processor_that_lacks_the_instructions_is_told_that_4_bits_save_no_time():
    assert plan_load(SMALL, SLOW, "4bit").notes == ("int4_slow", "int4_once")
    assert "int4_slow" in NOTES


@pytest.mark.parametrize(
    ("device", "precision"), [(AMX, "bf16"), (GPU, "bf16"), (GPU, "4bit"), (CPU, "fp32")]
)
def test_nothing_is_noted_where_all_is_well(device, precision):
    assert plan_load(SMALL, device, precision).notes == ()
