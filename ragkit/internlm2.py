"""InternLM2 and InternLM2.5 as transformers' own Llama: a configuration and a weight mapping, no remote code.

Owns how an InternLM2 checkpoint is read, written back and exported. The published modeling_internlm2.py fails under
transformers 5.23 (KeyError 'type' while loading, NaN from rotary buffers left uninitialised, "DynamicCache is not
subscriptable" in generate), and it need not run: the architecture is Llama's with a fused wqkv and other names.
Equality with the original (transformers 4.41.1) is held by tests/data/internlm2-golden. Knows no precision or device.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from ragkit.errors import ModelError
from ragkit.internlm2_tokenizer import load_tokenizer, stop_ids

MODEL_TYPE = "internlm2"
_AGAIN_HINT = "If it is a partial or changed copy, download all files of the model again."


# transformers has type hints but not everywhere; its metaclass hooks and __post_init__ have none.
@strict
class InternLM2Config(LlamaConfig):  # type: ignore[no-untyped-call]
    """The hub's config.json read as a Llama configuration; configuration_internlm2.py's default where it differs."""

    model_type = MODEL_TYPE
    attribute_map = {"bias": "attention_bias"}  # noqa: RUF012 - transformers' own name and shape
    attention_bias: bool = True  # of q, k, v and o; the feed-forward has none
    pad_token_id: int | None = 0

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Drop two keys of the file: transformers 5.23 obeys both.

        "attn_implementation" is "eager" in the hub's files; without it transformers chooses sdpa. A caller's own
        choice is in kwargs and is kept (by the time of __post_init__ the two could not be told apart).
        "auto_map" names the remote code: without it nothing later looks for that code or copies it when saving.
        """
        kept = {k: v for k, v in config_dict.items() if k not in ("attn_implementation", "auto_map")}
        return super().from_dict(kept, **kwargs)


class DynamicNTKRotaryEmbedding(LlamaRotaryEmbedding):
    """Dynamic NTK rope whose frequencies follow from the length of this call alone.

    A freshly loaded original computes the same; but it, and Llama's class in transformers 5.23, keep the stretched
    frequencies of the longest prompt seen: a shorter one after it is answered differently (5.23 resets only below
    the original length, not at it or between it and the longest). No state also means no race between threads.

    Trap, as in the original: keys in a cache keep the frequencies of the length at which they were made, so past
    `max_position_embeddings` (32,768 for the hub's models) a prefill in slices, or a warm cache, is not the same
    computation as one long forward.
    """

    @torch.no_grad()
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inv_freq: torch.Tensor = self.original_inv_freq
        seq_len = int(position_ids.max()) + 1
        if seq_len > self.original_max_seq_len:
            inv_freq, _ = ROPE_INIT_FUNCTIONS["dynamic"](self.config, x.device, seq_len=seq_len)
        # (batch, length, head_dim / 2), then twice side by side
        angles = position_ids[..., None].float() * inv_freq.to(x.device, torch.float)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class InternLM2ForCausalLM(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """Llama under InternLM2's name: AutoModelForCausalLM.register insists on a class with this configuration."""

    config_class = InternLM2Config

    def __init__(self, config: InternLM2Config) -> None:
        super().__init__(config)
        if (config.rope_parameters or {}).get("rope_type") == "dynamic":
            self.model.rotary_emb = DynamicNTKRotaryEmbedding(config)


Tensors = dict[str, list[torch.Tensor]]


class SplitGroupedQKV(ConversionOps):
    """wqkv -> q, k, v. Its rows come in one group a kv head: the group's query heads, then its key, then its value."""

    def convert(
        self, input_dict: Tensors, source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> Tensors:
        kv_heads, head_dim = _heads(kwargs["config"])
        (fused,) = input_dict[source_patterns[0]]  # (rows, hidden), or (rows,) for the bias
        groups = fused.view(kv_heads, -1, head_dim, *fused.shape[1:])
        parts = (groups[:, :-2], groups[:, -2], groups[:, -1])
        # reshape copies, as no part is contiguous: the only weights that do not stay in the mapped file
        rows = ([part.reshape(-1, *fused.shape[1:])] for part in parts)
        return dict(zip(target_patterns, rows, strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        return MergeGroupedQKV()


class MergeGroupedQKV(ConversionOps):
    """q, k, v -> wqkv, for saving."""

    def convert(
        self, input_dict: Tensors, source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> Tensors:
        kv_heads, head_dim = _heads(kwargs["config"])
        parts = [part for name in source_patterns for part in input_dict[name]]
        tail = parts[0].shape[1:]
        groups = torch.cat([part.reshape(kv_heads, -1, head_dim, *tail) for part in parts], dim=1)
        return {target_patterns[0]: [groups.reshape(-1, *tail)]}

    @property
    def reverse_op(self) -> ConversionOps:
        return SplitGroupedQKV()


def _heads(config: LlamaConfig) -> tuple[int, int]:
    """Return (number of kv heads, size of a head)."""
    assert config.num_key_value_heads and config.head_dim  # LlamaConfig fills both in
    return config.num_key_value_heads, config.head_dim


def _weight_mapping() -> list[WeightRenaming | WeightConverter]:
    """Return InternLM2's names and Llama's. The q, k, v bias, where there is one, goes the way of its weight."""
    renamings = {
        "tok_embeddings": "embed_tokens",
        "^output": "lm_head",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    return [
        *(WeightRenaming(theirs, llama) for theirs, llama in renamings.items()),
        WeightConverter("attention.wqkv", qkv, [SplitGroupedQKV()]),
    ]


def register() -> None:
    """Teach AutoModelForCausalLM to load InternLM2 folders; may be called again.

    transformers then counts the type as known code and reads no `auto_map`: nothing of the folder is executed and
    nobody is asked on stdin, whatever `trust_remote_code` says (explicit_local_code in models/auto/auto_factory.py).
    """
    AutoConfig.register(MODEL_TYPE, InternLM2Config, exist_ok=True)
    AutoModelForCausalLM.register(InternLM2Config, InternLM2ForCausalLM, exist_ok=True)
    register_checkpoint_conversion_mapping(MODEL_TYPE, _weight_mapping(), overwrite=True)


def load_model(directory: Path | str, **options: object) -> PreTrainedModel:
    """Load an InternLM2 folder; `options` go to AutoModelForCausalLM.from_pretrained (dtype, device_map, ...).

    Raise ModelError also where transformers only warns: weights that the folder lacks would be random numbers.
    """
    register()
    folder = Path(directory)
    if not (folder / "config.json").is_file():  # transformers would take the path for a name on the hub
        raise ModelError(f"{folder} is no model folder: it has no config.json.", _AGAIN_HINT)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **options
        )
    except torch.OutOfMemoryError:
        raise  # the caller chose precision and device
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The model in {folder} cannot be loaded: {error}", _AGAIN_HINT) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"The model in {folder} is incomplete: {len(missing)} weights are missing, the first is {missing[0]}.",
            _AGAIN_HINT,
        )
    return cast(PreTrainedModel, model)


def save(model: PreTrainedModel, out: Path | str) -> None:
    """Write the model back under InternLM2's names, each tensor byte for byte as it was loaded."""
    if getattr(model, "hf_quantizer", None) is not None:
        raise ModelError(
            "A quantised model cannot be written in InternLM2's layout: its packed q, k and v cannot be fused again.",
            "Use save_llama, which keeps them apart.",
        )
    with _new_folder(Path(out)) as folder:
        model.save_pretrained(folder)
        _rewrite_config(folder, architecture="InternLM2ForCausalLM", model_type=MODEL_TYPE)


def save_llama(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path | str) -> None:
    """Write a loaded InternLM2 model, quantised or not, as a plain Llama folder that needs no ragkit to be read."""
    with _new_folder(Path(out)) as folder:
        model.save_pretrained(folder, save_original_format=False)
        _rewrite_config(folder, architecture="LlamaForCausalLM", model_type="llama")
        generation = copy.deepcopy(model.generation_config)
        generation.eos_token_id = stop_ids(tokenizer)
        generation._from_model_config = False  # else transformers 4 may derive it again, with one stop id
        generation.save_pretrained(folder)
        # The template inside tokenizer_config.json, not beside it: transformers before 4.43 and others look there.
        tokenizer.save_pretrained(folder, save_jinja_files=False)
        # transformers 5 writes its own base class, TokenizersBackend, which no 4.x knows.
        settings = _read_json(folder / "tokenizer_config.json")
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        _write_json(folder / "tokenizer_config.json", settings)


def export_llama(directory: Path | str, out: Path | str) -> None:
    """Write an InternLM2 folder as a plain Llama folder in its own precision: for vLLM, LMDeploy, `transformers serve`.

    Plain Llama keeps dynamic rope's state between prompts (see DynamicNTKRotaryEmbedding); below the original length
    the two are the same.
    """
    save_llama(load_model(directory, dtype="auto"), load_tokenizer(directory), out)


def _rewrite_config(folder: Path, *, architecture: str, model_type: str) -> None:
    """Give config.json its model type and the key names of transformers 4, which version 5 reads as well.

    Original InternLM2 code, and servers built on transformers 4, know only rope_theta, rope_scaling and torch_dtype.
    """
    config = _read_json(folder / "config.json")
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = rope if rope["type"] != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    if model_type == MODEL_TYPE:
        config["bias"] = config.pop("attention_bias")
    config |= {"architectures": [architecture], "model_type": model_type}
    _write_json(folder / "config.json", config)


def _read_json(path: Path) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill; it gets the name `out` when the block has succeeded: no half-written model is left."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ModelError(
            f"{out} exists and is not an empty folder.", "Name a new folder, or remove this one."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch, out.name)
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
