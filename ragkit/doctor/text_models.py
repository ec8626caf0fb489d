"""Everything that the doctor can say of models; a part of `ragkit.doctor.text`."""

from __future__ import annotations

from typing import Final

from ragkit.doctor.text import Outcome, Saying

_DOWNLOAD_AGAIN = "Download all files of the model again."
_DOWNLOAD_AGAIN_ZH = "请重新下载该模型的全部文件。"
_PUBLISHED = (
    "Random or very small weights do so. If these are published ones, please send us the report of: "
    "{python} -m ragkit doctor --model {where} --json"
)
_PUBLISHED_ZH = (
    "随机权重或很小的模型会这样。如果是正式发布的权重，请把这份报告发给我们："
    "{python} -m ragkit doctor --model {where} --json"
)

STEPS: Final[dict[str, Saying]] = {
    "files": Saying("files", "文件"),
    "config": Saying("configuration", "配置"),
    "plan": Saying("memory", "内存"),
    "tokenizer": Saying("tokenizer", "分词器"),
    "round_trip": Saying("texts there and back", "文本往返"),
    "template": Saying("chat template", "对话模板"),
    "load": Saying("loading", "加载"),
    "forward": Saying("first forward", "首次前向计算"),
    "answers": Saying("answers", "回答"),
}

MODELS: Final[dict[str, Outcome]] = {
    # Language models on this machine
    "models_none": Outcome(
        "warn",
        "none: answers are quotations from the documents, word for word",
        "没有：回答为文档原文摘录",
        "{python} -m ragkit download {model}",
    ),
    "local_ok": Outcome("ok", "{name}: complete, {disk_bytes}", "{name}：完整，{disk_bytes}"),
    "local_hashed": Outcome(
        "ok", "{name}: complete, {disk_bytes}, every hash right", "{name}：完整，{disk_bytes}，校验值全部一致"
    ),
    "local_damaged": Outcome(
        "fail",
        "{name}: files differ from their published hashes: {damaged}",
        "{name}：文件与发布的校验值不符：{damaged}",
        "{command} && {python} -m ragkit download {name}",
    ),
    "local_incomplete": Outcome(
        "warn",
        "{name}: not complete, {missing} missing",
        "{name}：不完整，缺少 {missing}",
        "{python} -m ragkit download {name}",
    ),
    "local_unfinished": Outcome(
        "warn",
        "{name}: an unfinished download, {here_bytes} of it are here",
        "{name}：下载未完成，本机已有 {here_bytes}",
        "Go on with: {python} -m ragkit download {name}   Remove it with: {python} -m ragkit download {name} --delete",
        "继续下载：{python} -m ragkit download {name}   删除：{python} -m ragkit download {name} --delete",
    ),
    # The chosen model, and the tokenizer of one that was found
    "config_ok": Outcome(
        "ok",
        "{architecture}: {layers} layers, {heads} heads ({kv_heads} for keys), width {hidden}, vocabulary {vocab:,}, "
        "rope {rope}, {max_positions:,} positions; {parameters:,} weights in {dtypes}",
        "{architecture}：{layers} 层，{heads} 头（键值 {kv_heads} 头），宽 {hidden}，词表 {vocab:,}，rope {rope}，"
        "{max_positions:,} 个位置；{parameters:,} 个权重，{dtypes}",
    ),
    "files_ok": Outcome(
        "ok",
        "weight files: {files}, {disk_bytes}; headers whole and as the index says",
        "权重文件：{files} 个，{disk_bytes}；文件头完整且与索引一致",
    ),
    "files_hashed": Outcome(
        "ok",
        "weight files: {files}, {disk_bytes}; headers whole and as the index says, every hash right",
        "权重文件：{files} 个，{disk_bytes}；文件头完整且与索引一致，校验值全部一致",
    ),
    "files_missing": Outcome(
        "fail", "files are missing: {missing}", "缺少文件：{missing}", _DOWNLOAD_AGAIN, _DOWNLOAD_AGAIN_ZH
    ),
    "files_damaged": Outcome(
        "fail",
        "files differ from their published hashes: {damaged}",
        "文件与发布的校验值不符：{damaged}",
        "Delete these files and download the model again: {command}",
        "请删除这些文件后重新下载：{command}",
    ),
    "files_inconsistent": Outcome(
        "fail",
        "the index and the weight files do not say the same: {differing} tensors, the first is {first}",
        "索引与权重文件不一致：{differing} 个张量，第一个是 {first}",
        _DOWNLOAD_AGAIN,
        _DOWNLOAD_AGAIN_ZH,
    ),
    "tokenizer_ok": Outcome(
        "ok",
        "tokenizer: {tokens:,} tokens, {special} special ids right, an answer ends at {stop_ids}",
        "分词器：{tokens:,} 个词元，{special} 个特殊词元编号正确，回答以 {stop_ids} 结束",
    ),
    "tokenizer_wrong": Outcome(
        "fail",
        "tokenizer: special tokens with wrong ids: {wrong}",
        "分词器：特殊词元编号不对：{wrong}",
        "tokenizer.model and tokenizer_config.json must be of this model: download both again.",
        "tokenizer.model 与 tokenizer_config.json 必须属于同一模型：请重新下载这两个文件。",
    ),
    "tokenizer_too_large": Outcome(
        "fail",
        "the tokenizer gives ids up to {highest:,}, the model knows {vocab:,} tokens",
        "分词器的编号高达 {highest:,}，而模型只有 {vocab:,} 个词元",
        "They are not of the same model: download both again.",
        "两者不属于同一模型：请重新下载。",
    ),
    "round_trip_ok": Outcome(
        "ok", "texts come back from the tokenizer unchanged: {texts}", "文本经分词器往返后不变：{texts}"
    ),
    "round_trip_changed": Outcome(
        "warn",
        "texts that come back from the tokenizer changed: {changed}",
        "经分词器往返后发生变化的文本：{changed}",
        _DOWNLOAD_AGAIN,
        _DOWNLOAD_AGAIN_ZH,
    ),
    "template_ok": Outcome(
        "ok",
        "chat template: {tokens} tokens, {bos} beginning-of-text",
        "对话模板：{tokens} 个词元，其中开头词元 {bos} 个",
    ),
    "template_none": Outcome(
        "fail",
        "no chat template: this model only continues texts",
        "没有对话模板：该模型只能续写文本",
        "Choose the chat or instruct version of the model.",
        "请选择该模型的对话版（chat 或 instruct）。",
    ),
    "template_bos": Outcome(
        "fail",
        "chat template: {bos} beginning-of-text tokens where {wanted} belongs",
        "对话模板：开头词元有 {bos} 个，应为 {wanted} 个",
        "Download tokenizer_config.json of the model again.",
        "请重新下载该模型的 tokenizer_config.json。",
    ),
    "stop_ids_missing": Outcome(
        "fail",
        "tokenizer: no token ends a turn (known: {stop_ids})",
        "分词器：没有结束一轮对话的词元（已知：{stop_ids}）",
        "Choose the chat version of the model, or download its tokenizer_config.json again.",
        "请选择该模型的对话版，或重新下载它的 tokenizer_config.json。",
    ),
    "plan_ok": Outcome(
        "ok",
        "runs in {label} on {device}: weights {weights_bytes}, in all {needed_bytes}",
        "将以 {label} 在 {device} 上运行：权重 {weights_bytes}，共需 {needed_bytes}",
    ),
    "load_ok": Outcome(
        "ok",
        "loaded in {seconds:.1f} s ({label} on {device})",
        "{seconds:.1f} 秒加载完成（{label}，{device}）",
    ),
    "not_asked": Outcome("skipped", "{step}: not run (--no-load)", "{step}：未运行（--no-load）"),
    "not_reached": Outcome(
        "skipped", "{step}: not run, an earlier step failed", "{step}：未运行，前面的步骤失败"
    ),
    "forward_ok": Outcome(
        "ok", "first forward: {vocab:,} finite numbers", "首次前向计算：{vocab:,} 个数值均有限"
    ),
    "forward_wrong": Outcome(
        "fail",
        "first forward: {broken:,} of {vocab:,} numbers are not finite",
        "首次前向计算：{vocab:,} 个数值中有 {broken:,} 个非有限",
        "Try another precision: {python} -m ragkit doctor --model {where} --precision bf16 (or fp32)",
        "请换一种精度：{python} -m ragkit doctor --model {where} --precision bf16（或 fp32）",
    ),
    "answer_ok": Outcome(
        "ok",
        "“{question}” → “{answer}” ({tokens_s:.1f} tokens/s)",
        "“{question}” → “{answer}”（{tokens_s:.1f} 词元/秒）",
    ),
    "answer_other": Outcome(
        "warn",
        "“{question}” → “{answer}”, without “{wanted}” ({tokens_s:.1f} tokens/s)",
        "“{question}” → “{answer}”，其中没有“{wanted}”（{tokens_s:.1f} 词元/秒）",
        _PUBLISHED,
        _PUBLISHED_ZH,
    ),
    "stops_ok": Outcome(
        "ok", "the answers ended by themselves, after {tokens} tokens", "回答自行结束，词元数：{tokens}"
    ),
    "stops_not": Outcome(
        "warn",
        "an answer ran on to {limit} tokens: no stop id ({stop_ids}) ended it",
        "回答一直写到 {limit} 个词元：结束词元（{stop_ids}）没有出现",
        _PUBLISHED,
        _PUBLISHED_ZH,
    ),
}
