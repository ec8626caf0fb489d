"""Tiny random chat models, made where they are needed: an InternLM2 folder, and a Llama folder as any other model."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ragkit.internlm2 import InternLM2Config, InternLM2ForCausalLM, save

GOLDEN = Path(__file__).parent / "data" / "internlm2-golden"
LLAMA_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('a system message must be the first') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Wide enough for bitsandbytes' CPU kernels: rows in multiples of 32.
_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,  # logits up to about 10: no two tokens tie
}


def internlm2(folder: Path, seed: int = 0, **config: object) -> Path:
    """Write an InternLM2 chat model with the golden tokenizer."""
    torch.manual_seed(seed)
    settings = {**_SHAPE, "vocab_size": 1536, "bias": False, "rope_scaling": None, **config}
    save(InternLM2ForCausalLM(InternLM2Config(**settings)), folder)
    shutil.copytree(GOLDEN / "tokenizer", folder, dirs_exist_ok=True)
    return folder


def golden(folder: Path, name: str = "plain") -> Path:
    """Write one of the golden checkpoints with the golden tokenizer: a whole InternLM2 folder."""
    for part in (name, "tokenizer"):
        shutil.copytree(GOLDEN / part, folder, dirs_exist_ok=True)
    return folder


def llama(folder: Path, *, template: str | None = LLAMA_TEMPLATE) -> Path:
    """Write a Llama chat model with a byte-level tokenizer that has no beginning-of-text token."""
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]  # 256 and one merge: a GGUF must have one
    backend = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, [("t", "h")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", chat_template=template
    ).save_pretrained(folder)
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**_SHAPE, vocab_size=259, bos_token_id=None, eos_token_id=258))
    model.save_pretrained(folder)
    return folder
