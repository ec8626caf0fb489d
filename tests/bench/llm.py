"""InternLM2 at full size, precision by precision, against the tutorial's fp32: `python tests/bench/llm.py`.

Prints one JSON document. Writes a random InternLM2-1.8B checkpoint (bf16 shards, 3.8 GB) into a temporary folder
and removes it afterwards. Every precision is loaded by ragkit.llm.load in a process of its own; the ratios are to
"stock" of the same run: the same model in fp32 by transformers' `generate`, which is what the tutorial's HuggingFaceLLM
calls. The page cache is warm. "nf4" is bitsandbytes' 4 bits, which ragkit uses on CUDA only: loaded here by
transformers, for comparison. On a machine that does other work the rates are too low and the ratios noise: the load
average is printed beside them.

    --precisions stock,fp32,4bit,bf16   --layers 4 (a quick run)   --device cuda   --folder DIR (a model that is there)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.bars import bar
from tests.bench.llm_checkpoint import write_checkpoint
from tests.bench.llm_meters import peak_memory, read_bandwidth

PREFILL_TOKENS = (512, 1500)
DECODE_TOKENS = 24
LONG_PROMPT = 1024  # two slices: stopped in the first one
CHILD_TIMEOUT_S = 2400
RATES = tuple(f"{what}_{length}_tokens_per_s" for what in ("prefill", "decode") for length in PREFILL_TOKENS)
PACKAGES = ("torch", "transformers", "accelerate", "bitsandbytes", "llama-index-llms-huggingface")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--precisions", default="stock,4bit,fp32,nf4")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # in the child: one precision
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.folder, options.one, options.device, options.cache)))
        return
    with tempfile.TemporaryDirectory(prefix="ragkit-llm-") as scratch:
        folder = options.folder or write_checkpoint(Path(scratch, "internlm2-random"), options.layers)
        results = {
            precision: _in_a_process(folder, precision, options.device, Path(scratch, "cache"))
            for precision in options.precisions.split(",")
        }
        size_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    document = {
        "benchmark": "llm",
        "checkpoint": {"layers": options.layers, "size_bytes": size_bytes, "weights": "random, bf16"},
        "precisions": results,
        "ratios_to_stock": _ratios(results),
        "bars": _bars(results, options.layers),
        "machine": {
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpu_count": os.cpu_count(),
            "load_average": _load_average(),
            **{package: _version(package) for package in PACKAGES},
        },
    }
    print(json.dumps(document, indent=2))


def measure(folder: Path, precision: str, device: str, cache: Path) -> dict[str, Any]:
    """Load, prefill, decode and stop in one precision."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    from ragkit.llm import load

    disable_progress_bar()
    if precision in ("stock", "nf4"):
        return _by_transformers(folder, device, nf4=precision == "nf4")
    bandwidth = read_bandwidth(device)  # before and after: the machine may be busy at one of the times
    result: dict[str, Any] = {"load_average": _load_average()}
    with peak_memory(device) as memory:
        started = time.perf_counter()
        llm = load(folder, precision=precision, device=device, cache_dir=cache)
        result["load_and_first_forward_s"] = round(time.perf_counter() - started, 2)
    result["peak_memory_at_load"] = dict(memory)
    if (
        llm.plan and llm.plan.quantisation and device == "cpu"
    ):  # the first load quantised, the second only reads
        llm.close()
        with peak_memory(device) as memory:
            started = time.perf_counter()
            llm = load(folder, precision=precision, device=device, cache_dir=cache)
            result["load_again_s"] = round(time.perf_counter() - started, 2)
        result["peak_memory_at_load_again"] = dict(memory)
    assert llm.plan
    plan, model = llm.plan, llm._model
    result["plan"] = {
        "label": plan.label,
        "device": plan.device,
        "dtype": plan.dtype,
        "weights_bytes": plan.weights_bytes,
        "peak_load_bytes": plan.peak_load_bytes,
        "total_bytes": plan.total_bytes,
        "timing": asdict(plan.int4) if plan.int4 else None,
    }
    result["held_bytes"] = llm.held_bytes()
    result["device"] = torch.cuda.get_device_name() if device.startswith("cuda") else _cpu_name()
    result["threads"] = torch.get_num_threads()
    with peak_memory(device) as memory:
        result.update(_rates(model))
    result["peak_memory_at_work"] = dict(memory)
    result["stop"] = {
        "while_decoding": _stop(llm, prompt=64, after_forwards=8),
        "while_reading_the_prompt": _stop(llm, prompt=LONG_PROMPT, after_forwards=1),
    }
    embedding_bytes = model.get_input_embeddings().weight.numel() * (2 if plan.dtype != "float32" else 4)
    llm.close()
    bandwidth = max(bandwidth, read_bandwidth(device))
    limit = bandwidth / (plan.weights_bytes - embedding_bytes)  # a token reads all but the other embeddings
    result["read_bandwidth_gb_per_s"] = round(bandwidth / 1e9, 1)
    result["bandwidth_limit_tokens_per_s"] = round(limit, 2)
    result["share_of_bandwidth_limit"] = round(result["decode_512_tokens_per_s"] / limit, 2)
    return result


def _rates(model: Any, *, rounds: int = 2) -> dict[str, float]:
    """Prefill and decode rates as generate_tokens gives them."""
    from ragkit.generation import Options, generate_tokens

    def answer(prompt: list[int], tokens: int) -> Iterator[int]:
        return generate_tokens(model, prompt, Options(tokens), frozenset(), lambda: False)

    return _measured(answer, rounds=rounds)


def _measured(answer: Callable[[list[int], int], Iterator[int]], *, rounds: int = 2) -> dict[str, float]:
    """Rates of a model that answers a prompt with so many tokens; the best of the rounds, after a short one."""

    def times(prompt: list[int], tokens: int) -> list[float]:
        at = [time.perf_counter()]
        for _ in answer(prompt, tokens):
            at.append(time.perf_counter())
        return [after - before for before, after in pairwise(at)]

    rates = {}
    times([1] * 16, 2)
    for length in PREFILL_TOKENS:
        prompt = [1 + number % 1000 for number in range(length)]
        each_round = [times(prompt, DECODE_TOKENS + 1) for _ in range(rounds)]
        rates[f"prefill_{length}_tokens_per_s"] = round(length / min(each[0] for each in each_round), 2)
        step = min(statistics.median(each[1:]) for each in each_round)
        rates[f"decode_{length}_tokens_per_s"] = round(1 / step, 2)
    return rates


def _by_transformers(folder: Path, device: str, *, nf4: bool) -> dict[str, Any]:
    """fp32 by transformers' own `generate`, or NF4 (double quantisation), which was ragkit's 4bit on a CPU before."""
    import torch
    from transformers import BitsAndBytesConfig

    from ragkit.internlm2 import load_model

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    options = {"dtype": torch.bfloat16, "quantization_config": packed} if nf4 else {"dtype": torch.float32}
    result: dict[str, Any] = {"load_average": _load_average()}
    with peak_memory(device) as memory:
        started = time.perf_counter()
        model = load_model(folder, device_map={"": device}, **options)
        result["load_s"] = round(time.perf_counter() - started, 2)
    result["peak_memory_at_load"] = dict(memory)
    return result | (_rates(model, rounds=1) if nf4 else _measured(partial(_generate, model)))


def _generate(model: Any, prompt: list[int], tokens: int) -> Iterator[int]:
    """The tokens of `generate`, as they come: greedy, in a thread, as HuggingFaceLLM streams."""
    import torch

    came: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    class Streamer:
        """What `generate` gives its tokens to; the first are the prompt."""

        def put(self, value: Any) -> None:
            for token in value.flatten().tolist() if value.numel() == 1 else ():
                came.put(token)

        def end(self) -> None:
            came.put(None)

    ids = torch.tensor([prompt], device=model.device)
    options = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    thread = threading.Thread(target=model.generate, args=(ids,), kwargs={**options, "streamer": Streamer()})
    thread.start()
    while (token := came.get()) is not None:
        yield token
    thread.join()


def _stop(llm: Any, *, prompt: int, after_forwards: int) -> dict[str, float]:
    """Close an answer while a forward runs; count the forwards that follow and the seconds until another has begun."""
    from ragkit.generation import Options
    from ragkit.worker import Stream

    began: list[float] = []
    reached = threading.Event()

    def note(*_: object) -> None:
        began.append(time.perf_counter())
        if len(began) == after_forwards:
            reached.set()

    hook = llm._model.register_forward_pre_hook(note)
    first = Stream(llm._worker, [1 + number % 1000 for number in range(prompt)], Options(1000))
    reader = threading.Thread(target=lambda: list(first), daemon=True)
    reader.start()
    reached.wait()
    closed = time.perf_counter()
    first.request.cancel()
    returned = time.perf_counter() - closed
    list(Stream(llm._worker, [1], Options(1)))
    hook.remove()
    return {
        "close_returns_after_s": round(returned, 6),
        "forwards_begun_after_close": len([at for at in began if at > closed]) - 1,  # the next request's own
        "next_request_begins_after_s": round(began[-1] - closed, 3),
    }


def _in_a_process(folder: Path, precision: str, device: str, cache: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", precision, "--folder", str(folder), "--device", device]
    done = subprocess.run(
        [*command, "--cache", str(cache)],
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-2:]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{precision}: {json.dumps(answer)}", file=sys.stderr, flush=True
    )  # minutes before the document is whole
    return answer


def _ratios(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    base = results.get("stock", {})
    return {
        precision: {
            rate: round(result[rate] / base[rate], 2) for rate in RATES if rate in result and rate in base
        }
        for precision, result in results.items()
    }


def _bars(results: dict[str, dict[str, Any]], layers: int) -> list[dict[str, Any]]:
    """The bars for 4 bits: they count on a processor with AVX-512 and the whole model."""
    if any("failed" in results.get(name, {"failed": ""}) for name in ("4bit", "stock")):
        return []
    from ragkit.model_facts import device_facts

    counts = device_facts("cpu").has_avx512 and layers == 24
    ratios = _ratios(results)["4bit"]
    lowest = zip(RATES, (0.75, 0.85, 3.0, 3.0), strict=True)
    told = [
        bar(f"4bit: {rate}, of stock's", ratios[rate], at_least=least, counts=counts)
        for rate, least in lowest
    ]
    weights_gb = results["4bit"]["plan"]["weights_bytes"] / 1e9
    return [*told, bar("4bit: weights, GB", weights_gb, at_most=2.2, counts=layers == 24)]


def _load_average() -> list[float] | None:
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _cpu_name() -> str:
    from ragkit.model_facts import device_facts

    facts = device_facts("cpu")
    return f"{facts.name}, AVX-512 {facts.has_avx512}, AMX {facts.has_amx}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
