"""Follow-up questions by rule: what leans on the conversation, and how it reads alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.followup import lean, stand_alone, subject

CASES = [
    (["xtuner是什么？"], "那它支持哪些模型？", "xtuner支持哪些模型？"),
    (["年假有几天？"], "那病假呢？", "病假有几天？"),
    (["年假有几天？"], "病假呢", "病假有几天？"),
    (["What is XTuner?"], "Which models does it support?", "Which models does XTuner support?"),
    (["What is XTuner?"], "What about its licence?", "XTuner's licence?"),
    (["What is XTuner?"], "那它支持哪些模型？", "XTuner支持哪些模型？"),
    (["xtuner是什么？", "xtuner支持哪些模型？"], "怎么安装？", "xtuner怎么安装？"),
    (["xtuner是什么？", "xtuner支持哪些模型？"], "支持哪些数据集？", "xtuner支持哪些数据集？"),
    (
        ["How many days of annual leave do I get?"],
        "What about sick leave?",
        "How many days of sick leave do I get?",
    ),
    (["How do I install XTuner?"], "And LlamaIndex?", "How do I install LlamaIndex?"),
    (
        ["What is the hotel limit in tier-1 cities?"],
        "Does it include breakfast?",
        "Does the hotel limit in tier-1 cities include breakfast?",
    ),
    (["海豚计划的负责人是谁？"], "他的电话是多少？", "海豚计划的负责人的电话是多少？"),
    (["xtuner是什么？"], "还有呢？", "xtuner是什么？"),
    (["What is XTuner?"], "Tell me more", "What is XTuner?"),
    (["年假有几天？"], "为什么？", "年假为什么？"),
    (["InternLM2 有哪几种参数规模？"], "那 XTuner 呢？", "XTuner 有哪几种参数规模？"),
    (["报销单多久内提交？"], "这个规定的例外有哪些？", "报销单的例外有哪些？"),
    (["XTuner 和 LlamaIndex 有什么区别？"], "后者怎么安装？", "LlamaIndex怎么安装？"),
    (["XTuner 和 LlamaIndex 有什么区别？"], "前者支持哪些模型？", "XTuner支持哪些模型？"),
    (["年假和病假的区别是什么？"], "后者有几天？", "病假有几天？"),
    (
        ["How do XTuner and LlamaIndex differ?"],
        "Which models does the latter support?",
        "Which models does LlamaIndex support?",
    ),
    (["年假有几天？"], "那试用期呢？", "试用期年假有几天？"),
    (["年假有几天？"], "第二年呢？", "第二年年假有几天？"),
    (["What is the hotel limit?"], "And in Germany?", "What is the hotel limit in Germany?"),
    (
        ["If a laptop is lost, must I report it?"],
        "What about a phone?",
        "If a phone is lost, must I report it?",
    ),
    (["How soon must I report a lost laptop?"], "What about a phone?", "How soon must I report a phone?"),
    (["病假有几天？"], "其中需要证明吗？", "病假需要证明吗？"),
    (["xtuner支持哪些模型？"], "其中哪个最小？", "xtuner支持模型中哪个最小？"),
    (["What is XTuner?"], "Does this apply to V1?", "Does XTuner apply to V1?"),
    (["What is XTuner?"], "What is the price of it?", "What is the price of XTuner?"),
    (["年假有几天？"], "那个怎么申请？", "年假怎么申请？"),
]


@pytest.mark.parametrize(("before", "question", "alone"), CASES)
def test_a_question_that_leans_on_the_last_ones_is_made_to_stand_alone(
    before: list[str], question: str, alone: str
) -> None:
    assert stand_alone(question, before) == alone


@pytest.mark.parametrize(
    "question",
    [
        "食堂几点开门？",
        "怎么请病假？",
        "食堂什么时候开门？",
        "XTuner 是什么，它支持哪些模型？",
        "What is LlamaIndex?",
        "How many days of sick leave do I get?",
        "XTuner 怎么安装？",
        "Can I fly business class?",
        "出差结束后多少天内要提交报销单？",
        "If a laptop is lost, must I report it?",
        "Is it possible to take unpaid leave?",
        "How long does it take to get a refund?",
        "May employees keep their laptops?",
        "Does the laptop keep its warranty abroad?",
        "这个月的报销什么时候截止？",
        "那里的食堂几点开门？",
        "今天的天气怎么样？",
    ],
)
def test_a_new_topic_takes_nothing_along(question: str) -> None:
    assert lean(question) == "no"
    assert stand_alone(question, ["xtuner是什么？"]) == question


def test_the_first_question_has_nothing_to_lean_on() -> None:
    assert stand_alone("那它呢？", []) == "那它呢？"
    assert stand_alone("那它呢？", ["？"]) == "那它呢？"


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("xtuner是什么？", "xtuner"),
        ("年假有几天？", "年假"),
        ("请问病假需要什么证明？", "病假"),
        ("What is the hotel limit?", "the hotel limit"),
        ("Which methods does XTuner support?", "XTuner"),
        ("？", ""),
    ],
)
def test_the_subject_of_a_question(question: str, topic: str) -> None:
    assert subject(question) == topic


ANY = st.text(alphabet="它那年假病有几天什么呢？xX TunerWhatisit?和 的", max_size=20)


@given(ANY, st.lists(ANY, max_size=3))
def test_any_conversation_can_be_read(question: str, before: list[str]) -> None:
    alone = stand_alone(question, before)
    assert alone == question or before
    assert len(alone) <= len(question) + sum(map(len, before)) + 3


@pytest.mark.parametrize(
    ("question", "certainty"),
    [
        ("那它呢？", "yes"),
        ("支持哪些模型？", "yes"),
        ("Which models does it support?", "yes"),
        ("怎么安装？", "maybe"),
        ("最早什么时候发布的？", "maybe"),
        ("那最多能结转几天？", "yes"),
        ("Where is the canteen?", "maybe"),
        ("Who decides when it is foggy?", "maybe"),
        ("And who has to agree?", "maybe"),
    ],
)
def test_what_only_may_lean_is_told_apart(question: str, certainty: str) -> None:
    assert lean(question) == certainty
