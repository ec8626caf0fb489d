from __future__ import annotations

import pytest

from ragkit.intent import classify


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("你好！", "greeting"),
        ("hi there", "greeting"),
        ("Good morning!", "greeting"),
        ("谢谢你", "thanks"),
        ("OK, thanks a lot!", "thanks"),
        ("再见", "farewell"),
        ("你是谁？", "about"),
        ("What can you do?", "about"),
        ("总结这份文件", "outline"),
        ("知识库里有什么？", "outline"),
        ("我的文档都讲了什么", "outline"),
        ("what is in my documents?", "outline"),
        ("List all files", "outline"),
        ("你好，年假有多少天？", "question"),
        ("文档的编码是什么？", "question"),
        ("What are the files that XTuner needs?", "question"),
        ("谢谢这个词怎么用日语说", "question"),
        ("", "question"),
    ],
)
def test_what_was_said_is_told_apart(text: str, kind: str) -> None:
    assert classify(text).kind == kind


def test_an_outline_may_name_a_document() -> None:
    assert classify("Summarize handbook_zh.docx").target == "handbook_zh.docx"
    assert classify("总结一下员工手册").target == "员工手册"


def test_a_long_text_is_a_question_and_costs_nothing() -> None:
    assert classify("你好" * 20_000).kind == "question"
