"""What kind of thing was said: a question for the documents, small talk, or a question about the library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["greeting", "thanks", "farewell", "about", "outline", "question"]


@dataclass(frozen=True, slots=True)
class Intent:
    kind: Kind
    target: str = ""  # of an outline: the words that may name a document; "" means the whole library


_LONGEST = 120  # characters; nobody greets at greater length
_EDGE = " \t\r\n!！?？.。,，~～、…:：'\"“”"
_SMALL_TALK: tuple[tuple[Kind, str], ...] = (
    (
        "greeting",
        r"(?:你|您|大家)好(?:呀|啊|吗|哦)?|嗨|哈喽|哈啰|在吗|在么|早(?:上好|安)?|(?:上午|中午|下午|晚上)好|晚安"
        r"|hi(?: there)?|hello(?: there)?|hey(?: there)?|good (?:morning|afternoon|evening)|how are you",
    ),
    (
        "thanks",
        r"(?:好的?[，, ]*)?(?:非常|太|多)?(?:谢谢|感谢|多谢|谢)(?:你|您|了|啦|你了|您了|你的帮助|您的帮助)*"
        r"|(?:ok(?:ay)?,? ?)?(?:many )?(?:thanks|thank you|thx|ty)(?: (?:a lot|so much|very much|you))*",
    ),
    ("farewell", r"再见|拜拜|回头见|bye(?:[ -]?bye)?|goodbye|see you(?: later)?"),
    (
        "about",
        r"(?:你|您)(?:是谁|叫什么(?:名字)?|能做(?:些)?什么|会(?:做)?什么|有什么(?:用|功能))|(?:帮助|怎么用|使用说明)"
        r"|who are you|what(?:'s| is) your name|what can you do|help|how do (?:i|you) use (?:this|it)",
    ),
)
_LIBRARY_ZH = (
    r"(?:这|那|该|我|我们|的|份|个|些|几|里|里面|中|上传|全部|所有|知识库|文件|文档|资料|内容|东西)*"
)
_LIBRARY_EN = (
    r"(?:(?:of|in|inside|on|all|the|this|these|that|those|my|our|your|each|uploaded|whole|"
    r"documents?|docs?|files?|library|knowledge|base|contents?|everything|it) ?)*"
)
_SUMMARISE = re.compile(
    r"(?:请|麻烦)?(?:你)?(?:帮我|给我|为我)?(?:总结|概括|归纳|概述|列出|梳理)(?:一下|下)?(?P<zh>.*)"
    r"|(?:please |can you |could you )*(?:give (?:me )?(?:a |an )?(?:summary|outline|overview) of|summari[sz]e|outline|list)\b"
    r" ?(?P<en>.*)"
)
_ASKS_CONTENTS = re.compile(
    rf"(?:{_LIBRARY_ZH}(?:都|主要)?(?:有|包含|包括|讲|讲了|说|说了|写|写了)(?:些|了些|的是)?(?:什么|哪些|啥){_LIBRARY_ZH}"
    rf"|(?:有)?(?:什么|哪些)(?:文件|文档|资料)"
    rf"|what(?:'s| is| are) {_LIBRARY_EN}(?:about)?"
    rf"|(?:what|which) (?:documents?|files?) (?:do (?:you|i|we) have|are there|are {_LIBRARY_EN}))"
)
_NAMES_LIBRARY = re.compile(
    r"文件|文档|资料|知识库|内容|上传|\b(?:documents?|docs?|files?|library|knowledge base|everything)\b"
)


def classify(text: str) -> Intent:
    """Tell what was said. What is not clearly something else is a question for the documents."""
    said = text.strip(_EDGE).casefold()
    if len(said) > _LONGEST:
        return Intent("question")
    for kind, pattern in _SMALL_TALK:
        if re.fullmatch(rf"(?:{pattern})(?:[{_EDGE}]*(?:{pattern}))*", said):
            return Intent(kind)
    if _ASKS_CONTENTS.fullmatch(said) and _NAMES_LIBRARY.search(said):
        return Intent("outline")
    if found := _SUMMARISE.fullmatch(said):
        target = (found["zh"] if found["zh"] is not None else found["en"]).strip(_EDGE)
        if re.fullmatch(f"{_LIBRARY_ZH}|{_LIBRARY_EN}", target):
            return Intent("outline")
        return Intent("outline", target)
    return Intent("question")
