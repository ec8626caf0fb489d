"""What rounding to 4 bits costs in accuracy: `python tests/bench/int4.py`.

Prints one JSON document: the relative error of a layer, and how far the distributions of the next token move (KL
divergence, in nats) when every linear layer is rounded; in groups of 32 and 64, by cutting each group's range evenly
and with scale and zero fitted by least squares. Needs no InternLM2: random layers, the small golden checkpoints, and
SmolLM2-135M where it was downloaded. That file is rounded to 4 bits in groups of 32 already (Q4_1), so that its
figures are of rounding twice: the ones for 64 are near what a first rounding costs, those for 32 too good.

    --tokens 512   --golden DIR   --smollm2 FILE.gguf
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch

from ragkit import int4
from ragkit.config import REPOSITORY, SAMPLES

GROUPS = (32, 64)
REFITS = (0, 1, 2)
SHAPE = (2048, 2048)
GOLDEN = ROOT / "tests" / "data" / "internlm2-golden"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--golden", type=Path, default=GOLDEN)
    parser.add_argument("--smollm2", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    heavy = torch.distributions.StudentT(torch.tensor(4.0)).sample(torch.Size(SHAPE)) * 0.02
    document = {
        "benchmark": "int4",
        "chosen": {"group": int4.INT4_GROUP, "refits": int4._REFITS},
        "relative_error_of_a_layer": {
            "normal": errors(torch.randn(SHAPE) * 0.02),
            "heavy_tails_student_t4": errors(heavy),
        },
        "next_token": {
            **golden(options.golden),
            "smollm2-135m": smollm2(options.smollm2, options.tokens),
        },
    }
    print(json.dumps(document, indent=2))


def errors(weight: torch.Tensor) -> dict[str, dict[str, float]]:
    """|rounded - weight| / |weight| by group and refits, and the seconds that rounding takes."""
    found = {}
    for group, refits in product(GROUPS, REFITS):
        started = time.process_time()
        rounded = int4.quantise(weight, group, refits=refits)
        took = time.process_time() - started
        error = float((int4.dequantise(*rounded) - weight).norm() / weight.norm())
        found[_name(group, refits)] = {
            "error": round(error, 5),
            "cpu_s_per_100m_weights": round(took / weight.numel() * 1e8, 2),
        }
    return found


def golden(folder: Path) -> dict[str, Any]:
    """The tiny random checkpoints, against the reference logits of the original code."""
    import numpy as np

    from ragkit.internlm2 import load_model

    if not (folder / "reference.npz").exists():
        return {"golden": {"skipped": f"{folder} has no reference.npz"}}
    reference = np.load(folder / "reference.npz")
    found = {}
    for name in ("plain", "dynamic", "linear", "bias"):
        ids = torch.from_numpy(reference[f"{name}.100.input_ids"])
        expected = torch.from_numpy(reference[f"{name}.100.logits"])
        model = load_model(folder / name, dtype=torch.float32)
        found[f"golden-{name}"] = _moved(
            model, lambda model=model, ids=ids: model(ids).logits[0], expected[0]
        )
    return found


def smollm2(file: Path | None, tokens: int) -> dict[str, Any]:
    """Real weights over the text of the English samples."""
    from ragkit import models
    from ragkit.load_plan import plan_load
    from ragkit.loading import load_parts
    from ragkit.model_facts import device_facts, model_facts

    place = file or models.find_local(models.SMOLLM2, REPOSITORY / "data")
    if place is None:
        return {"skipped": "needs: python -m ragkit download smollm2-135m"}
    facts = model_facts(place)
    model, tokenizer = load_parts(facts, plan_load(facts, device_facts("cpu"), "fp32"))
    english = [path.read_text(encoding="utf-8") for path in sorted(SAMPLES.glob("*_en.md"))]
    ids = torch.tensor([tokenizer("\n\n".join(english)).input_ids[:tokens]])
    with torch.inference_mode():
        expected = model(ids).logits[0]
        found = _moved(model, lambda: model(ids).logits[0], expected)
    return {"tokens": ids.shape[1], "stored": "Q4_1: rounded before", **found}


@torch.inference_mode()
def _moved(model: Any, logits: Callable[[], torch.Tensor], expected: torch.Tensor) -> dict[str, Any]:
    """Round the layers each way in turn; KL(expected || rounded), and how often the likeliest token is the same."""
    layers = [each for each in model.modules() if type(each) is torch.nn.Linear]
    weights = [layer.weight for layer in layers]
    found = {}

    def measured() -> dict[str, float]:
        got = logits().log_softmax(-1)
        sure = expected.float().log_softmax(-1)
        divergence = (sure.exp() * (sure - got)).sum(-1)
        return {
            "kl_mean": float(f"{divergence.mean():.3g}"),
            "kl_p99": float(f"{divergence.quantile(0.99):.3g}"),
            "same_token": round(float((got.argmax(-1) == sure.argmax(-1)).float().mean()), 4),
        }

    found["unrounded"] = measured()
    for group, refits in product(GROUPS, (0, int4._REFITS)):
        for layer, weight in zip(layers, weights, strict=True):
            fits = group if weight.shape[1] % group == 0 else int4.group_of(weight.shape[1])
            rounded = int4.dequantise(*int4.quantise(weight.detach(), fits, refits=refits))
            layer.weight = torch.nn.Parameter(rounded, requires_grad=False)
        found[_name(group, refits)] = measured()
    for layer, weight in zip(
        layers, weights, strict=True
    ):  # as it runs: the chosen way, the kernel, bf16 in between
        rounded = int4.quantise(weight.detach(), int4.group_of(weight.shape[1]))
        _swap(model, layer, int4.Int4Linear(*rounded, layer.bias, kernel_rows=1 << 20))
    found["as_it_runs_by_the_kernel"] = measured()
    return found


def _swap(model: torch.nn.Module, old: torch.nn.Module, new: torch.nn.Module) -> None:
    name = next(name for name, module in model.named_modules() if module is old)
    model.set_submodule(name, new)


def _name(group: int, refits: int) -> str:
    return f"group {group}, {'range cut evenly' if not refits else f'{refits} refits'}"


if __name__ == "__main__":
    main()
