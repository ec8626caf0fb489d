"""A model with 4-bit linear layers: made layer by layer from its checkpoint, or from what was kept of that.

The checkpoint is mapped, never copied as a whole: what is rounded lies in the system's file cache, and a model in
memory is its packed layers and what is no linear layer. Knows no chat, no device but the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from ragkit import int4, int4_kept
from ragkit.errors import ModelError
from ragkit.int4_kept import Source, Tensors
from ragkit.load_plan import INT4_GROUP, Int4Facts, LoadPlan, ModelFacts

logger = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
# Of a plan that was made without timing the processor: the kernel for one row, as it is on AVX2 and better.
_UNTIMED = Int4Facts(kernel_rows=16, product="float32", decode=1.0, prefill=1.0)


def convert(
    model: PreTrainedModel, facts: ModelFacts, plan: LoadPlan, report: Progress, place: Path | None
) -> PreTrainedModel:
    """Replace the linear layers of a model that was read in `facts.stored_dtype`, and put the rest into the plan's dtype.

    The embedding stays as it is stored, in the mapped file, unless the plan's dtype takes less: what a token picks of
    it is converted.

    `place`: the folder in which the rounded weights are kept, and looked for.
    """
    source = Source([facts.folder / "config.json", *facts.weight_files], {"group": INT4_GROUP})
    names = list(_linear(model))
    kept = _kept(model, names, source, place)
    if kept is None:
        _round(model, names, plan, report, int4_kept.Writing(place, source, facts.parameters * 5 // 8))
    else:
        for done, name in enumerate(names):
            report("weights", done / len(names))
            scales = kept[f"{name}.scales"].clone()  # out of the file, which then can be replaced
            _replace(model, name, kept[f"{name}.nibbles"], scales, plan)
        report("weights", 1.0)
    stored, dtype = (getattr(torch, name) for name in (facts.stored_dtype, plan.dtype))
    embedding = model.get_input_embeddings()
    picked = embedding.weight if dtype.itemsize >= stored.itemsize else None
    for parameter in model.parameters():
        if parameter.dtype == stored and parameter is not picked:  # what transformers keeps in fp32 stays so
            parameter.data = parameter.data.to(dtype)
    if picked is not None and stored != dtype:
        embedding.register_forward_hook(lambda module, ids, rows: rows.to(dtype))
    model.config.dtype = dtype
    return model


def _linear(model: PreTrainedModel) -> Iterator[str]:
    """Name every linear layer that 4 bits can hold, the output too. One that is the embedding gets a copy of it."""
    for name, module in model.named_modules():
        if type(module) is nn.Linear and int4.group_of(module.in_features):
            yield name


def _replace(
    model: PreTrainedModel, name: str, nibbles: torch.Tensor, scales: torch.Tensor, plan: LoadPlan
) -> None:
    bias = getattr(model.get_submodule(name), "bias", None)
    facts = plan.int4 or _UNTIMED
    layer = int4.Int4Linear(
        nibbles,
        scales,
        None if bias is None else bias.detach().to(getattr(torch, plan.dtype)),
        kernel_rows=facts.kernel_rows,
        product=getattr(torch, facts.product),
    )
    model.set_submodule(name, layer)


def _kept(model: PreTrainedModel, names: list[str], source: Source, place: Path | None) -> Tensors | None:
    """The weights that were kept, mapped; None where there are none, or others."""
    if place is None or not place.exists():
        return None
    if not source.is_of(place):
        logger.info("the 4-bit weights kept in %s are not of these files: they are made anew", place)
        return None
    try:
        found = int4_kept.read(place)
        for name in names:
            rows, columns = _weight(model, name).shape
            nibbles, scales = found[f"{name}.nibbles"], found[f"{name}.scales"]
            expected = (columns // int4.group_of(columns), int4.filled(rows), 2)
            if nibbles.shape != (rows, columns // 2) or scales.shape != expected:
                raise ValueError(f"{name} has another shape")
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        logger.warning("the 4-bit weights kept in %s cannot be read, they are made anew: %s", place, error)
        return None
    return found


def _round(
    model: PreTrainedModel, names: list[str], plan: LoadPlan, report: Progress, writing: int4_kept.Writing
) -> None:
    total = sum(_weight(model, name).numel() for name in names)
    done = 0
    with writing:
        for name in names:
            report("quantise", done / total)
            weight = _weight(model, name)
            done += weight.numel()
            nibbles, scales = int4.quantise(weight, int4.group_of(weight.shape[1]))
            if not bool(scales.isfinite().all()):
                raise ModelError(f"the weights of {name} are no numbers (NaN)", "Download the model again.")
            _replace(model, name, nibbles, scales, plan)
            del weight  # of a fused layer it was a copy
            writing.add({f"{name}.nibbles": nibbles, f"{name}.scales": scales})
        report("quantise", 1.0)
        report("save", 0.0)
        writing.finish()
        report("save", 1.0)


def _weight(model: PreTrainedModel, name: str) -> torch.Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()
