"""A random InternLM2 checkpoint of the 1.8B's shapes, as the hub has it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
SHARD_BYTES = 1 << 30


def write_checkpoint(folder: Path, layers: int) -> Path:
    """Write random weights of InternLM2-1.8B's shapes in the hub's layout, with the small golden tokenizer."""
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
