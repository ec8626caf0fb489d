"""From what was asked to what is looked for: a follow-up made to stand alone, a question put into the language
of the documents. By the model where there is one, else by rule; what a model says is checked before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ragkit import disarm
from ragkit.followup import lean, own_words, stand_alone, subject
from ragkit.gate import Verdict
from ragkit.prompts import Message
from ragkit.schema import Language, Turn
from ragkit.text import content_terms, is_cjk, language

if TYPE_CHECKING:
    from ragkit.retrieval import Retrieval

Look = Callable[[str], "tuple[Retrieval, Verdict]"]
Complete = Callable[[Sequence[Message]], str]
"""What the model says to these messages; "" when it fails."""

_TURNS = 3  # of the conversation that a model sees to rewrite a question
_ANSWER_CHARS = 200  # of each answer in it
_LONGEST = 300  # characters of a question that a model may write
_KEPT = 0.6  # of its own terms a rewritten question must keep
_TOGETHER = 0.6  # of its own share of words that a short question keeps beside what was added to it
# Of the documents in the other language: from here on a question that finds nothing is translated. In a library
# of both it would cost every question that the documents do not answer a call of the model.
_MOSTLY = 0.6
# ...and from here on the language is the likely cause when nothing is found and nobody translates: where the
# documents have text in the question's own language, it is more likely that they do not say it.
_ALL_BUT = 0.95
_LABEL = re.compile(
    r"^(?:改写后的?问题|独立问题|完整问题|问题|改写|翻译|译文|(?:rewritten |stand-?alone )?question|translation)\s*[:：]\s*",
    re.I,
)
_QUOTES = "“”\"'`「」『』"

_REWRITE: Final[dict[Language, str]] = {
    "zh": "下面是一段对话。把最后一个问题改写成单独看也能懂的问题：把“它”“这个”之类的词换成所指的东西，补上省略的部分。"
    "只写出改写后的问题，不要回答。\n\n{turns}\n\n最后一个问题：{question}\n改写后的问题：",
    "en": "Below is a conversation. Rewrite its last question so that it can be understood alone: put what they mean in "
    'place of words like "it" or "this", and add what is left out. Write the rewritten question only, do not answer it.'
    "\n\n{turns}\n\nLast question: {question}\nRewritten question:",
}
_TURN: Final[dict[Language, str]] = {"zh": "问：{question}\n答：{answer}", "en": "Q: {question}\nA: {answer}"}
_TRANSLATE: Final[dict[Language, str]] = {  # into this language
    "zh": "Translate this question into Chinese. Leave names as they are. Write the translation only.\n\n{question}",
    "en": "把下面的问题翻译成英文，名称保持原样。只写出译文。\n\n{question}",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, and by which question."""

    retrieval: Retrieval
    verdict: Verdict
    searched: str
    other_language: bool = False  # the documents speak the other language, and nothing could translate


def find(
    question: str,
    history: Sequence[Turn],
    look: Look,
    complete: Complete | None,
    spoken: Callable[[], dict[Language, float]],
    longer_forms: Callable[[str], Sequence[str]],
) -> Found:
    """Find the passages for a question in its conversation. `spoken`: the share of the documents in each language;
    `longer_forms`: what they say for a word of two characters."""
    alone = rewritten(question, history, complete)
    found = Found(*look(alone), alone)
    if alone != question and lean(question) == "maybe":
        plain = Found(*look(question), question)
        if not _goes_with(plain.retrieval, found.retrieval):
            found, alone = plain, question
    if found.verdict == "answer":
        return found
    if found.verdict == "refuse" and (longer := _spelt_out(alone, found.retrieval, longer_forms)):
        better = Found(*look(longer), longer)
        if better.verdict != "refuse":
            return replace(better, verdict="weak")  # it may be another word
    asked_in = language(alone)
    other: Language = "en" if asked_in == "zh" else "zh"
    shares = spoken()
    if complete is not None and shares[other] >= _MOSTLY:
        translated = translation(alone, other, complete)
        if translated:
            better = Found(*look(translated), translated)
            if better.verdict == "answer" or (better.verdict == "weak" and found.verdict == "refuse"):
                return better
    if complete is None and shares[other] >= _ALL_BUT and found.verdict == "refuse":
        return Found(found.retrieval, found.verdict, found.searched, other_language=True)
    return found


def _goes_with(plain: Retrieval, carried: Retrieval) -> bool:
    """Whether what a short question was given from the conversation stands beside its own words in the documents;
    where these are about something else, or nowhere, it began a new topic."""
    is_known = all(plain.holding.get(term) for term in plain.weights)
    return is_known and carried.fit >= _TOGETHER * plain.fit


def _spelt_out(question: str, found: Retrieval, longer_forms: Callable[[str], Sequence[str]]) -> str:
    """The question with its short word as the documents write it: 年假 as 年休假. Only for a subject of two
    characters that they never write: within longer words the same rule joins what belongs to two of them."""
    word = subject(question)
    if len(word) != 2 or not all(map(is_cjk, word)) or found.holding.get(word):
        return ""
    forms = longer_forms(word)
    return question.replace(word, forms[0], 1) if forms else ""


def rewritten(question: str, history: Sequence[Turn], complete: Complete | None) -> str:
    """The question so that it stands alone; as it is when it leans on nothing."""
    before = [turn.searched or turn.question for turn in history]
    if not before or lean(question) == "no":
        return question
    if complete is not None:
        said = first_line(complete(rewrite_prompt(question, history)))
        if _may_stand_for(said, question, before):
            return said
    return stand_alone(question, before)


def rewrite_prompt(question: str, history: Sequence[Turn]) -> list[Message]:
    """What a model is told to make a question stand alone."""
    speaks = language(question)
    turns = "\n".join(
        _TURN[speaks].format(
            question=disarm.tokens(turn.searched or turn.question),
            answer=disarm.tokens(" ".join(turn.answer.split())[:_ANSWER_CHARS]),
        )
        for turn in history[-_TURNS:]
    )
    return [Message("user", _REWRITE[speaks].format(turns=turns, question=disarm.tokens(question)))]


def translate_prompt(question: str, into: Language) -> list[Message]:
    """What a model is told to translate a question."""
    return [Message("user", _TRANSLATE[into].format(question=disarm.tokens(question)))]


def translation(question: str, into: Language, complete: Complete) -> str:
    """The question in the other language; "" when what the model said is none."""
    said = first_line(complete(translate_prompt(question, into)))
    is_one = 1 < len(said) <= _LONGEST and language(said) == into and said != question
    return said if is_one else ""


def first_line(said: str) -> str:
    """What a model wrote, without labels, quotation marks, and whatever it added below."""
    line = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return _LABEL.sub("", line).strip().strip(_QUOTES).strip()


def _may_stand_for(said: str, question: str, before: Sequence[str]) -> bool:
    """Whether it is a question in the same language, keeps what was asked, and adds what was left out."""
    if not 1 < len(said) <= _LONGEST or language(said) != language(question):
        return False
    terms = {token.term for token in content_terms(said)}
    own = {token.term for token in content_terms(own_words(question))}
    earlier = {token.term for one in before for token in content_terms(one)}
    return len(own & terms) >= _KEPT * len(own) and bool(terms & (earlier - own))
