"""Tiny random embedding models, laid out as their authors publish them: BERT (mean, cls) and a Qwen3 decoder (last)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from ragkit.embedding_records import ModelRecord

WORDS = "query passage : annual leave is ten days the pump warranty instruct web search what 年 假 十 天 为 水 泵 的 保 修 期 这 个 句 子"
FLAGS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
}
# Of each known model: whether its modules end in Normalize, and the prompts that it brings.
NORMALIZE = {"sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": False}


def write(folder: Path, **files: object) -> None:
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def sentence_files(
    folder: Path,
    *,
    pooling: str,
    dim: int,
    limit: int | None = None,
    prompts: dict[str, str] | None = None,
    normalize: bool = True,
) -> None:
    """The files of sentence-transformers, in the form that the known models were published in."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling"} | ({"2_Normalize": "Normalize"} if normalize else {})
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds.items())
    ]
    flags = {flag: name == pooling for name, flag in FLAGS.items()}
    write(folder, modules=modules, **{"1_Pooling__config": {"word_embedding_dimension": dim} | flags})
    if limit:
        write(folder, sentence_bert_config={"max_seq_length": limit, "do_lower_case": False})
    if prompts is not None:
        write(folder, config_sentence_transformers={"prompts": prompts, "default_prompt_name": None})


def bert(folder: Path, *, dim: int = 32, positions: int = 64, seed: int = 0) -> Path:
    """A BERT encoder alone, without the files of sentence-transformers."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {word: at for at, word in enumerate([*special, *dict.fromkeys(WORDS.split())])}
    backend = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=positions,
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    shape = BertConfig(
        vocab_size=len(vocab),
        hidden_size=dim,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    BertModel(shape).save_pretrained(folder)
    return folder


def qwen(folder: Path, *, dim: int = 32, positions: int = 64) -> Path:
    """A Qwen3 decoder alone, whose tokenizer falls back on bytes and ends a text with <|endoftext|>."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(BPE({piece: at for at, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    backend.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 256)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=131_072,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=257,
        hidden_size=dim,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=positions,
        initializer_range=0.3,
        dtype="bfloat16",
    )
    Qwen3Model(shape).to(torch.bfloat16).save_pretrained(folder)
    return folder


def known(folder: Path, record: ModelRecord) -> Path:
    """A stand-in for a known model: its name, shape and files, with random weights."""
    make = qwen if record.pooling == "last" else bert
    place = make(folder / record.name.partition("/")[2], dim=record.dim, positions=record.max_tokens)
    sentence_files(
        place,
        pooling=record.pooling,
        dim=record.dim,
        limit=None if record.pooling == "last" else record.max_tokens,
        prompts={"query": record.query_prefix, "document": ""} if record.pooling == "last" else None,
        normalize=NORMALIZE.get(record.name, True),
    )
    return place
