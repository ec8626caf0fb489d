"""Chunks per second of ragkit's Embedder against LlamaIndex's HuggingFaceEmbedding as it comes: `python tests/bench/embedding.py`.

Prints one JSON document. Same bundled model, same texts, rounds interleaved, best of each. The texts are English
docstrings of the standard library: chunks of about 1,500 characters (all cut off at 256 tokens: nothing can be
gained by sorting them), and a mix of short and long ones in random order, as a library has.

Where ONNX Runtime is installed, int8 is measured beside them, against ragkit's own fp32.

    --rounds 5   --texts 96   --tokens 1024,2048,4096 (also with these batch sizes)   --device cpu
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from numpy.typing import NDArray

from ragkit import embedding, embedding_int8

MODULES = "argparse collections csv datetime decimal email.message enum http.client inspect json logging os pathlib random re shutil socket ssl statistics string subprocess tarfile tempfile textwrap threading typing unittest.case uuid zipfile"
SHORT_AND_LONG = (60, 120, 250, 400, 800, 1500)
BAR = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=96)
    parser.add_argument("--tokens", default="")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    plain = HuggingFaceEmbedding(model_name=str(embedding.bundled_folder()), device=options.device)
    embedder = embedding.load("auto", options.device)
    ways: dict[str, Callable[[list[str]], NDArray[np.float32]]] = {
        "llamaindex_default": lambda texts: np.array(plain.get_text_embedding_batch(texts), np.float32),
        "ragkit": embedder.embed,
    }
    missing = embedding_int8.lacking()
    if not missing:
        ways["onnx_int8"] = int8_embedder().embed
    for tokens in filter(None, options.tokens.split(",")):
        ways[f"ragkit_{tokens}"] = with_budget(embedder, int(tokens))
    cases = {name: compare(ways, texts, options.rounds) for name, texts in make_texts(options.texts).items()}
    versions = {name: version(name) for name in embedding_int8.PACKAGES} if not missing else None
    document: dict[str, object] = {
        "benchmark": "embedding",
        "bar_ratio": BAR,
        "reached": {name: case["ratio"]["ragkit"] >= BAR for name, case in cases.items()},
        "cases": cases,
        "onnx_int8": versions or f"not installed: {', '.join(missing)}",
        "model": embedder.record.name,
        "rounds": options.rounds,
        "machine": {
            "device": options.device,
            "cpu_count": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
            "platform": platform.platform(),
            "torch": version("torch"),
        },
    }
    print(json.dumps(document, indent=2))


def int8_embedder() -> embedding.Embedder:
    with tempfile.TemporaryDirectory() as data:
        return embedding.load("onnx-int8:auto", "cpu", Path(data))


def make_texts(count: int) -> dict[str, list[str]]:
    """The two sets of texts, the same in every run on one Python."""
    documented = (
        inspect.getdoc(thing) or ""
        for name in MODULES.split()
        for _, thing in inspect.getmembers(importlib.import_module(name))
    )
    prose = " ".join(" ".join(text.split()) for text in dict.fromkeys(documented) if len(text) > 80)
    chance = random.Random(0)

    def cut(size: int) -> str:
        at = chance.randrange(len(prose) - size)
        return prose[at : at + size]

    return {
        "chunks_1500": [cut(chance.randrange(1400, 1600)) for _ in range(count)],
        "short_and_long": [cut(chance.choice(SHORT_AND_LONG)) for _ in range(count)],
    }


def with_budget(embedder: embedding.Embedder, tokens: int) -> Callable[[list[str]], NDArray[np.float32]]:
    def run(texts: list[str]) -> NDArray[np.float32]:
        usual = embedding.TOKENS_CPU
        embedding.TOKENS_CPU = tokens
        try:
            return embedder.embed(texts)
        finally:
            embedding.TOKENS_CPU = usual

    return run


def compare(
    ways: dict[str, Callable[[list[str]], NDArray[np.float32]]], texts: list[str], rounds: int
) -> dict[str, dict[str, float]]:
    best_s, best_cpu_s = dict.fromkeys(ways, float("inf")), dict.fromkeys(ways, float("inf"))
    vectors: dict[str, NDArray[np.float32]] = {}
    for turn in range(rounds):
        for name in ways if turn % 2 else reversed(ways):  # every other round the other way about
            started, cpu_started = time.perf_counter(), time.process_time()
            vectors[name] = ways[name](texts)
            best_s[name] = min(best_s[name], time.perf_counter() - started)
            best_cpu_s[name] = min(best_cpu_s[name], time.process_time() - cpu_started)
    first = vectors["llamaindex_default"]
    measured: dict[str, dict[str, float]] = {
        "chunks_s": {name: round(len(texts) / seconds, 2) for name, seconds in best_s.items()},
        "ratio": {name: round(best_s["llamaindex_default"] / seconds, 3) for name, seconds in best_s.items()},
        # Of the processor's time, which a machine that is busy with other things disturbs less.
        "ratio_cpu": {
            name: round(best_cpu_s["llamaindex_default"] / seconds, 3) for name, seconds in best_cpu_s.items()
        },
        "cosine_min": {
            name: round(float((found * first).sum(axis=1).min()), 6) for name, found in vectors.items()
        },
    }
    if "onnx_int8" in ways:
        cosines = (vectors["onnx_int8"] * vectors["ragkit"]).sum(axis=1)
        measured["onnx_int8_to_ragkit"] = {
            "ratio": round(best_s["ragkit"] / best_s["onnx_int8"], 3),
            "ratio_cpu": round(best_cpu_s["ragkit"] / best_cpu_s["onnx_int8"], 3),
            "cosine_mean": round(float(cosines.mean()), 6),
            "cosine_min": round(float(cosines.min()), 6),
        }
    return measured


if __name__ == "__main__":
    main()
