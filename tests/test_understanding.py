"""What is looked for: follow-ups and questions in the other language, by a model or without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.prompts import Message
from ragkit.schema import Retrieved, Turn
from ragkit.understanding import first_line, rewrite_prompt, rewritten, translate_prompt, translation
from tests.fakes import ScriptedLLM

HISTORY = [Turn("xtuner是什么？", "XTuner 是微调工具。[1]")]


def says(line: str) -> Callable[[Sequence[Message]], str]:
    return lambda _: line


def test_the_prompt_to_rewrite_is_this_in_chinese() -> None:
    (message,) = rewrite_prompt("那它支持哪些模型？", HISTORY)
    assert message == Message(
        "user",
        "下面是一段对话。把最后一个问题改写成单独看也能懂的问题：把“它”“这个”之类的词换成所指的东西，补上省略的部分。"
        "只写出改写后的问题，不要回答。\n\n问：xtuner是什么？\n答：XTuner 是微调工具。[1]\n\n最后一个问题：那它支持哪些模型？\n"
        "改写后的问题：",
    )


def test_the_prompt_to_rewrite_is_this_in_english() -> None:
    (message,) = rewrite_prompt(
        "Does it work?", [Turn("What is Foo?", "A  tool.\nGood.", searched="What is Foo 2?")]
    )
    assert message.content == (
        "Below is a conversation. Rewrite its last question so that it can be understood alone: put what they mean in "
        'place of words like "it" or "this", and add what is left out. Write the rewritten question only, do not answer it.'
        "\n\nQ: What is Foo 2?\nA: A tool. Good.\n\nLast question: Does it work?\nRewritten question:"
    )


def test_the_prompt_to_translate_is_in_the_language_of_the_question() -> None:
    assert (
        translate_prompt("年假有几天？", "en")[0].content
        == "把下面的问题翻译成英文，名称保持原样。只写出译文。\n\n年假有几天？"
    )
    assert translate_prompt("How?", "zh")[0].content.startswith("Translate this question into Chinese.")


@pytest.mark.parametrize(
    "said",
    [
        "XTuner 支持哪些模型？",
        "改写后的问题：“XTuner 支持哪些模型？”\n解释：……",
        "\n  问题: XTuner 支持哪些模型？",
    ],
)
def test_the_model_rewrites_a_follow_up(said: str) -> None:
    assert rewritten("那它支持哪些模型？", HISTORY, says(said)) == "XTuner 支持哪些模型？"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "XTuner 是一个微调工具。",
        "支持哪些模型？",
        "Which models does XTuner support?",
        "x" * 999,
        "今天天气如何？",
    ],
)
def test_what_is_no_rewritten_question_gives_way_to_the_rule(said: str) -> None:
    assert rewritten("那它支持哪些模型？", HISTORY, says(said)) == "xtuner支持哪些模型？"


def test_a_question_that_stands_alone_asks_no_model() -> None:
    def never(_: Sequence[Message]) -> str:
        raise AssertionError

    assert rewritten("食堂几点开门？", HISTORY, never) == "食堂几点开门？"
    assert rewritten("那它呢？", [], never) == "那它呢？"


def test_a_translation_is_in_the_other_language_or_none() -> None:
    assert (
        translation("年假有几天？", "en", says("How many days of annual leave?"))
        == "How many days of annual leave?"
    )
    assert translation("年假有几天？", "en", says("年假有几天？")) == ""
    assert translation("How?", "zh", says("")) == ""


def test_labels_and_quotation_marks_are_no_part_of_a_question() -> None:
    assert first_line('Rewritten question: "What is it?"\nmore') == "What is it?"


# ── In the engine ──

ENGLISH = {"leave.md": "# Leave\n\nEmployees get ten days of annual leave a year.\n"}
CHINESE = {
    "xtuner.md": "# XTuner\n\nXTuner 是微调工具。\n\n## 模型\n\nXTuner 支持 InternLM 和 Qwen 两种模型。\n",
    "b.md": "# 食堂\n\n食堂在二楼，十一点开门。\n",
}


def test_a_conversation_knows_its_subject_for_three_turns(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    engine.sync(folder(**CHINESE))
    history: list[Turn] = []
    searched = []
    for question in ("xtuner是什么？", "那它支持哪些模型？", "它们有几种？", "食堂几点开门？"):
        answer = engine.ask(question, history=history)
        history.append(Turn(question, answer.text, answer.hits, answer.searched))
        searched.append(answer.searched)
    assert searched == ["", "xtuner支持哪些模型？", "xtuner有几种？", ""]
    assert "InternLM 和 Qwen" in history[1].answer and "十一点" in history[3].answer


def test_what_is_searched_for_is_told_before_the_answer(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**CHINESE))
    first = next(iter(engine.stream("它支持哪些模型？", history=HISTORY)))
    assert isinstance(first, Retrieved) and first.searched == "xtuner支持哪些模型？"


def test_without_a_model_a_question_in_another_language_is_told_so(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    engine.sync(folder(**ENGLISH))
    answer = engine.ask("年假有几天？")
    assert answer.refused and answer.other_language and "英文" in answer.text
    other = engine.ask("Who is the president?")
    assert other.refused and not other.other_language


def test_what_documents_of_both_languages_do_not_say_is_not_put_down_to_the_language(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    """How many people live on the moon was to be asked in English, where the documents were mostly English."""
    english = {name: f"{text} " + "The office opens at nine. " * 40 for name, text in ENGLISH.items()}
    engine.sync(folder(**english, **CHINESE))
    assert 0.6 <= engine.spoken()["en"] < 0.95
    answer = engine.ask("月球上有多少人？")
    assert answer.refused and not answer.other_language


def test_a_model_translates_the_question_and_answers_in_its_language(
    settings: Settings, folder: Callable[..., Path]
) -> None:
    llm = ScriptedLLM().enqueue("How many days of annual leave?").enqueue("年假有 ten days [1]。")
    with Engine.open(settings, llm=llm) as engine:
        engine.sync(folder(**ENGLISH))
        answer = engine.ask("年假有几天？")
    assert answer.searched == "How many days of annual leave?" and not answer.refused
    assert [hit.source for hit in answer.hits] == ["docs/leave.md"]
    assert "年假有几天？" in str(llm.asked[1][-1].content)


def test_a_model_that_fails_to_rewrite_leaves_it_to_the_rule(
    settings: Settings, folder: Callable[..., Path]
) -> None:
    llm = ScriptedLLM().enqueue(RuntimeError("busy")).enqueue("XTuner 支持 InternLM 和 Qwen [1]。")
    with Engine.open(settings, llm=llm) as engine:
        engine.sync(folder(**CHINESE))
        answer = engine.ask("那它支持哪些模型？", history=HISTORY)
    assert answer.searched == "xtuner支持哪些模型？" and answer.citations


def test_a_short_question_about_something_else_takes_nothing_along(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    english = {"x.md": "# XTuner\n\nXTuner is a tool. To install XTuner, use pip.\n", "y.md": CANTEEN}
    engine.sync(folder(**english))
    history = [Turn("What is XTuner?", "XTuner is a tool. [1]")]
    assert engine.ask("How to install?", history=history).searched == "How to install XTuner?"
    known = engine.ask("Where is the canteen?", history=history)
    assert not known.searched and "second floor" in known.text
    assert engine.ask("Where is the gym?", history=history).refused


CANTEEN = "# Building\n\nThe canteen is on the second floor.\n"


def test_a_short_word_is_found_as_the_documents_spell_it_out(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    engine.sync(
        folder(
            **{
                "a.md": "# 休假\n\n员工每年有五天年休假。年休假须提前申请。\n",
                "b.md": "# 食堂\n\n食堂在二楼。\n",
            }
        )
    )
    answer = engine.ask("年假有几天？")
    assert answer.searched == "年休假有几天？" and answer.weak and "五天年休假" in answer.text
    assert engine.ask("狗粮有几种？").refused
