"""Prompts as exact strings: a change here changes what every model is told."""

from __future__ import annotations

from ragkit import prompts
from ragkit.schema import Hit, Turn


def hit(text: str, heading: tuple[str, ...] = ()) -> Hit:
    return Hit(1, 1, "docs/手册.md", None, heading, 0, len(text), text, 1.0, None, None)


def test_the_chinese_question_with_its_sources() -> None:
    message = prompts.question_message("年假几天？", [hit("十天。", ("假期", "年假")), hit("另见。")], "zh")
    assert message == (
        "user",
        "资料：\n[1] docs/手册.md > 假期 > 年假\n十天。\n\n[2] docs/手册.md\n另见。\n\n问题：年假几天？",
    )


def test_the_english_question_with_its_sources() -> None:
    message = prompts.question_message("How long?", [hit("Ten days.")], "en")
    assert message.content == "Sources:\n[1] docs/手册.md\nTen days.\n\nQuestion: How long?"


def test_braces_in_documents_are_only_text() -> None:
    assert "{question} {0}" in prompts.question_message("q", [hit("{question} {0}")], "en").content


def test_the_whole_prompt_only_grows() -> None:
    first, second = Turn("甲？", "乙[1]。", (hit("乙。"),)), Turn("丙？", "丁。", (hit("丁。"),))
    one = prompts.with_documents("丙？", second.hits, [first], "zh", 4000)
    two = prompts.with_documents("戊？", [hit("己。")], [first, second], "zh", 4000)
    assert [message.role for message in two] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert two[: len(one)] == one


def test_when_the_window_is_full_the_older_half_goes_at_once() -> None:
    turns = [Turn(f"问题{n}？", "答" * 100, ()) for n in range(8)]
    messages = prompts.with_documents("新？", [], turns, "zh", budget=800)
    asked = [message.content.partition("问题：")[2] for message in messages if message.role == "user"]
    assert asked == ["问题4？", "问题5？", "问题6？", "问题7？", "新？"]


def test_the_system_prompt_speaks_the_language_of_the_question() -> None:
    zh = prompts.with_documents("问", [], [], "zh", 1000)[0].content
    en = prompts.with_documents("q", [], [], "en", 1000)[0].content
    assert zh.startswith("你是文档问答助手。只根据用户给出的编号资料回答")
    assert en.startswith("You answer questions about documents. Use only the numbered sources")


def test_the_smallest_models_get_one_plain_message() -> None:
    (message,) = prompts.simple("How long?", [hit("Ten days."), hit("See there.")])
    assert message == (
        "user",
        "Use the text to answer the question in one sentence.\n\nText:\nTen days.\n\nSee there.\n\nQuestion: How long?",
    )


def test_without_documents_the_model_gets_the_bare_question() -> None:
    messages = prompts.without_documents("xtuner是什么？", [Turn("a", "b")], "zh")
    assert [m.content for m in messages[1:]] == ["a", "b", "xtuner是什么？"]


def test_every_reply_is_there_in_both_languages() -> None:
    for name, both in prompts._REPLIES.items():
        assert prompts.reply(name, "zh") != prompts.reply(name, "en"), name
        assert set(both) == {"zh", "en"}


def test_the_estimate_counts_chinese_characters_one_by_one() -> None:
    assert prompts.estimate("年假") == 2
    assert prompts.estimate("abcdef") == 2
