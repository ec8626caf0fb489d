"""Which precision a model is loaded in, and whether it fits: decided from numbers before anything is loaded.

Pure: `ragkit.model_facts` reads the numbers of this machine and of a model folder. Knows nothing of how a model is
loaded or run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ragkit.errors import ModelError, UsageError
from ragkit.sizes import gigabytes

Kind = Literal["cuda", "mps", "cpu"]
Precision = Literal["4bit", "8bit", "bf16", "fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
LABELS: dict[Precision, str] = {
    "4bit": "4-bit",  # "4-bit int4" or "4-bit NF4" in a plan, which knows the device
    "8bit": "8-bit int8",
    "bf16": "bf16",
    "fp16": "fp16",
    "fp32": "fp32",
}
_QUANTISERS = {"int4": "4-bit int4", "nf4": "4-bit NF4"}
# What a plan's notes mean. The page says them in its own words and in both languages.
NOTES = {
    "fallback_device": "the model does not fit the first device",
    "bf16_emulated": "this device computes bf16 slowly",  # many CPUs: .71 x prefill, .88 x decode of fp32
    "fp16_on_cpu": "fp16 saves memory on a CPU but no time",  # .85-.94 x decode of fp32
    "quantise_once": "quantising takes minutes the first time; the result is kept",  # int8 by bitsandbytes
    "int4_once": "rounding the weights takes minutes the first time; the result is kept",
    "int4_slow": "this processor lacks the instructions: 4bit saves memory here but no time",
}

CONTEXT = 4096  # tokens that a plan leaves room for: prompt and answer of a question over documents
BITSANDBYTES = "bitsandbytes==0.50.2"
# Weights that share a scale and a zero in int4. 32 would err by 14 % less, for 11 % more to read at each token
# (tests/bench/int4.py has both).
INT4_GROUP = 64

_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_STORED = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
# NF4 with double quantisation: 4 bits, an 8-bit scale a block of 64, an fp32 scale for 256 of those.
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_INT4_BYTES = 0.5 + 4 / INT4_GROUP  # 4 bits, and two bf16 numbers a group
_INT8_BYTES = 1.002  # one fp32 scale a row of about 2,000
_ROUNDED_PER_S = 28e6  # weights to int4, on two cores: a minute for the 1.8B
_WORK_BYTES = 300 << 20  # activations of a slice of 512 tokens, one layer de-quantised, library state
MARGIN_BYTES = 512 << 20  # stays free for everything else
# 'auto' takes fp32 or bf16 on a CPU only when this share of the free RAM is enough: the file that is read and
# the rest of ragkit (embedding, index, page) need room beside it.
_COMFORTABLE = 0.75


@dataclass(frozen=True, slots=True)
class Int4Facts:
    """What timing one layer of int4 weights said of a CPU; the ratios are fp32's time to int4's, more is better."""

    kernel_rows: int  # so many rows at once are quicker through torch's int4 kernel; 0: none is
    product: Literal["float32", "bfloat16"]  # in which more of them are multiplied
    decode: float  # at one row
    prefill: float  # at 512

    @property
    def answer_time(self) -> float:
        """How long an answer takes, the reading of its prompt counted, where fp32 takes 1."""
        return _time(self.prefill, self.decode)


def _time(prefill: float, decode: float) -> float:
    # An answer of 200 tokens to a prompt of 1,500 in fp32 is 23 s of reading and 57 of writing (2 cores with AVX-512).
    return 0.29 / prefill + 0.71 / decode


# What bf16 does of fp32 with AMX (tests/bench/llm.py --layers 4), and with the AVX-512 instructions for it where they are
# quick. They are not everywhere: without, or with slow ones, it prefills at .45-.71 x and decodes no faster, for all
# that it halves the memory.
_BF16_WITH_AMX, _BF16_WITH_AVX512 = _time(3.9, 1.4), _time(2.1, 1.3)
_PAYS = 0.75  # of the other precision's time: what 4 bits cost in accuracy is not for less


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One place where a model can run. On cpu and mps the device's memory is the host's."""

    kind: Kind
    device: str  # torch's name: "cuda:0"
    name: str  # as shown to the user
    total_bytes: int
    free_bytes: int
    host_total_bytes: int
    host_free_bytes: int
    bf16: bool = False  # computes bf16 in hardware
    compute_capability: tuple[int, int] | None = None
    has_amx: bool = False
    has_avx512: bool = False
    int4: Int4Facts | None = None  # of a CPU, where it was timed

    @property
    def fast_bf16(self) -> bool:
        """Whether bf16 is quicker than fp32 on a CPU: with AMX, or where the timing of a layer said so."""
        return self.has_amx or bool(self.int4 and self.int4.product == "bfloat16")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What config.json and the headers of the weight files say."""

    name: str
    folder: Path
    model_type: str
    parameters: int
    matrix_parameters: int  # those of the layers that a quantiser packs: neither embedding nor output
    largest_parameters: int  # of one tensor
    bytes_by_dtype: tuple[tuple[str, int], ...]  # as stored: (("BF16", 3_779_000_000),)
    disk_bytes: int
    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    max_positions: int
    weight_files: tuple[Path, ...] = ()
    gguf: str = ""  # the file's name, for a folder that holds GGUF
    quantised: Precision | Literal[""] = ""  # stored so by bitsandbytes

    @property
    def stored_dtype(self) -> str:
        """torch's name of the dtype of most weights: so they can be mapped rather than converted."""
        return next((_STORED[name] for name, _ in self.bytes_by_dtype if name in _STORED), "bfloat16")


_EMBEDDING = 92_544 * 2048
# The smallest of the family, as its files say: what is offered when a larger one does not fit.
INTERNLM2_1_8B = ModelFacts(
    name="internlm2-chat-1_8b",
    folder=Path("internlm2-chat-1_8b"),
    model_type="internlm2",
    parameters=1_889_110_016,
    matrix_parameters=1_889_110_016 - 2 * _EMBEDDING - 49 * 2048,
    largest_parameters=_EMBEDDING,
    bytes_by_dtype=(("BF16", 3_778_220_032),),
    disk_bytes=3_778_220_032,
    layers=24,
    kv_heads=8,
    head_dim=128,
    hidden=2048,
    vocab=92_544,
    max_positions=32_768,
)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What `ragkit.llm.load` does, and what it costs."""

    device: str
    dtype: str  # torch's name, of all that is not packed and of the KV cache
    quantisation: Literal["nf4", "int8", "int4"] | None
    device_map: Mapping[str, str]
    weights_bytes: int
    kv_cache_bytes: int
    peak_load_bytes: int
    total_bytes: int  # while it answers: weights, KV cache, working memory
    precision: Precision
    notes: tuple[str, ...] = ()
    int4: Int4Facts | None = None  # of int4: which way a layer is multiplied
    rounding_s: float = 0.0  # about, of int4 at the first load

    @property
    def label(self) -> str:
        """The precision as shown to the user."""
        return _QUANTISERS.get(self.quantisation or "", LABELS[self.precision])

    @property
    def needed_bytes(self) -> int:
        return max(self.total_bytes, self.peak_load_bytes)

    @property
    def room_bytes(self) -> int:
        """What must be free: what is needed, and a margin for everything else."""
        return self.needed_bytes + MARGIN_BYTES


def plan_load(
    model: ModelFacts,
    device: DeviceFacts,
    precision: str = "auto",
    *,
    context: int = CONTEXT,
    quantiser: bool = True,
) -> LoadPlan:
    """Choose dtype, quantiser and device map, or raise ModelError naming what would fit.

    `context` tokens of KV cache are counted; `quantiser` says whether bitsandbytes is installed.
    """
    if precision != "auto":
        chosen = _explicit(precision)
        _check_supported(model, device, chosen, quantiser)
        plan = _estimate(model, device, chosen, context)
        if plan.room_bytes > device.free_bytes:
            raise _refusal(model, device, plan, context, quantiser)
        return plan
    wanted = [p for p in _preferred(model, device) if _is_supported(model, device, p, quantiser)]
    plans = [_estimate(model, device, p, context) for p in wanted]
    for plan in plans:
        comfortable = plan.quantisation is None and device.kind == "cpu"
        room = device.free_bytes * (_COMFORTABLE if comfortable else 1)
        if plan.room_bytes <= room:
            return plan
    raise _refusal(model, device, plans[-1], context, quantiser)


def plan_first(
    model: ModelFacts,
    devices: Sequence[DeviceFacts],
    precision: str = "auto",
    *,
    context: int = CONTEXT,
    quantiser: bool = True,
) -> LoadPlan:
    """Plan for the first device that the model fits; raise the first one's error when it fits none."""
    first: ModelError | None = None
    for device in devices:
        try:
            plan = plan_load(model, device, precision, context=context, quantiser=quantiser)
        except ModelError as error:
            first = first or error
            continue
        return replace(plan, notes=("fallback_device", *plan.notes)) if first else plan
    assert first, "no device was given"
    raise first


def fitting(
    model: ModelFacts, device: DeviceFacts, *, context: int = CONTEXT, quantiser: bool = True
) -> list[LoadPlan]:
    """Return the plans of every precision that fits the device, the smallest first."""
    plans = (
        _estimate(model, device, p, context) for p in PRECISIONS if _is_supported(model, device, p, quantiser)
    )
    fit = [plan for plan in plans if plan.room_bytes <= device.free_bytes]
    return sorted(fit, key=lambda plan: plan.needed_bytes)


def best_fitting(
    model: ModelFacts, device: DeviceFacts, *, context: int = CONTEXT, quantiser: bool = True
) -> LoadPlan | None:
    """Return the precision to offer when another one does not fit: one that 'auto' would take, else the largest."""
    fit = fitting(model, device, context=context, quantiser=quantiser)
    wanted = _preferred(model, device)
    return next((plan for plan in fit if plan.precision in wanted), fit[-1] if fit else None)


def _explicit(precision: str) -> Precision:
    for known in PRECISIONS:
        if precision == known:
            return known
    raise UsageError(f"unknown precision {precision!r}", f"Choose one of: auto, {', '.join(PRECISIONS)}.")


def _preferred(model: ModelFacts, device: DeviceFacts) -> tuple[Precision, ...]:
    """Return what 'auto' tries, the best first. 8bit never: larger than 4bit and slower than bf16."""
    if model.quantised:
        return (model.quantised,)
    if device.kind == "cuda":
        return ("bf16" if device.bf16 else "fp16", "4bit")
    if device.kind == "mps":
        return ("fp16",)
    if model.gguf:  # packed weights, which transformers multiplies in fp32 whatever it is asked for
        return ("fp32", "bf16")
    plain: Precision = "bf16" if device.fast_bf16 else "fp32"
    most = _PAYS * (_BF16_WITH_AMX if device.has_amx else _BF16_WITH_AVX512 if device.fast_bf16 else 1)
    # Where timing a layer did not show that it pays, 4bit is for want of room.
    return ("4bit", plain) if device.int4 and device.int4.answer_time <= most else (plain, "4bit")


def _is_supported(model: ModelFacts, device: DeviceFacts, precision: Precision, quantiser: bool) -> bool:
    try:
        _check_supported(model, device, precision, quantiser)
    except ModelError:
        return False
    return True


def _check_supported(model: ModelFacts, device: DeviceFacts, precision: Precision, quantiser: bool) -> None:
    """Raise ModelError where memory is not the question."""
    if model.quantised and precision != model.quantised:
        raise ModelError(
            f"{model.name} is stored in {_stored_label(model.quantised)}; it cannot be loaded in "
            f"{LABELS[precision]}.",
            f"Use --precision {model.quantised}, or the model's folder that is not quantised.",
        )
    if precision not in ("4bit", "8bit"):
        return
    if model.gguf:
        raise ModelError(
            f"{model.gguf} is a GGUF file, which is unpacked when it is loaded; {precision} is not possible.",
            "Use --precision auto.",
        )
    if device.kind == "mps":
        raise ModelError(
            f"{precision} needs bitsandbytes, which does not run on {device.name} (MPS).",
            "Use --precision fp16, or --device cpu.",
        )
    if not quantiser and not _is_int4(model, device, precision):
        raise ModelError(
            f"{precision} needs bitsandbytes, which is not installed.", f"pip install {BITSANDBYTES}"
        )


def _stored_label(precision: Precision) -> str:
    return _QUANTISERS["nf4"] if precision == "4bit" else LABELS[precision]


def _is_int4(model: ModelFacts, device: DeviceFacts, precision: Precision) -> bool:
    """Whether 4bit is ragkit's own: on a CPU, unless bitsandbytes has packed the weights already."""
    return precision == "4bit" and device.kind == "cpu" and not model.quantised


def _estimate(model: ModelFacts, device: DeviceFacts, precision: Precision, context: int) -> LoadPlan:
    quantisation: Literal["nf4", "int8", "int4"] | None = None
    packed_parameters = model.matrix_parameters
    others = model.parameters - packed_parameters
    if _is_int4(model, device, precision):
        # The kernel takes bf16 alone. All between the linear layers is quicker in fp32 but with AMX: on AVX2 prefill
        # 1.17 x and decode 1.27 x, on an AVX-512 that multiplies bf16 quickly 1.08 x and 1.23 x (1.8B).
        dtype = "bfloat16" if device.has_amx else "float32"
        quantisation = "int4"
        output = model.vocab * model.hidden
        packed_parameters += (
            output  # the output layer is packed too; one that is the embedding as a copy of it
        )
        others -= output if others >= 2 * output else 0
    elif precision == "4bit":
        # The dtype of the products: bf16 where it is in hardware, else what the device computes best.
        dtype = "bfloat16" if device.bf16 else "float32" if device.kind == "cpu" else "float16"
        quantisation = "nf4"
    elif precision == "8bit":
        dtype = "float16"  # LLM.int8() casts everything else to it at every layer
        quantisation = "int8"
    else:
        dtype = _DTYPES[precision]
    width = _WIDTHS[dtype]
    # What 4 bits do not hold is nearly all embedding, which int4_model leaves as it is stored.
    others_width = min(width, _WIDTHS[model.stored_dtype]) if quantisation == "int4" else width
    packed = {"nf4": _NF4_BYTES, "int8": _INT8_BYTES, "int4": _INT4_BYTES, None: float(width)}[quantisation]
    weights = math.ceil(packed_parameters * packed + others * others_width)
    tokens = min(context, model.max_positions)
    kv_cache = 2 * model.layers * model.kv_heads * model.head_dim * width * tokens
    # Tensor by tensor: beside what is there already lies the largest one, on its way from the file's dtype; of int4 its
    # numbers, before and while they are packed.
    peak = weights + model.largest_parameters * (1 if quantisation == "int4" else width)
    return LoadPlan(
        device=device.device,
        dtype=dtype,
        quantisation=quantisation,
        device_map={"": device.device},
        weights_bytes=weights,
        kv_cache_bytes=kv_cache,
        peak_load_bytes=peak,
        total_bytes=weights + kv_cache + _WORK_BYTES,
        precision=precision,
        notes=tuple(_notes(model, device, precision)),
        int4=device.int4 if quantisation == "int4" else None,
        rounding_s=packed_parameters / _ROUNDED_PER_S if quantisation == "int4" else 0.0,
    )


def _notes(model: ModelFacts, device: DeviceFacts, precision: Precision) -> Iterator[str]:
    if precision == "bf16" and not (device.fast_bf16 if device.kind == "cpu" else device.bf16):
        yield "bf16_emulated"
    if precision == "fp16" and device.kind == "cpu":
        yield "fp16_on_cpu"
    if _is_int4(model, device, precision):
        if device.int4 and device.int4.kernel_rows == 0:
            yield "int4_slow"
        yield "int4_once"
    elif precision == "8bit" and device.kind == "cpu" and not model.quantised:
        yield "quantise_once"


def _refusal(
    model: ModelFacts, device: DeviceFacts, plan: LoadPlan, context: int, quantiser: bool
) -> ModelError:
    message = (
        f"{model.name} in {plan.label} takes {gigabytes(plan.needed_bytes)} (weights {gigabytes(plan.weights_bytes)}, "
        f"{min(context, model.max_positions):,} tokens of context {gigabytes(plan.kv_cache_bytes)}), and "
        f"{gigabytes(MARGIN_BYTES)} must stay free; {gigabytes(device.free_bytes)} are free on {device.name}."
    )
    if best := best_fitting(model, device, context=context, quantiser=quantiser):
        return ModelError(
            message, f"--precision {best.precision} fits: it takes {gigabytes(best.needed_bytes)}."
        )
    hints = []
    small = best_fitting(INTERNLM2_1_8B, device, context=context, quantiser=quantiser)
    if not quantiser and fitting(model, device, context=context):
        hints.append(f"4bit would fit: pip install {BITSANDBYTES}")
    elif small and model.parameters > INTERNLM2_1_8B.parameters:
        hints.append(
            f"{INTERNLM2_1_8B.name} fits with --precision {small.precision}: it takes "
            f"{gigabytes(small.needed_bytes)}."
        )
    hints.append("Else close other programs; without a model ragkit answers with quotations.")
    return ModelError(message, " ".join(hints))
