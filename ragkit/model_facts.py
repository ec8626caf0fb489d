"""The numbers that a load plan rests on: this machine's devices, and what a model folder says of itself.

Reads config.json and the headers of weight files, never the weights, and opens no pickle. Decides nothing.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ragkit.errors import ModelError, UsageError
from ragkit.load_plan import CONTEXT, DeviceFacts, ModelFacts

_SAFETENSORS_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
_AGAIN = "Download all files of the model again."


def device_facts(which: str = "auto") -> DeviceFacts:
    """Read the facts of "cpu", "mps", "cuda", "cuda:1", or of the best there is. Imports torch, and times a CPU."""
    import psutil
    import torch

    kind, _, index = which.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cuda":
        return _cuda_facts(int(index) if index.isdecimal() else 0)
    memory = psutil.virtual_memory()
    cpu = DeviceFacts(
        kind="cpu",
        device="cpu",
        name="CPU",
        total_bytes=memory.total,
        free_bytes=memory.available,
        host_total_bytes=memory.total,
        host_free_bytes=memory.available,
    )
    if kind == "cpu":
        from ragkit.int4_probe import timings

        able: Mapping[str, Any] = torch.cpu.get_capabilities()
        amx = bool(able.get("amx_bf16"))
        bf16 = amx or bool(able.get("avx512_bf16"))
        return replace(
            cpu,
            name=str(able.get("cpu_name") or "CPU"),
            bf16=bf16,
            has_amx=amx,
            has_avx512=bool(able.get("avx512_f")),
            int4=timings(bf16=bf16),
        )
    if kind != "mps":
        raise UsageError(f"unknown device {which!r}", "Choose one of: auto, cpu, cuda, cuda:1, mps.")
    if not torch.backends.mps.is_available():
        raise ModelError("this torch has no MPS device", "Use --device cpu.")
    limit = torch.mps.recommended_max_memory()
    free = min(limit - torch.mps.driver_allocated_memory(), memory.available)
    return replace(cpu, kind="mps", device="mps", name="Apple GPU", total_bytes=limit, free_bytes=free)


def _cuda_facts(number: int) -> DeviceFacts:
    import psutil
    import torch

    if not torch.cuda.is_available() or number >= torch.cuda.device_count():
        raise ModelError(
            f"there is no CUDA device {number} that torch {torch.__version__} can use",
            "Use --device cpu, or install torch with CUDA: https://pytorch.org/get-started/locally/",
        )
    free, total = torch.cuda.mem_get_info(number)
    capability = torch.cuda.get_device_capability(number)
    memory = psutil.virtual_memory()
    return DeviceFacts(
        kind="cuda",
        device=f"cuda:{number}",
        name=torch.cuda.get_device_name(number),
        total_bytes=total,
        free_bytes=free,
        host_total_bytes=memory.total,
        host_free_bytes=memory.available,
        bf16=capability >= (8, 0),  # torch's is_bf16_supported() also says yes where it is emulated
        compute_capability=capability,
    )


def has_quantiser() -> bool:
    """Whether bitsandbytes is installed."""
    return find_spec("bitsandbytes") is not None


def model_facts(folder: Path | str) -> ModelFacts:
    """Read a model folder, or a .gguf file, without loading it; refuse what is missing or not safetensors."""
    path = Path(folder).expanduser()
    if not path.exists():
        raise ModelError(f"there is no model folder {path}", "Name the folder that holds config.json.")
    if path.suffix == ".gguf":
        return _gguf_facts(path)
    config_file = path / "config.json"
    ggufs = sorted(path.glob("*.gguf"))
    if not any(path.glob("*.safetensors")) and ggufs:
        if len(ggufs) > 1:
            names = ", ".join(file.name for file in ggufs)
            raise ModelError(f"{path} holds several GGUF files: {names}.", "Name one of them.")
        return _gguf_facts(ggufs[0])
    if not config_file.is_file():
        raise ModelError(f"{path} is no model folder: it has no config.json.", _AGAIN)
    config = _read_json(config_file)
    config = {**config, **config.get("text_config", {})}
    files = _weight_files(path)
    tensors = [tensor for file in files for tensor in _safetensors_header(file)]
    by_dtype: dict[str, int] = {}
    for dtype, shape in tensors:
        by_dtype[dtype] = by_dtype.get(dtype, 0) + _SAFETENSORS_DTYPES.get(dtype, 2) * math.prod(shape)
    facts = _facts_of_config(path, config, [shape for _, shape in tensors])
    return replace(
        facts,
        bytes_by_dtype=tuple(sorted(by_dtype.items(), key=lambda item: -item[1])),
        disk_bytes=sum(file.stat().st_size for file in files),
        weight_files=tuple(files),
        **_stored_quantised(path, config, facts, by_dtype),
    )


def _facts_of_config(path: Path, config: Mapping[str, Any], shapes: Iterable[tuple[int, ...]]) -> ModelFacts:
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        vocab, layers = int(config["vocab_size"]), int(config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"config.json of {path} describes no language model that ragkit knows: {error!r}.",
            "Choose a chat model such as InternLM2, Qwen or Llama.",
        ) from error
    sizes = [(math.prod(shape), shape) for shape in shapes]
    return ModelFacts(
        name=path.name,
        folder=path,
        model_type=str(config.get("model_type", "")),
        parameters=sum(size for size, _ in sizes),
        # transformers packs every linear layer but the output, which has the embedding's shape.
        matrix_parameters=sum(size for size, shape in sizes if len(shape) == 2 and shape != (vocab, hidden)),
        largest_parameters=max((size for size, _ in sizes), default=0),
        bytes_by_dtype=(),
        disk_bytes=0,
        layers=layers,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        hidden=hidden,
        vocab=vocab,
        max_positions=int(config.get("max_position_embeddings") or CONTEXT),
    )


def _stored_quantised(
    path: Path, config: Mapping[str, Any], facts: ModelFacts, by_dtype: Mapping[str, int]
) -> dict[str, Any]:
    """Return the fields that differ for a folder that bitsandbytes has packed already."""
    stored = config.get("quantization_config")
    if not stored:
        return {}
    method = str(stored.get("quant_method", ""))
    if method != "bitsandbytes":
        raise ModelError(
            f"{path} is quantised by {method or 'an unknown method'}, which ragkit does not run.",
            "Choose the model's folder that is not quantised: ragkit quantises it to 4bit itself.",
        )
    four_bit = bool(stored.get("load_in_4bit"))
    # Packed tensors are flat bytes: two parameters each in 4bit. Their scales are bytes too, 1 in 32.
    flat = by_dtype.get("U8", 0) if four_bit else by_dtype.get("I8", 0)
    matrices = flat * 2 * 32 // 33 if four_bit else flat
    plain = sum(
        size // _SAFETENSORS_DTYPES[dtype]
        for dtype, size in by_dtype.items()
        if dtype in ("F32", "F16", "BF16")
    )
    return {
        "quantised": "4bit" if four_bit else "8bit",
        "parameters": matrices + plain,
        "matrix_parameters": matrices,
        "largest_parameters": facts.vocab * facts.hidden,
    }


def _weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that the index names, else the single one."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        files = [folder / str(name) for name in names]
    elif single.is_file():
        files = [single]
    elif pickles := [f.name for pattern in ("*.bin", "*.pt", "*.pth") for f in sorted(folder.glob(pattern))]:
        raise ModelError(
            f"{folder} holds its weights only as PyTorch pickles ({pickles[0]}), which can run any code.",
            "Download the model's safetensors files instead; ragkit opens nothing else.",
        )
    else:
        files = []
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = f"{', '.join(missing[:3])} missing" if missing else "no safetensors and no GGUF file in it"
        raise ModelError(f"{folder} has no complete weights: {what}.", _AGAIN)
    return files


def _safetensors_header(file: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Return (dtype, shape) of each tensor."""
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
            if start == b"version ":
                raise ModelError(f"{file} is a Git LFS pointer, not the file itself.", "git lfs pull")
            (length,) = struct.unpack("<Q", start)
            if length > 100_000_000:  # the format's own limit
                raise ValueError("its header is too long")
            header = json.loads(stream.read(length))
            end = max((t["data_offsets"][1] for k, t in header.items() if k != "__metadata__"), default=0)
            if file.stat().st_size < 8 + length + end:
                raise ValueError(f"{8 + length + end - file.stat().st_size:,} bytes are missing at its end")
            return [(t["dtype"], tuple(t["shape"])) for k, t in header.items() if k != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{file} is not a complete safetensors file: {error}.", _AGAIN) from error


def _gguf_facts(file: Path) -> ModelFacts:
    from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

    try:
        tensors = GgufHeader.from_file(str(file)).tensors
        metadata, _ = read_gguf_metadata(str(file))
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise ModelError(f"{file} is not a complete GGUF file: {error}.", _AGAIN) from error
    architecture = metadata["general.architecture"]
    names = {
        "hidden_size": "embedding_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "num_hidden_layers": "block_count",
        "max_position_embeddings": "context_length",
    }
    config = {ours: metadata.get(f"{architecture}.{theirs}") for ours, theirs in names.items()}
    embedding = next((t.shape for t in tensors if t.name == "token_embd.weight"), (0, 0))
    config |= {"vocab_size": embedding[0], "model_type": architecture}
    facts = _facts_of_config(file.parent, config, [t.shape for t in tensors])
    return replace(
        facts,
        name=file.stem,
        bytes_by_dtype=(("GGUF", sum(t.nbytes for t in tensors)),),
        disk_bytes=file.stat().st_size,
        weight_files=(file,),
        gguf=file.name,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", _AGAIN) from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds no JSON object.", _AGAIN)
    return data
