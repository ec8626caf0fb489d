"""Everything that the doctor can say, in English and Chinese. Looks at nothing itself."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ragkit.schema import Language

State = Literal["ok", "warn", "fail", "skipped"]


class Saying(NamedTuple):
    """One sentence in both languages."""

    en: str
    zh: str

    def in_language(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


class Outcome(NamedTuple):
    """How a check can end: the state, what is said, and the next step. {names} are the check's facts.

    A fix that is a bare command is the same in both languages: it stands once.
    """

    state: State
    en: str
    zh: str
    fix_en: str = ""
    fix_zh: str = ""


GROUPS: Final[dict[str, Saying]] = {
    "system": Saying("This machine", "本机环境"),
    "storage": Saying("Folders and knowledge base", "文件夹与知识库"),
    "network": Saying("Network", "网络"),
    "embedding": Saying("Embedding model", "向量模型"),
    "models": Saying("Language models on this machine", "本机上的语言模型"),
    "model": Saying("Self-check of the chosen model", "所选模型自检"),
}

SUMMARY: Final[dict[State, Saying]] = {
    "ok": Saying("{n} in order", "{n} 项正常"),
    "warn": Saying("{n} to note", "{n} 项需留意"),
    "fail": Saying("{n} failed", "{n} 项失败"),
    "skipped": Saying("{n} skipped", "{n} 项跳过"),
}
FIX: Final = Saying("fix", "解决")

_REPORT = "If it stays so, please report it: {python} -m ragkit doctor --json"
_REPORT_ZH = "若仍如此，请把这份报告发给我们：{python} -m ragkit doctor --json"
_LESS = (
    "Close other programs, or use a model server: python demo.py --llm http://HOST:PORT/v1. "
    "Without a model ragkit answers with quotations."
)
_LESS_ZH = "请关闭其他程序，或使用模型服务：python demo.py --llm http://HOST:PORT/v1。没有模型时 ragkit 用原文摘录回答。"

MACHINE: Final[dict[str, Outcome]] = {
    "crashed": Outcome(
        "fail",
        "the check itself failed: {error}: {text}",
        "检查本身出错：{error}：{text}",
        _REPORT,
        _REPORT_ZH,
    ),
    # This machine
    "python_ok": Outcome("ok", "Python {version}, {bits}-bit", "Python {version}，{bits} 位"),
    "python_unfit": Outcome(
        "fail",
        "Python {version}, {bits}-bit: 3.11 or newer in 64 bit is needed",
        "Python {version}，{bits} 位：需要 3.11 或更新的 64 位版本",
        "Install it from https://www.python.org/downloads/ and make the environment anew: python3 -m venv .venv",
        "请从 https://www.python.org/downloads/ 安装，并重建虚拟环境：python3 -m venv .venv",
    ),
    "packages_ok": Outcome("ok", "{pinned} packages as pinned", "{pinned} 个依赖包版本与要求一致"),
    "packages_differ": Outcome(
        "warn",
        "other versions than tested: {different}",
        "与测试过的版本不同：{different}",
        "{python} -m pip install {wanted}",
    ),
    "packages_missing": Outcome(
        "fail",
        "packages are missing: {missing}",
        "缺少依赖包：{missing}",
        "{python} -m pip install {wanted}",
    ),
    "packages_unknown": Outcome(
        "skipped", "{file} is not here: nothing to compare with", "找不到 {file}，无法核对依赖包"
    ),
    "torch_ok": Outcome(
        "ok",
        "torch {version}, CPU kernels {capability}, {threads} threads on {cores} cores",
        "torch {version}，CPU 指令集 {capability}，{cores} 核上 {threads} 线程",
    ),
    "torch_no_cuda": Outcome(
        "warn",
        "there is an NVIDIA driver, but torch {version} cannot use it",
        "本机有 NVIDIA 驱动，但 torch {version} 无法使用",
        "Install torch with CUDA: https://pytorch.org/get-started/locally/",
        "请安装带 CUDA 的 torch：https://pytorch.org/get-started/locally/",
    ),
    "ocr_ok": Outcome("ok", "scanned pages can be recognised (rapidocr)", "可以识别扫描件（rapidocr）"),
    "ocr_missing": Outcome(
        "skipped",
        "scanned pages are not recognised; to have that: {python} -m pip install rapidocr onnxruntime",
        "不识别扫描件；需要的话：{python} -m pip install rapidocr onnxruntime",
    ),
    "sqlite_ok": Outcome("ok", "SQLite {version} with FTS5", "SQLite {version}，支持 FTS5"),
    "sqlite_unfit": Outcome(
        "fail",
        "SQLite {version}, FTS5: {fts5}. ragkit needs {needed} or newer with FTS5",
        "SQLite {version}，FTS5：{fts5}。ragkit 需要 {needed} 或更新且支持 FTS5 的版本",
        "Use a Python that brings a newer one: https://www.python.org/downloads/ (or: conda install sqlite)",
        "请使用自带较新 SQLite 的 Python：https://www.python.org/downloads/（或运行：conda install sqlite）",
    ),
    "memory_ok": Outcome(
        "ok",
        "{name} ({device}): {free_bytes} free of {total_bytes}; {model} would run in {precision}. GB for weights, "
        "{context:,} tokens of context and the work (✓ fits, with {spare_bytes} to spare):",
        "{name}（{device}）：{total_bytes} 中 {free_bytes} 可用；{model} 将以 {precision} 运行。所需 GB，"
        "含权重、{context:,} 个词元的上下文和工作内存（✓ 放得下，并余 {spare_bytes}）：",
    ),
    "memory_short": Outcome(
        "warn",
        "{name} ({device}): {free_bytes} free of {total_bytes}; {model} does not fit. GB for weights, {context:,} tokens of "
        "context and the work (✓ fits, with {spare_bytes} to spare):",
        "{name}（{device}）：{total_bytes} 中 {free_bytes} 可用；放不下 {model}。所需 GB，含权重、{context:,} 个词元的上下文和工作内存"
        "（✓ 放得下，并余 {spare_bytes}）：",
        _LESS,
        _LESS_ZH,
    ),
    # Folders and knowledge base
    "folders_ok": Outcome("ok", "folders can be written: {folders}", "文件夹可写：{folders}"),
    "folders_closed": Outcome(
        "fail",
        "cannot be written: {closed}",
        "无法写入：{closed}",
        "Set RAGKIT_DATA to a folder of your own, or give yourself the right: {command}",
        "请将 RAGKIT_DATA 设为您自己的文件夹，或取得写权限：{command}",
    ),
    "disk_ok": Outcome(
        "ok", "{free_bytes} free on the disk of {folder}", "{folder} 所在磁盘剩余 {free_bytes}"
    ),
    "disk_low": Outcome(
        "warn",
        "only {free_bytes} free on the disk of {folder}",
        "{folder} 所在磁盘仅剩 {free_bytes}",
        "Make room, or set RAGKIT_DATA to a folder on another disk ({model} needs {model_bytes}).",
        "请清理空间，或将 RAGKIT_DATA 设为其他磁盘上的文件夹（{model} 需要 {model_bytes}）。",
    ),
    "library_ok": Outcome(
        "ok",
        "knowledge base whole, layout {layout}: {documents} documents ({failed} failed), {chunks} chunks, {vectors} vectors",
        "知识库完好，结构版本 {layout}：文档 {documents} 份（失败 {failed}），片段 {chunks}，向量 {vectors}",
    ),
    "library_older": Outcome(
        "ok",
        "knowledge base whole, layout {layout} of {newest}: it is brought up to date when it is next opened",
        "知识库完好，结构版本 {layout}（最新 {newest}）：下次打开时自动升级",
    ),
    "library_none": Outcome(
        "skipped",
        "no knowledge base in {folder} yet: it is made at first use",
        "{folder} 中还没有知识库：首次使用时创建",
    ),
    "library_newer": Outcome(
        "fail",
        "the knowledge base has layout {layout}, this ragkit knows {newest}",
        "知识库结构版本为 {layout}，本 ragkit 只支持到 {newest}",
        "Update ragkit (git pull), or choose another library with --kb NAME.",
        "请升级 ragkit（git pull），或用 --kb NAME 选择其他知识库。",
    ),
    "library_unreadable": Outcome(
        "fail",
        "{file} cannot be read: {problem}",
        "无法读取 {file}：{problem}",
        "Close what has it open, and check that you may read it; then: {python} -m ragkit doctor",
        "请关闭正在使用它的程序，并确认您有读取权限，然后运行：{python} -m ragkit doctor",
    ),
    "library_damaged": Outcome(
        "fail",
        "{file} is damaged: {problem}",
        "{file} 已损坏：{problem}",
        "Move it away and sync again, it is built anew from the documents: {command}",
        "请移走后重新同步，它会由文档重建：{command}",
    ),
    # Network
    "hub_ok": Outcome("ok", "{endpoint} answers", "{endpoint} 可以访问"),
    "hub_offline": Outcome(
        "skipped", "HF_HUB_OFFLINE is set: the hub is not asked", "已设置 HF_HUB_OFFLINE：不访问模型站"
    ),
    "hub_silent": Outcome(
        "warn",
        "{endpoint} is not in reach: {reason}. Only downloads need it",
        "无法访问 {endpoint}：{reason}。仅下载模型时需要",
        "{set} HF_ENDPOINT=https://hf-mirror.com && {python} -m ragkit download {model}",
    ),
    "hub_other": Outcome(
        "warn",
        "{endpoint} answers (HTTP {status}), but not as a model hub does",
        "{endpoint} 有应答（HTTP {status}），但不是模型站的应答",
        "Log in to the network if it asks for it, or set HF_ENDPOINT=https://hf-mirror.com",
        "如果网络要求登录，请先登录；或设置 HF_ENDPOINT=https://hf-mirror.com",
    ),
    "hub_no_proxy_support": Outcome(
        "fail",
        "the proxy of this machine cannot be used: {reason}",
        "本机代理无法使用：{reason}",
        '{python} -m pip install "httpx[socks]"',
    ),
    "proxy_none": Outcome("ok", "no proxy is set", "未设置代理"),
    "proxy_ok": Outcome(
        "ok",
        "proxies: {names}; not for this machine itself (NO_PROXY)",
        "代理：{names}；访问本机不走代理（NO_PROXY）",
    ),
    "proxy_loopback": Outcome(
        "warn",
        "proxies: {names}, and NO_PROXY lacks this machine itself",
        "代理：{names}，而 NO_PROXY 未包含本机",
        "{set} NO_PROXY=localhost,127.0.0.1,::1",
    ),
    "port_ok": Outcome("ok", "port {port} is free", "端口 {port} 可用"),
    "port_busy": Outcome(
        "warn",
        "port {port} is taken: the page comes up on the next free one",
        "端口 {port} 已被占用：页面将使用下一个空闲端口",
        "{python} demo.py --port {free}",
    ),
}
