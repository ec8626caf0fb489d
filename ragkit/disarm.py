"""Text that others wrote, made unable to pass for a part of a prompt; its words stay as they are.

Knows the signs by which `prompts` and the chat templates of models divide a prompt. That a sentence gives
orders is nothing to this module: only the model can be told not to obey it.
"""

from __future__ import annotations

import re

TAG = "passage"  # between <passage> and </passage> stands the text of a document
# What begins a line of a prompt, ours or another's. As they are written there: a YAML file is full of `user:`.
HEADERS = "资料 文本 问题 系统 用户 助手 Sources Source Text Question System User Assistant Human".split()

_NEWLINES = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
# Not shown, but read by a model: Unicode's default-ignorable characters (zero-width, bidi, tags, variation
# selectors, fillers), which also hide a token from a search; and control characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_OPEN, _CLOSE, _BAR = "[<＜]", "[>＞]", "[|｜]"
_TOKEN = re.compile(
    rf"{_OPEN}\s*(?:[/／]\s*)?{TAG}(?![^\W\d])(?:\s{{0,3}}{_CLOSE})?"
    rf"|{_OPEN}[/／]?{_BAR}[\w/▁.:-]{{1,40}}{_BAR}{_CLOSE}"  # <|im_end|>, <｜User｜>
    rf"|{_OPEN}{{2}}[/／]?SYS{_CLOSE}{{2}}"
    rf"|{_OPEN}[/／]?(?:s|unk|pad|bos|eos|mask|sop|eop|start_of_turn|end_of_turn|think|tool_call|tool_response){_CLOSE}"
    r"|\[[/／]?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|g?MASK|CLS|SEP|PAD|UNK|BOS|EOS)\]",
    re.I,
)
_QUIET = str.maketrans("<>＜＞[]【】［］〔〕", "‹›‹›()()()()")
_LEAD = r"^(?P<lead>(?:[^\S\n]|[>#*_])*)"
_NUMBER = re.compile(
    rf"{_LEAD}(?P<mark>[\[【［〔]\s?(?:(?:来源|资料|文档|source|passage|document)\s?)?\d{{1,3}}\s?[\]】］〕])",
    re.M | re.I,
)
_NAME = "|".join(sorted({*HEADERS, *map(str.upper, HEADERS)}, key=len, reverse=True))
_HEADER = re.compile(rf"{_LEAD}(?P<name>(?:{_NAME})(?: ?\d{{1,3}})?[*_]*)[^\S\n]*[:：][^\S\n]*", re.M)


def tokens(text: str) -> str:
    """`text` without unseen characters, and without anything that ends a passage or a turn of the chat."""
    seen = _UNSEEN.sub("", _NEWLINES.sub("\n", text))
    return _TOKEN.sub(lambda found: found[0].translate(_QUIET), seen)


def passage(text: str) -> str:
    """`tokens`, and no line begins like a numbered source, a heading of a prompt or a speaker."""
    numbered = _NUMBER.sub(lambda found: found["lead"] + found["mark"].translate(_QUIET), tokens(text))
    return _HEADER.sub(r"\g<lead>\g<name> - ", numbered)


def line(text: str) -> str:
    """`passage` on one line: the name of a file, or a heading."""
    return passage(" ".join(tokens(text).split()))
