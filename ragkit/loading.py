"""A model folder into memory, as its LoadPlan says: InternLM2 by ragkit's own loader, any other by transformers.

Only safetensors and GGUF are opened and no code of the folder is ever run. Keeps the result of quantising on a CPU.
Knows nothing of chats.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.logging import set_tqdm_hook

from ragkit import int4_model, internlm2, internlm2_tokenizer, models
from ragkit.errors import ModelError
from ragkit.generation import forward
from ragkit.load_plan import LoadPlan, ModelFacts, fitting
from ragkit.memory import is_out_of_memory, release_memory
from ragkit.model_facts import device_facts, has_quantiser

logger = logging.getLogger(__name__)

# Told what is being done ("weights", "quantise", "save", "warm_up") and how much of it, 0 to 1. An exception that
# it raises ends the loading.
Progress = Callable[[str, float], None]

_CACHE_FORMAT = 1
_BARS = ("Loading weights", "Writing model shards")  # transformers' names for them
_AGAIN = "If it is a partial or changed copy, download all files of the model again."


def load_parts(
    facts: ModelFacts, plan: LoadPlan, *, progress: Progress | None = None, cache_dir: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer, and run the model once. Its generation_config names every token that ends a turn.

    Weights that were quantised on a CPU are kept under `cache_dir`: rounding 1.8B to 4 bits takes about a minute,
    mapping and packing the result seconds (tests/bench/llm.py).
    """
    report = progress or (lambda stage, done: None)
    if facts.model_type not in CONFIG_MAPPING and facts.model_type != internlm2.MODEL_TYPE and not facts.gguf:
        raise ModelError(
            f"{facts.name} is of the type {facts.model_type!r}, which this transformers does not know.",
            "A model that brings its own code is not run. Choose InternLM2, Qwen, Llama or another known type.",
        )
    try:
        # InternLM2's tokenizer takes 10 s to build, about as long as the weights: both at once.
        with ThreadPoolExecutor(max_workers=1) as pool:
            tokenizer_job = pool.submit(_load_tokenizer, facts)
            model = _load_weights(facts, plan, report, cache_dir)
            tokenizer = tokenizer_job.result()
        report("warm_up", 0.0)
        _warm_up(model)
    except Exception as error:  # torch, transformers, safetensors and bitsandbytes each raise their own
        ours = _translated(error, facts, plan)
        if ours is error:
            raise
        raise ours from error
    model.eval()  # type: ignore[no-untyped-call]
    assert model.generation_config is not None
    model.generation_config.eos_token_id = sorted(_end_ids(model, tokenizer))
    model.name_or_path = tokenizer.name_or_path = str(facts.folder)  # HuggingFaceLLM compares the two
    report("warm_up", 1.0)
    return model, tokenizer


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer: the tokenizer's, and those of generation_config.json (Qwen and Llama 3: two)."""
    given: Any = model.generation_config.eos_token_id if model.generation_config else None
    listed = given if isinstance(given, list) else [given]
    return {*internlm2_tokenizer.stop_ids(tokenizer), *(i for i in listed if isinstance(i, int))}


def read_tokenizer(facts: ModelFacts) -> PreTrainedTokenizerBase:
    """Read the folder's tokenizer, whether or not it has a chat template."""
    if facts.model_type == internlm2.MODEL_TYPE and not facts.gguf:
        return internlm2_tokenizer.load_tokenizer(facts.folder)
    gguf = {"gguf_file": facts.gguf} if facts.gguf else {}
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        facts.folder, trust_remote_code=False, local_files_only=True, **gguf
    )
    return tokenizer


def _load_tokenizer(facts: ModelFacts) -> PreTrainedTokenizerBase:
    tokenizer = read_tokenizer(facts)
    if not tokenizer.chat_template:
        raise ModelError(
            f"{facts.name} has no chat template: it only continues texts.",
            "Choose the chat or instruct version of the model.",
        )
    return tokenizer


def _load_weights(
    facts: ModelFacts, plan: LoadPlan, report: Progress, cache_dir: Path | None
) -> PreTrainedModel:
    options: dict[str, Any] = {"dtype": getattr(torch, plan.dtype), "device_map": dict(plan.device_map)}
    if plan.quantisation == "int4":
        with _reported(lambda stage, done: None, "weights"):  # the files are mapped: a moment
            model = _read(facts, options | {"dtype": getattr(torch, facts.stored_dtype)})
        place = _kept(facts, plan, cache_dir) if cache_dir else None
        return int4_model.convert(model, facts, plan, report, place)
    if plan.quantisation is None or facts.quantised:
        with _reported(report, "weights"):
            return _read(facts, options)
    place = _kept(facts, plan, cache_dir) if cache_dir and plan.device == "cpu" else None
    if place and _stamp_of(place) == _stamp(facts, plan):
        try:
            with _reported(report, "weights"):
                return _from_pretrained(place, options)
        except (OSError, RuntimeError, ValueError, SafetensorError, ModelError) as error:
            if is_out_of_memory(error):
                raise
            logger.warning("the kept quantised weights in %s cannot be read: %s", place, error)
    with _reported(report, "quantise"):
        model = _read(facts, options | {"quantization_config": _quantiser(plan)})
    if place:
        with _reported(report, "save"):
            _keep(model, facts, plan, place)
    return model


def _read(facts: ModelFacts, options: dict[str, Any]) -> PreTrainedModel:
    if facts.gguf:
        return _from_pretrained(facts.folder, options | {"gguf_file": facts.gguf})
    if facts.model_type == internlm2.MODEL_TYPE:
        return internlm2.load_model(facts.folder, **options)
    return _from_pretrained(facts.folder, options | {"use_safetensors": True})


def _from_pretrained(folder: Path, options: dict[str, Any]) -> PreTrainedModel:
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True, output_loading_info=True, **options
    )
    model, info = loaded
    if missing := sorted(info["missing_keys"]):  # transformers only warns, and fills in random numbers
        raise ModelError(
            f"the model in {folder} is incomplete: {len(missing)} weights are missing, the first is {missing[0]}",
            _AGAIN,
        )
    return cast(PreTrainedModel, model)


def _quantiser(plan: LoadPlan) -> BitsAndBytesConfig:
    if plan.quantisation == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, plan.dtype),
    )


@torch.inference_mode()
def _warm_up(model: PreTrainedModel) -> None:
    """Run one token: what cannot compute shows now and not at the first question, and mapped weights are read."""
    logits = forward(model, torch.zeros((1, 1), dtype=torch.long, device=model.device), DynamicCache())
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"the model computes no numbers (NaN) in {str(model.dtype).removeprefix('torch.')}",
            "Choose another precision: bf16 or fp32.",
        )


# Weights that bitsandbytes has quantised, kept


def _kept(facts: ModelFacts, plan: LoadPlan, cache_dir: Path) -> Path:
    """One place a source folder and precision, so that a changed model replaces its old weights."""
    return cache_dir / f"{models.quantised_name(facts.folder)}{plan.precision}"


def _stamp(facts: ModelFacts, plan: LoadPlan) -> dict[str, Any]:
    """What the quantised weights were made of."""
    files = [facts.folder / "config.json", *facts.weight_files]
    stats = [(file.name, file.stat()) for file in files]
    return {
        "format": _CACHE_FORMAT,
        "dtype": plan.dtype,
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
    }


def _stamp_of(place: Path) -> object:
    try:
        return json.loads((place / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _keep(model: PreTrainedModel, facts: ModelFacts, plan: LoadPlan, place: Path) -> None:
    """Save the quantised model; that it cannot be saved is no reason not to use it."""
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(place.parent).free < 1.2 * plan.weights_bytes:
            logger.warning("too little disk space to keep the quantised weights in %s", place)
            return
        if facts.model_type == internlm2.MODEL_TYPE:
            internlm2.save_llama(model, internlm2_tokenizer.load_tokenizer(facts.folder), place)
        else:
            with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
                model.save_pretrained(Path(scratch, place.name))
                Path(scratch, place.name).rename(place)
        # Last: weights without a stamp were not finished.
        (place / "source.json").write_text(json.dumps(_stamp(facts, plan)), encoding="utf-8")
    except (OSError, RuntimeError, ModelError) as error:
        logger.warning("the quantised weights cannot be kept in %s: %s", place, error)


# Progress and errors


@contextmanager
def _reported(report: Progress, stage: str) -> Iterator[None]:
    """Send transformers' progress bars over weights to `report`; other bars stay as they are."""

    def counted(items: Any) -> Iterator[object]:
        for done, item in enumerate(cast(Iterable[object], items)):
            report(stage, done / len(items))
            yield item

    def hook(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return counted(args[0]) if kwargs.get("desc") in _BARS else make(*args, **kwargs)

    report(stage, 0.0)
    previous = set_tqdm_hook(hook)
    try:
        yield
    finally:
        set_tqdm_hook(previous)
    report(stage, 1.0)


def _translated(error: Exception, facts: ModelFacts, plan: LoadPlan) -> Exception:
    if is_out_of_memory(error) or is_out_of_memory(error.__cause__):
        error.__traceback__ = None  # its frames hold what was loaded
        release_memory()
        fit = fitting(facts, device_facts(plan.device), quantiser=has_quantiser())
        smaller = [other for other in fit if other.needed_bytes < plan.needed_bytes]
        return ModelError(
            f"the memory of {plan.device} ran out while {facts.name} was loaded in {plan.label}",
            f"--precision {smaller[-1].precision} fits." if smaller else "Close other programs.",
        )
    if isinstance(error, ImportError):
        missing = "gguf==0.19.0" if "gguf" in str(error).lower() else error.name or "requirements.txt"
        return ModelError(f"a package that {facts.name} needs is missing: {error}", f"pip install {missing}")
    if isinstance(error, OSError | RuntimeError | ValueError | KeyError | SafetensorError):
        return ModelError(
            f"{facts.name} in {facts.folder} cannot be loaded: {type(error).__name__}: {error}", _AGAIN
        )
    return error  # a ModelError, what `progress` raised, or a defect of ours
