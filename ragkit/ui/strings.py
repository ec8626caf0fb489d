"""Every visible string, in English and in Chinese, and the choice between them. Knows no Gradio.

A key stands in both tables (a test holds that), with the same {placeholders}. A count
has its word beside it in both its forms: "{n} {n:file|files}".
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Final

from ragkit.schema import Language
from ragkit.ui import (
    strings_folders,
    strings_library,
    strings_machine,
    strings_settings,
    strings_tester,
    strings_viewer,
)

COOKIE: Final = "ragkit-lang"
"""Set by the page before its first request, read by the handlers: the language that the user sees."""

HTML_LANG: Final[dict[Language, str]] = {"en": "en", "zh": "zh-CN"}

_EN: Final = {
    # Top bar
    "tab_chat": "Chat",
    "tab_library": "Knowledge base",
    "tab_settings": "Settings",
    "switch_language": "中文",
    "switch_language_long": "切换到中文",
    "switch_language_confirm": "Switching the language starts a new conversation. Go on?",
    "switch_theme": "Light or dark",
    "ok": "OK",
    "edit_note": "It is asked again, and what follows it here is removed.",
    "server_gone": "ragkit does not answer: it was closed, or this computer sleeps. This page goes on by itself once it is back.",
    "cancel": "Cancel",
    "close": "Close",
    # What is running
    "state_opening": "Loading…",
    "state_opening_long": "opening the knowledge base",
    "state_samples": "Loading…",
    "state_samples_long": "reading the sample documents ({done} of {total})",
    "state_failed": "Cannot start",
    "profile_quotes": "Quotes",
    "profile_quotes_long": "word-for-word passages, no language model",
    "profile_model_long": "answers are written by this language model",
    "profile_server_long": "passages are sent to {url}",
    "profile_english_long": "{label}; English only, Chinese is answered in quotes",
    "model_loading": "Loading {name}…",
    "model_loading_long": "{percent} {label} {size}; quotes answer meanwhile",
    "model_failed": "The language model cannot be used; quotes answer instead.",
    "embedding_off": "keyword search",
    "embedding_waiting": "keyword search",
    "embedding_loading": "semantic search loading…",
    "embedding_indexing": "semantic search {done}/{total}",
    "embedding_ready": "keyword + semantic search",
    "embedding_ready_en": "keyword search, semantic for English",
    "embedding_ready_zh": "keyword search, semantic for Chinese",
    "embedding_failed": "keyword search (semantic search failed)",
    # Chat
    "greeting": "Hello, I am your assistant. How can I help you?",
    "greeting_hint": "Answers come only from the files in your knowledge base, each with a numbered source.",
    "ask": "Ask about your documents…",
    "waiting": "Loading… Your question is answered as soon as the knowledge base is open.",
    "waiting_model": "Waiting for the language model, which is being loaded. Your question is answered then.",
    "stop": "Stop",
    "searching": "Searching…",
    "writing": "Reading the sources…",
    "first_word": "about {seconds} s until the first word",
    "source": "Source {n}",
    "show_sources": "Sources · {n}",
    "earlier": "Show {n} earlier {n:message|messages}",
    "note_weak": "Weak match: the passages fit your question only loosely. Please check them.",
    "note_stopped": "The answer ended here, because another model was chosen. Ask again.",
    "mode": "Answer",
    "mode_documents": "With your documents",
    "mode_model": "Without documents",
    "mode_both": "Side by side",
    "scope": "Search in",
    "scope_all": "All documents",
    "note_model_only": "Said by the model alone: nothing here rests on your documents.",
    "model_only_title": "Without documents",
    "model_only_text": "The model answered by itself, so there are no passages to check it by.",
    "note_halted": "You stopped this answer.",
    "note_halted_early": "You stopped before the answer began.",
    "unsupported": "not found in the sources",
    "answer_failed": "The answer could not be finished.",
    "internal_error": "Something went wrong inside ragkit. The log file says more: {log}",
    # Sources
    "sources": "Sources",
    "sources_empty_title": "Where answers come from",
    "sources_empty": "Ask a question, and the passages that its answer rests on appear here.",
    "sources_waiting": "Searching…",
    "sources_gone": "The sources of this answer are no longer kept. Ask again to see them.",
    "sources_talk_title": "No sources needed",
    "sources_talk": "This reply does not rest on your documents.",
    "searched": "Searched for: {text}",
    "other_language_title": "Your documents speak the other language",
    "refused_title": "Nothing in your documents fits",
    "refused_text": "So that nothing is made up, there is no answer. You can:",
    "refused_rephrase": "ask again with words that stand in the documents",
    "refused_split": "ask about one thing at a time",
    "refused_add": "add a document about it in the Knowledge base tab",
    "empty_library_title": "The knowledge base is empty",
    "empty_library": "Add documents in the Knowledge base tab, then ask again.",
    "weak_title": "Weak match",
    "weak_text": "These passages fit only loosely. Check them before you rely on the answer.",
    "uncited": "Also found, not cited",
    "none_cited": "Found, but the answer cites none of it",
    "page": "p. {n}",
    "slide": "slide {n}",
    "sheet": "sheet {n}",
    "source_deleted": "This document was deleted from the knowledge base.",
    "score": "relevance {score}",
    "score_open": "{score}: what it is made of",
    "score_relevance": "Relevance, ranked by this",
    "score_words": "Words (BM25)",
    "score_meaning": "Meaning (cosine)",
    "score_fused": "Words and meaning, fused",
    "score_rerank": "Reranker",
    "score_absent": "off, or not listed by it",
    "coverage_files": "Answered from {done} of {total} {total:file; it still waits|files; the others still wait} to be read.",
    "coverage": "Vectors are there for {percent} % of the passages so far; the rest is found by its words.",
    # Knowledge base
    "chatbot.copy_message": "Copy",
    "chatbot.copied_message": "Copied",
    # Errors by code: what happened, and the remedy
    "error_unsupported_file": "This kind of file cannot be read. Save or export it as PDF, as a current "
    "Office file, or as text from the program that made it.",
    "error_empty_file": "The file is empty. Check that you added the right one.",
    "error_no_text": "There is no text in this file. A scan needs text recognition (OCR) first.",
    "error_mislabelled_file": "The file is of another kind than its name says. Give it the right extension.",
    "error_truncated_file": "The end of the file is missing. Copy or download it again.",
    "error_encrypted_file": "The file is protected by a password. Remove the password and add it again.",
    "error_broken_file": "The file is damaged. Open it in its own program, save it anew, add it again.",
    "error_file_too_large": "The file is too large. Split it and add the parts.",
    "error_file_vanished": "The file disappeared while it was being read. Add it again.",
    "error_reader_failed": "Reading was given up: it took too long or needed too much memory. Split the file or "
    "save it in another format.",
    "error_read_error": "The file could not be read.",
    "error_store_error": "The knowledge base cannot be used.",
    "error_library_busy": "Another process is writing to this knowledge base. Try again when it has finished.",
    "error_library_too_new": "This knowledge base was written by a newer ragkit. Update ragkit.",
    "error_broken_export": "The chosen file is damaged, or was not exported by ragkit. Nothing was changed. Export "
    "that knowledge base once more, or copy the file again, and import it then.",
    "error_model_error": "The language model cannot be used.",
    "error_generation_error": "The language model failed while it was answering. Try again.",
    "error_usage_error": "This cannot be done.",
    "error_ragkit_error": "Something unexpected happened.",
    # Terminal
    "term_page": "Page:      {url}",
    "term_share": "Public:    {url}",
    "term_login": "Login:     user {user}, password {password}",
    "term_port_taken": "Port {wanted} is in use; using {port} instead.",
    "term_share_failed": "No public link: the share server cannot be reached. The page runs on this computer only.",
    "term_watch_missing": "{folder} is not there. Nothing is removed; it is waited for.",
    "term_answers": "Answers:   {profile}",
    "term_search": "Search:    {search}",
    "term_library": "Library:   {folder} (documents: {documents})",
    "term_stop": "Press Ctrl+C to stop.",
    "term_bye": "Stopped.",
}

_ZH: Final = {
    "tab_chat": "对话",
    "tab_library": "知识库",
    "tab_settings": "设置",
    "switch_language": "EN",
    "switch_language_long": "Switch to English",
    "switch_language_confirm": "切换语言会开始一段新的对话，继续吗？",
    "switch_theme": "浅色或深色",
    "ok": "确定",
    "edit_note": "将重新提问，此后的对话会被删除。",
    "server_gone": "ragkit 没有响应：程序可能已关闭，或电脑正在休眠。恢复后，本页会自动继续。",
    "cancel": "取消",
    "close": "关闭",
    "state_opening": "加载中…",
    "state_opening_long": "正在打开知识库",
    "state_samples": "加载中…",
    "state_samples_long": "正在读取示例文档（{done}/{total}）",
    "state_failed": "无法启动",
    "profile_quotes": "摘录模式",
    "profile_quotes_long": "逐字摘录原文，未加载语言模型",
    "profile_model_long": "由该语言模型撰写回答",
    "profile_server_long": "原文会发送到 {url}",
    "profile_english_long": "{label}；仅限英文，中文问题由摘录回答",
    "model_loading": "正在加载 {name}…",
    "model_loading_long": "{percent} {label} {size}；加载期间由摘录回答",
    "model_failed": "语言模型无法使用，改由摘录回答。",
    "embedding_off": "关键词检索",
    "embedding_waiting": "关键词检索",
    "embedding_loading": "语义检索加载中…",
    "embedding_indexing": "语义检索 {done}/{total}",
    "embedding_ready": "关键词＋语义检索",
    "embedding_ready_en": "关键词检索，英文另有语义检索",
    "embedding_ready_zh": "关键词检索，中文另有语义检索",
    "embedding_failed": "关键词检索（语义检索加载失败）",
    "greeting": "你好，我是你的助手，有什么我可以帮助你的吗？",
    "greeting_hint": "回答只依据知识库中的文件，并附上带编号的来源。",
    "ask": "就你的文档提问…",
    "waiting": "加载中…知识库一打开就会回答你的问题。",
    "waiting_model": "正在等待语言模型加载完成，然后就会回答你的问题。",
    "stop": "停止",
    "searching": "正在检索…",
    "writing": "正在阅读原文…",
    "first_word": "大约 {seconds} 秒后开始回答",
    "source": "来源 {n}",
    "show_sources": "来源 · {n}",
    "earlier": "显示更早的 {n} 条消息",
    "note_weak": "弱匹配：找到的段落与问题只是大致相关，请核对原文。",
    "note_stopped": "因为切换了模型，回答到此为止。请重新提问。",
    "mode": "回答方式",
    "mode_documents": "结合文档",
    "mode_model": "不用文档",
    "mode_both": "对照",
    "scope": "检索范围",
    "scope_all": "全部文档",
    "note_model_only": "这是模型自己的回答，没有以你的文档为依据。",
    "model_only_title": "不用文档",
    "model_only_text": "模型独自作答，因此没有可供核对的原文。",
    "note_halted": "你停止了这次回答。",
    "note_halted_early": "回答还没有开始，你就停止了。",
    "unsupported": "资料中未找到依据",
    "answer_failed": "回答未能完成。",
    "internal_error": "ragkit 内部出错，详情见日志文件：{log}",
    "sources": "引用来源",
    "sources_empty_title": "回答从哪里来",
    "sources_empty": "提问之后，这里会显示回答所依据的原文段落。",
    "sources_waiting": "正在检索…",
    "sources_gone": "这条回答的来源已不再保留，重新提问即可查看。",
    "sources_talk_title": "无需来源",
    "sources_talk": "这条回复不涉及你的文档。",
    "searched": "按此检索：{text}",
    "other_language_title": "文档使用的是另一种语言",
    "refused_title": "文档中没有合适的内容",
    "refused_text": "为了不编造内容，这里不作回答。你可以：",
    "refused_rephrase": "换用文档里出现过的说法再问",
    "refused_split": "一次只问一件事",
    "refused_add": "在“知识库”页添加相关文档",
    "empty_library_title": "知识库还是空的",
    "empty_library": "请先在“知识库”页添加文档，然后再提问。",
    "weak_title": "弱匹配",
    "weak_text": "这些段落与问题只是大致相关，采用之前请先核对。",
    "uncited": "同时找到，未被引用",
    "none_cited": "找到了以下内容，但回答没有引用",
    "page": "第 {n} 页",
    "slide": "第 {n} 张幻灯片",
    "sheet": "第 {n} 张工作表",
    "source_deleted": "这份文档已从知识库中删除。",
    "score": "相关度 {score}",
    "score_open": "{score}：分值构成",
    "score_relevance": "相关度（排序依据）",
    "score_words": "关键词（BM25）",
    "score_meaning": "语义（余弦）",
    "score_fused": "关键词与语义融合",
    "score_rerank": "重排模型",
    "score_absent": "未启用，或未列出该段落",
    "coverage_files": "本次回答依据 {total} 份文件中的 {done} 份，其余文件还在等待读取。",
    "coverage": "语义索引目前覆盖 {percent} % 的段落，其余按关键词查找。",
    "chatbot.copy_message": "复制",
    "chatbot.copied_message": "已复制",
    "error_unsupported_file": "不支持这种文件。请用原来的程序把它另存或导出为 PDF、新版 Office 文件或文本。",
    "error_empty_file": "文件是空的。请检查是否选对了文件。",
    "error_no_text": "文件里没有文字。扫描件请先做文字识别（OCR）。",
    "error_mislabelled_file": "文件的实际类型与扩展名不符。请改成正确的扩展名。",
    "error_truncated_file": "文件不完整，缺少末尾。请重新复制或下载。",
    "error_encrypted_file": "文件有密码保护。请去掉密码后重新添加。",
    "error_broken_file": "文件已损坏。请用原来的程序打开，重新保存后再添加。",
    "error_file_too_large": "文件太大。请拆分后再添加。",
    "error_file_vanished": "读取时文件不见了。请重新添加。",
    "error_reader_failed": "读取超时或占用内存过多，已放弃。请拆分文件，或另存为其他格式。",
    "error_read_error": "无法读取该文件。",
    "error_store_error": "无法使用该知识库。",
    "error_library_busy": "另一个进程正在写入该知识库，请等它结束后再试。",
    "error_library_too_new": "该知识库由更新版本的 ragkit 写成，请先升级 ragkit。",
    "error_broken_export": "所选文件已损坏，或者不是 ragkit 导出的文件。没有改动任何内容。请重新导出那个知识库，或重新复制该文件，然后再导入。",
    "error_model_error": "无法使用语言模型。",
    "error_generation_error": "语言模型在回答时出错，请重试。",
    "error_usage_error": "无法完成该操作。",
    "error_ragkit_error": "发生了意外错误。",
    "term_page": "页面地址：{url}",
    "term_share": "公开链接：{url}",
    "term_login": "登录信息：用户名 {user}，密码 {password}",
    "term_port_taken": "端口 {wanted} 已被占用，改用 {port}。",
    "term_share_failed": "无法创建公开链接：连不上分享服务器。页面只在本机运行。",
    "term_watch_missing": "{folder} 不在。未删除任何内容，它出现后即可同步。",
    "term_answers": "回答方式：{profile}",
    "term_search": "检索方式：{search}",
    "term_library": "知识库：  {folder}（文档 {documents} 份）",
    "term_stop": "按 Ctrl+C 停止。",
    "term_bye": "已停止。",
}

TABLES: Final[dict[Language, dict[str, str]]] = {
    "en": _EN
    | strings_library.EN
    | strings_folders.EN
    | strings_settings.EN
    | strings_machine.EN
    | strings_tester.EN
    | strings_viewer.EN,
    "zh": _ZH
    | strings_library.ZH
    | strings_folders.ZH
    | strings_settings.ZH
    | strings_machine.ZH
    | strings_tester.ZH
    | strings_viewer.ZH,
}


class _Counting(string.Formatter):
    """str.format, and "{n} {n:file|files}": the first form for 1, the second for every other number."""

    def format_field(self, value: object, format_spec: str) -> str:
        one, bar, many = format_spec.partition("|")
        if not bar:
            return str(super().format_field(value, format_spec))
        return one if str(value) == "1" else many


class Strings:
    """The strings of one language: `strings("source", n=3)`."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._table = TABLES[language]

    def __call__(self, key: str, **values: object) -> str:
        text = self._table[key]
        return _Counting().vformat(text, (), values) if values else text

    def error(self, code: str) -> str:
        """Say what an error means and what to do, by its code."""
        return self._table.get(f"error_{code}") or self._table["error_ragkit_error"]


def choose(
    forced: Language | str, cookies: Mapping[str, str] | None = None, accept_language: str = ""
) -> Strings:
    """Choose the language: what the page says (cookie), else the setting, else the browser's first wish."""
    for wish in ((cookies or {}).get(COOKIE, ""), forced, accept_language):
        if wish and wish[0] != "*":
            return Strings("zh" if wish.lower().startswith("zh") else "en")
    return Strings("en")
