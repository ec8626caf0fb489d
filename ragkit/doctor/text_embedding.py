"""Everything that the doctor can say of embedding models; a part of `ragkit.doctor.text`."""

from __future__ import annotations

from typing import Final

from ragkit.doctor.text import Outcome, Saying
from ragkit.schema import Language

LANGUAGES: Final[dict[Language, Saying]] = {"zh": Saying("Chinese", "中文"), "en": Saying("English", "英文")}
NOTHING: Final = Saying("nothing", "无")

_RECORD = "Check the prefixes and the pooling against its model card, or fetch it again: {python} -m ragkit download {name}"
_RECORD_ZH = "请对照模型卡核对前缀与池化方式，或重新下载：{python} -m ragkit download {name}"

EMBEDDING: Final[dict[str, Outcome]] = {
    "embedding_off": Outcome("skipped", "switched off: search goes by words", "已关闭：按关键词检索"),
    "embedding_files": Outcome("ok", "files as published: {folder}", "文件与发布版一致：{folder}"),
    "embedding_ok": Outcome(
        "ok",
        "{model} works: {dimensions} dimensions, {seconds:.1f} s with loading; unknown words: English {unknown_en:.0%}, "
        "Chinese {unknown_zh:.0%}",
        "{model} 正常：{dimensions} 维，含加载 {seconds:.1f} 秒；未登录词：英文 {unknown_en:.0%}，中文 {unknown_zh:.0%}",
    ),
    "embedding_wrong": Outcome(
        "fail",
        "{model} gives all texts the same vector",
        "{model} 对所有文本给出相同的向量",
        "{python} -m pip install --force-reinstall sentence-transformers",
    ),
    "embedding_int8": Outcome(
        "ok",
        "in int8 through ONNX Runtime {version}: {file}",
        "以 int8 经 ONNX Runtime {version} 运行：{file}",
    ),
    "embedding_int8_off": Outcome(
        "skipped",
        "int8 is not switched on; it is faster on a processor, and a little less exact: RAGKIT_EMBEDDING={where}",
        "未启用 int8；它在处理器上更快，精度略低：RAGKIT_EMBEDDING={where}",
    ),
    "embedding_int8_missing": Outcome(
        "skipped",
        "int8, which is faster on a processor, is not installed; to have it: {command}",
        "未安装 int8 支持（在处理器上更快）；需要的话：{command}",
    ),
    "embedding_record": Outcome(
        "ok",
        "used as: {pooling} pooling, at most {max_tokens} tokens, padded on the {padding}; before a question: "
        "{query_prefix}; before a passage: {text_prefix}",
        "使用方式：{pooling} 池化，最多 {max_tokens} 个词元，{padding} 侧填充；问题前缀：{query_prefix}；段落前缀：{text_prefix}",
    ),
    "embedding_words": Outcome(
        "warn",
        "{model} is said to know {language}, but has no word for {share:.0%} of it: its vectors of it mean little",
        "{model} 声称支持{language}，但其中 {share:.0%} 是未登录词：相应的向量意义不大",
        _RECORD,
        _RECORD_ZH,
    ),
    "embedding_sense": Outcome(
        "ok",
        "{language}: a question is nearer to its answer ({answer:.2f}) than to another passage ({other:.2f})",
        "{language}：问题离答案（{answer:.2f}）比离无关段落（{other:.2f}）更近",
    ),
    "embedding_no_sense": Outcome(
        "fail",
        "{language}: a question is not nearer to its answer ({answer:.2f}) than to another passage ({other:.2f})",
        "{language}：问题离答案（{answer:.2f}）并不比离无关段落（{other:.2f}）更近",
        _RECORD,
        _RECORD_ZH,
    ),
    "embedding_doubtful": Outcome(
        "warn",
        "{language}: a question is not nearer to its answer ({answer:.2f}) than to another passage ({other:.2f}); the "
        "model does not say that it knows the language",
        "{language}：问题离答案（{answer:.2f}）并不比离无关段落（{other:.2f}）更近；该模型未声明支持此语言",
        "Choose a model that does: {python} -m ragkit download intfloat/multilingual-e5-small",
        "请选用支持该语言的模型：{python} -m ragkit download intfloat/multilingual-e5-small",
    ),
    "embedding_other_language": Outcome(
        "skipped",
        "{language}: not checked, {model} was not made for it; such questions are searched by words",
        "{language}：未检查，{model} 不是为它而做的；这类问题按关键词检索",
    ),
}
