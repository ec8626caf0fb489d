"""InternLM2 at full size, precision by precision, against the tutorial's fp32: `python tests/bench/llm.py`.

Prints one JSON document. Writes a random InternLM2-1.8B checkpoint (bf16 shards, 3.8 GB) into a temporary folder
and removes it afterwards. Every precision is loaded by ragkit.llm.load in a process of its own; the ratios are to
fp32 of the same run, which is what the tutorial's HuggingFaceLLM gave on transformers 4. The page cache is warm.

    --precisions fp32,bf16,4bit   --layers 4 (a quick run)   --device cuda   --folder DIR (a model that is there)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PREFILL_TOKENS = 512
DECODE_TOKENS = 24
LONG_PROMPT = 1024  # four slices: stopped in the first one
SHARD_BYTES = 1 << 30
BANDWIDTH_BYTES = 1 << 30
CHILD_TIMEOUT_S = 1200
PACKAGES = ("torch", "transformers", "accelerate", "bitsandbytes", "llama-index-llms-huggingface")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--precisions", default="fp32,bf16,4bit")
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
        "ratios_to_fp32": _ratios(results),
        "machine": {
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpu_count": os.cpu_count(),
            "load_average": [round(value, 2) for value in os.getloadavg()]
            if hasattr(os, "getloadavg")
            else None,
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
    bandwidth = _read_bandwidth(device)  # before and after: the machine may be busy at one of the times
    result: dict[str, Any] = {}
    with _peak_memory(device) as memory:
        started = time.perf_counter()
        llm = load(folder, precision=precision, device=device, cache_dir=cache)
        result["load_and_first_forward_s"] = round(time.perf_counter() - started, 2)
    result["peak_memory_at_load"] = dict(memory)
    if (
        llm.plan and llm.plan.quantisation and device == "cpu"
    ):  # the first load quantised, the second only reads
        llm.close()
        with _peak_memory(device) as memory:
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
    }
    result["device"] = torch.cuda.get_device_name() if device.startswith("cuda") else _cpu_name()
    result["threads"] = torch.get_num_threads()
    with _peak_memory(device) as memory:
        result.update(_rates(model))
    result["peak_memory_at_work"] = dict(memory)
    result["stop"] = {
        "while_decoding": _stop(llm, prompt=64, after_forwards=8),
        "while_reading_the_prompt": _stop(llm, prompt=LONG_PROMPT, after_forwards=1),
    }
    embedding_bytes = model.get_input_embeddings().weight.numel() * (2 if plan.dtype != "float32" else 4)
    llm.close()
    bandwidth = max(bandwidth, _read_bandwidth(device))
    limit = bandwidth / (plan.weights_bytes - embedding_bytes)  # a token reads all but the other embeddings
    result["read_bandwidth_gb_per_s"] = round(bandwidth / 1e9, 1)
    result["bandwidth_limit_tokens_per_s"] = round(limit, 2)
    result["share_of_bandwidth_limit"] = round(result["decode_tokens_per_s"] / limit, 2)
    return result


def _rates(model: Any) -> dict[str, float]:
    """Prefill and decode rates as generate_tokens gives them; the better of two rounds, after a short one."""
    from ragkit.generation import Options, generate_tokens

    def times(prompt: list[int], tokens: int) -> list[float]:
        at = [time.perf_counter()]
        for _ in generate_tokens(model, prompt, Options(tokens), frozenset(), lambda: False):
            at.append(time.perf_counter())
        return [after - before for before, after in pairwise(at)]

    prompt = [1 + number % 1000 for number in range(PREFILL_TOKENS)]
    times(prompt[:16], 2)
    rounds = [times(prompt, DECODE_TOKENS + 1) for _ in range(2)]
    steps = [statistics.median(each[1:]) for each in rounds]
    return {
        "prefill_512_tokens_per_s": round(PREFILL_TOKENS / min(each[0] for each in rounds), 2),
        "decode_tokens_per_s": round(1 / min(steps), 2),
        "decode_best_step_tokens_per_s": round(1 / min(min(each[1:]) for each in rounds), 2),
    }


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


def _read_bandwidth(device: str) -> float:
    """Bytes a second at which a large matrix is read: summed, and multiplied by a vector as decoding does."""
    import torch

    matrix = torch.ones(BANDWIDTH_BYTES // 4 // 4096, 4096, device=device)
    vector = torch.ones(4096, device=device)
    best = float("inf")
    for read in (torch.sum, lambda each: (each @ vector)[0]) * 4:
        started = time.perf_counter()
        read(matrix).item()
        best = min(best, time.perf_counter() - started)
    return BANDWIDTH_BYTES / best


@contextmanager
def _peak_memory(device: str) -> Iterator[dict[str, int]]:
    """Fill in the highest memory use of this process, looked at every 20 ms, and of the GPU."""
    import psutil
    import torch

    process, over, peak = psutil.Process(), threading.Event(), dict[str, int]()

    def look() -> None:
        while not over.wait(0.02):
            seen = {"resident_bytes": process.memory_info().rss}
            status = Path("/proc/self/status")
            if status.exists():  # without the pages of mapped files, which the system can drop
                line = next(
                    x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("RssAnon")
                )
                seen["anonymous_bytes"] = int(line.split()[1]) * 1024
            for name, value in seen.items():
                peak[name] = max(value, peak.get(name, 0))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        if device.startswith("cuda"):
            peak["gpu_bytes"] = torch.cuda.max_memory_allocated()


def write_checkpoint(folder: Path, layers: int) -> Path:
    """Write random weights of InternLM2-1.8B's shapes in the hub's layout, with the small golden tokenizer."""
    import shutil

    import torch
    from safetensors.torch import save_file

    hidden, intermediate, vocab, kv_rows = 2048, 8192, 92_544, 2048
    shapes: dict[str, tuple[int, ...]] = {"model.tok_embeddings.weight": (vocab, hidden)}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "attention.wqkv": (hidden + kv_rows, hidden),
                "attention.wo": (hidden, hidden),
                "feed_forward.w1": (intermediate, hidden),
                "feed_forward.w2": (hidden, intermediate),
                "feed_forward.w3": (intermediate, hidden),
                "attention_norm": (hidden,),
                "ffn_norm": (hidden,),
            }.items()
        }
    shapes |= {"model.norm.weight": (hidden,), "output.weight": (vocab, hidden)}
    folder.mkdir(parents=True)
    random = torch.Generator().manual_seed(0)
    shards: list[dict[str, torch.Tensor]] = [{}]
    index: dict[str, str] = {}

    def flush() -> None:
        name = f"model-{len(shards):05d}.safetensors"
        save_file(shards[-1], folder / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(shards[-1], name))
        shards[-1] = {}  # the file holds it now

    for name, shape in shapes.items():
        tensor = torch.ones(shape, dtype=torch.bfloat16)
        if len(shape) == 2:
            tensor.normal_(0, 0.02, generator=random)
        shards[-1][name] = tensor
        if sum(each.nbytes for each in shards[-1].values()) > SHARD_BYTES:
            flush()
            shards.append({})
    flush()
    config = {
        "architectures": ["InternLM2ForCausalLM"],
        "model_type": "internlm2",
        "auto_map": {"AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM"},
        "attn_implementation": "eager",
        "bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "max_position_embeddings": 32_768,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "num_hidden_layers": layers,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "rope_theta": 1_000_000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": vocab,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    total = {"total_size": sum(file.stat().st_size for file in folder.glob("*.safetensors"))}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": total, "weight_map": index}), encoding="utf-8"
    )
    shutil.copytree(ROOT / "tests" / "data" / "internlm2-golden" / "tokenizer", folder, dirs_exist_ok=True)
    return folder


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
    return answer


def _ratios(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    base = results.get("fp32", {})
    return {
        precision: {
            rate: round(result[rate] / base[rate], 2)
            for rate in ("prefill_512_tokens_per_s", "decode_tokens_per_s")
            if rate in result and rate in base
        }
        for precision, result in results.items()
    }


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
