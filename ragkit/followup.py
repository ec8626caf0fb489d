"""A question that leans on the conversation, made to stand alone by rule: "那它支持哪些模型？" after
"xtuner是什么？" becomes "xtuner支持哪些模型？". Pure functions over strings, Chinese and English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from ragkit.text import content_terms, language

_LEAD_ZH = re.compile(
    r"^(?:那么|那就|那(?![里边天年月周时次个些种款项位两儿])|然后|接着|还有|另外|再问一下|请问|所以|对了)[，,、 ]*"
)
_LEAD_EN = re.compile(r"^(?:and|but|so|then|also|ok(?:ay)?|well)\b[, ]+", re.I)
_THING_ZH = re.compile(
    r"它们?的?|(?<!其)他们?的?|她们?的?|(?:这|那)(?:个|些|种|款|项|两个|几个)(?!月|周|星期|礼拜|季度|年|时候|地方)"
    r"(?:工具|东西|方法|模型|公司|产品|项目|制度|规定|文件)?的?"
    r"|上面(?:说|提到)?的?|上述|前者|后者|该(?:工具|方法|模型|公司|产品|项目|制度|规定|文件)的?"
)
_WORD_EN = r"\b(?:its|their|his|her|it|they|them|he|she|him|that one|this one|those|these|the former|the latter|(?:this|that)(?= (?:tool|model|method|one|rule|policy|project|product|company)\b| ?\?|$)(?: (?:tool|model|method|one|rule|policy|project|product|company))?)\b"
_AUX = "does did do is was can could will would should must may".split()
_AFTER_AUX = "|".join(rf"(?<=\b{word} )" for word in _AUX)  # does this apply to V1
_THING_EN = re.compile(
    rf"{_WORD_EN}|(?:{_AFTER_AUX})(?:this|that)\b(?! (?:year|month|week|quarter|time|day)\b)", re.I
)
# "it" that means nothing: is it possible to, how long does it take to.
_EXPLETIVE = re.compile(
    r"\b(?:is|was|would|will|isn['’]t) it (?:be )?(?:possible|necessary|allowed|ok(?:ay)?|permitted|required|mandatory|true|safe|"
    r"legal|better|worth|enough|too late|fine)\b|\bit (?:is|was|would be) (?:possible|necessary|allowed|required|true)\b"
    r"|\b(?:does|will|did|would) it (?:take|cost|need|matter)\b(?=.*\b(?:to|for|if|when)\b)",
    re.I,
)
_ASIDE_EN = re.compile(r"\b(?:when|if|while|because|before|after|until|unless) $", re.I)
_NO_SUBJECT_ZH = re.compile(r"(?:最早|最晚|最近|什么时候|何时|几时|哪一?年)")
_PLURAL = re.compile(r"\b(?!(?:is|was|does|has|this|its|as|us)\b)[a-z]{2,}s\b|\bpeople\b|\bstaff\b", re.I)
# "a lost laptop", up to the word that goes on with the sentence.
_SOME = re.compile(
    r"\ban? (?:\w+ ){0,2}?\w+(?=[?,.]|$| (?:is|was|be|has|can|must|may|will|does|in|on|at|for|of|to|from|with|and|or|by|when|if)\b)",
    re.I,
)
_NOUN = re.compile(r"\b(?:the|an?|my|our|your|every|each) \w+", re.I)
_AMONG = re.compile(r"^(?:在)?其中的?")
_FIRST, _SECOND = re.compile(r"前者|\bthe former\b", re.I), re.compile(r"后者|\bthe latter\b", re.I)
# A time or a case that the last question is asked again for, not another thing.
_CASE_ZH = re.compile(
    r"第[一二三四五六七八九十\d]+[年天次个月].*|[今明去前后]年|[上下本这]个?[月周]|周[一二三四五六日末]|.*(?:期|期间|的?时候?|之?[后前内外]|以[后前内上下]|"
    r"当天|周末|节假日|假日)|(?:如果|要是|满|超过|不满|不到).+"
)
_CASE_EN = re.compile(
    r"(?:in|on|at|for|during|after|before|with|without|from|under|over|if|when|by) .+", re.I
)
_OWNED = re.compile(r"(?:的|\b(?:its|their|his))$", re.I)
_OTHER_ZH = re.compile(
    r"^(?:那么?|还有|换成|如果是|要是|至于|关于)?[，, ]*(?P<x>[^，。？?！!]{1,20}?)(?:的话)?(?:呢|又如何|又怎么样)[？?。 ]*$"
)
_OTHER_EN = re.compile(
    r"^(?:and |but )?(?:what|how) about (?P<x>[^?]{1,60}?)[?. ]*$|^and (?P<y>(?:(?!\b(?:what|how|why|who|when|where|which|is|are|does|do|can)\b)[^?]){1,40})\?$",
    re.I,
)
_MORE = re.compile(
    r"(?:还有(?:别的|其他的?|更多)?|更多|其他的?|继续|接着说|详细(?:一点|说说|讲讲)?|展开(?:讲讲|说说)?)(?:呢|吗|么)?[？?。！! ]*"
    r"|(?:(?:any|anything|what) else|(?:tell me )?more|go on|continue|(?:more )?details?)[?.! ]*",
    re.I,
)
# Where in a Chinese question its subject ends.
_TURN_ZH = re.compile(
    r"[是有为在能会可要应该需支提包由和与跟怎如多几什哪谁何吗呢？?，,。！!]|最[多少晚早]|一共|每[年月天次]|使用|属于|分为"
)
_VERB_FIRST = re.compile(
    r"^(?:支持|包括|包含|需要|适用|依赖|提供|属于|分为|用于|一共|总共|最多|最少|大概|还)"
)
_NAME = re.compile(r"[A-Z][A-Za-z0-9_.+#-]*(?: [A-Z0-9][A-Za-z0-9_.+#-]*)*|[a-z][A-Za-z0-9_.+#-]*")
_ASKS_EN = frozenset(
    "what which who whom whose when where why how is are was were do does did can could should would will may must "
    "the a an of for to in on at by with about from tell me explain describe please i you we my your and or it its "
    "they them their this that these those much many long".split()
)
_WHAT_IS = re.compile(
    r"^(?:what|who|where)(?:'s| is| are| was| were)\s+(?P<x>.+?)(?:\s+(?:used for|about|mean|good for))?[?. ]*$|^what does (?P<y>.+?) (?:mean|do)[?. ]*$",
    re.I,
)
Lean = Literal["no", "maybe", "yes"]

_SHORT_ZH, _SHORT_EN = 2, 1  # characters, words of content: with no more a question has no subject of its own


def lean(question: str) -> Lean:
    """Whether a question needs what was said before to be understood; "maybe" where it only is short."""
    said = question.strip()
    if _MORE.fullmatch(said) or _OTHER_ZH.match(said) or _OTHER_EN.match(said):
        return "yes"
    if language(said) == "zh":
        bare = _LEAD_ZH.sub("", said)
        if _AMONG.match(bare):
            return "yes"
        thing = _THING_ZH.search(bare)
        if thing:  # "XTuner 是什么，它支持……" says itself what "it" is
            return "yes" if len(_content(bare[: thing.start()])) < _SHORT_ZH else "no"
        if _VERB_FIRST.match(bare):
            return "yes"
        content = _content(bare)
        if _NAME.search(bare):
            return "no"
        if len(content) <= _SHORT_ZH:
            return "maybe" if content else "yes"
        return "maybe" if _NO_SUBJECT_ZH.match(bare) or bare != said else "no"
    bare = _LEAD_EN.sub("", said)
    thing = _thing_en(bare)
    if thing:
        if _says_what(thing[0], bare[: thing.start()]):
            return "no"
        # "Who decides when it is foggy?"
        return "maybe" if _ASIDE_EN.search(bare[: thing.start()]) and _words(bare[: thing.start()]) else "yes"
    words = _words(bare)
    if _names(bare) or _EXPLETIVE.search(bare) or (len(words) > _SHORT_EN and bare == said):
        return "no"
    return "maybe" if words else "yes"


def _thing_en(text: str) -> re.Match[str] | None:
    """The first word that stands for a thing; not an "it" that stands for none."""
    return _THING_EN.search(_EXPLETIVE.sub(lambda found: "-" * len(found[0]), text))


def _says_what(thing: str, before: str) -> bool:
    """Whether what stands before "it" or "they" in the same question is what they mean."""
    if _names(before) or "," in before:
        return True
    if re.search(r"\b(?:of|for|about|with|to|from|in|on|by)\s*$", before, re.I):  # the price of it
        return False
    noun = _PLURAL if re.match(r"the[ymi]|those|these", thing, re.I) else _NOUN
    return noun.search(before) is not None


def stand_alone(question: str, before: Sequence[str]) -> str:
    """The question with what it leaves out, from the questions `before` it (each one standing alone, the last
    one last); unchanged when it leans on nothing, or there is nothing to lean on."""
    said = question.strip()
    last = next((one.strip() for one in reversed(before) if subject(one)), "")
    if not last or lean(said) == "no":
        return question
    if _MORE.fullmatch(said):
        return last
    other = _OTHER_ZH.match(said) or _OTHER_EN.match(said)
    if other:
        wanted = next(value for value in other.groupdict().values() if value)
        if not (_THING_ZH.search(wanted) or _THING_EN.search(wanted)):
            return _instead(last, _LEAD_ZH.sub("", wanted).strip())
        said = wanted + ("？" if language(said) == "zh" else "?")
    if language(said) == "zh":
        bare = _LEAD_ZH.sub("", said)
        if among := _AMONG.match(bare):
            kinds = f"{_content(last)}中" if re.search("哪|几[种个类款]", last) else subject(last)
            return kinds + bare[among.end() :]
        thing = _THING_ZH.search(bare)
        if thing:
            return bare[: thing.start()] + _owned(_meant(thing[0], last), thing[0]) + bare[thing.end() :]
        topic = subject(last)
        return f"{topic}{' ' if topic[-1:].isascii() and bare[:1].isascii() else ''}{bare}"
    bare = _LEAD_EN.sub("", said)
    thing = _thing_en(bare)
    if thing:
        return bare[: thing.start()] + _owned(_meant(thing[0], last), thing[0]) + bare[thing.end() :]
    return f"{bare.rstrip('?. ')} {subject(last)}?"


def _meant(thing: str, last: str) -> str:
    """What "it" is: the subject of the last question; of two names the one that "former" or "latter" tells."""
    if not (_FIRST.match(thing) or _SECOND.match(thing)):
        return subject(last)
    which = 0 if _FIRST.match(thing) else 1
    names = _NAME.findall(last) if language(last) == "zh" else _names(last)
    if len(names) > 1:
        return str(names[which])
    pair = re.search(
        r"(\w{2,8}?)(?:和|与|跟|还是)(\w{2,8}?)(?=的|有|是|哪|谁|各|分别|之|相|都|[，,？?])", last
    )
    return pair[1 + which] if pair else subject(last)


def own_words(question: str) -> str:
    """A question without the words that lean on others."""
    bare = _LEAD_EN.sub("", _LEAD_ZH.sub("", question.strip()))
    return _THING_EN.sub(" ", _THING_ZH.sub(" ", bare))


def subject(question: str) -> str:
    """What a question is about: a name, what stands before its verb, or else all of its content."""
    said = _LEAD_EN.sub("", _LEAD_ZH.sub("", question.strip()))
    if language(said) == "zh":
        if names := _NAME.findall(said):
            return str(names[0])
        turn = _TURN_ZH.search(said)
        first = said[: turn.start()] if turn else said
        if len(_content(first)) >= _SHORT_ZH:
            return re.sub(r"^(?:请|介绍|一下)+|的$", "", first)
        return _content(said)
    if found := _WHAT_IS.match(said):
        return next(value for value in found.groupdict().values() if value)
    if names := _names(said):
        return names[0]
    return " ".join(_words(said))


def _instead(last: str, wanted: str) -> str:
    """The last question about another thing, or about the same one in another case."""
    if language(last) == "zh":
        if _CASE_ZH.fullmatch(wanted):
            return f"{wanted}{last}"
        old = subject(last)
        return last.replace(old, wanted, 1) if old in last else f"{wanted} {_content(last)}"
    if _CASE_EN.fullmatch(wanted):
        return f"{last.rstrip('?. ')} {wanted}?"
    if re.match(r"an? \w+$", wanted, re.I) and (noun := _SOME.search(last)):
        return f"{last[: noun.start()]}{wanted}{last[noun.end() :]}"
    ours, theirs = last.rstrip("?. ").split(), wanted.split()
    for at in range(len(ours) - len(theirs), -1, -1):  # "annual leave" gives way to "sick leave"
        piece = ours[at : at + len(theirs)]
        if len(theirs) > 1 and piece[-1].casefold() == theirs[-1].casefold() and piece != theirs:
            return " ".join([*ours[:at], *theirs, *ours[at + len(theirs) :]]) + "?"
    old = subject(last)
    return last.replace(old, wanted, 1) if old and old in last else f"{wanted}: {last}"


def _owned(topic: str, thing: str) -> str:
    if not _OWNED.search(thing):
        return topic
    return topic + ("的" if thing.endswith("的") else "'s")


def _content(text: str) -> str:
    """The Chinese characters and names of a question that do not only ask."""
    parts: list[str] = []
    end = 0
    for token in content_terms(text):
        start = max(token.start, end)
        parts.append(text[start : token.end])
        end = max(end, token.end)
    return re.sub("[的了]", "", "".join(parts))


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[\w'.+#-]*\w[+#]*", text) if word.casefold() not in _ASKS_EN]


def _names(text: str) -> list[str]:
    """Words that are written as names: with a capital or a digit in them, the first word only if it is no common one."""
    found = []
    for name in _NAME.finditer(text):
        words = [w for w in name[0].split(" ") if w.casefold() not in _ASKS_EN]
        if words and (
            any(char.isupper() for char in words[0][1:])
            or any(map(str.isdigit, words[0]))
            or (name.start() and words[0][0].isupper())
            or (len(words) < len(name[0].split(" ")) and words[0][0].isupper())
        ):
            found.append(" ".join(words))
    return found
