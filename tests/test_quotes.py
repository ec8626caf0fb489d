from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ragkit.chunking import chunk
from ragkit.quotes import MOST, Quote, select, shown
from ragkit.readers.markdown import parse
from ragkit.schema import Hit
from ragkit.text import analyse


def hit(text: str, start: int = 0, heading: tuple[str, ...] = (), score: float = 1.0) -> Hit:
    return Hit(1, 1, "docs/a.md", None, heading, start, start + len(text), text, score, 1.0, None)


def weights(question: str) -> dict[str, float]:
    return {token.term: 1.0 for token in analyse(question, query=True)}


def quoted(question: str, *hits: Hit) -> list[str]:
    return [quote.text for quote in select(question, hits, weights(question))]


def test_the_sentence_that_tells_most_comes_first() -> None:
    passage = hit("公司成立于上海。年假为十天。病假须有证明。")
    assert quoted("年假有多少天？", passage)[0] == "年假为十天。"


def test_a_definition_wins_over_a_mention() -> None:
    passage = hit("安装 XTuner 之前先升级 pip。XTuner 是一个微调工具库。")
    assert quoted("xtuner是什么？", passage)[0] == "XTuner 是一个微调工具库。"
    assert quoted("What is Foo?", hit("Install Foo first. Foo is a toolkit."))[0] == "Foo is a toolkit."


def test_a_figure_is_preferred_where_one_is_asked_for() -> None:
    passage = hit("年假须提前申请。年假一共 10 天。")
    assert quoted("年假有多少天？", passage)[0] == "年假一共 10 天。"


def test_the_heading_speaks_for_the_sentences_below_it() -> None:
    hits = [hit("由直属主管批准。", heading=("病假",)), hit("提前三天提交。", heading=("年假",))]
    assert quoted("年假", *hits)[0] == "提前三天提交。"


def test_a_heading_within_the_passage_speaks_for_the_sentences_below_it() -> None:
    passage = hit("## 病假\n\n由直属主管批准。\n\n## 年假\n\n提前三天提交。\n")
    assert quoted("年假", passage)[0] == "提前三天提交。"


def test_a_definition_may_have_the_name_in_brackets() -> None:
    passage = hit("RAG 的流程分为三步。检索增强生成（Retrieval-Augmented Generation，简称 RAG）是一种方法。")
    assert quoted("什么是RAG", passage)[0].startswith("检索增强生成")
    passage = hit("RAG has three steps. Retrieval-augmented generation (RAG) is a method.")
    assert quoted("What is RAG?", passage)[0].startswith("Retrieval-augmented")


def test_a_row_with_the_unit_that_was_asked_for_goes_before_a_sentence() -> None:
    passage = hit(
        "年休假的天数由年限决定。\n\n| 年限 | 年休假 |\n|---|---|\n| 满十年 | 10 天 |\n| 满二十年 | 15 天 |\n"
    )
    assert quoted("年休假有几天？", passage)[0].startswith("| 年限 | 年休假 |")


def test_an_announced_list_or_command_is_taken_along() -> None:
    passage = hit("分三步：\n\n- 索引\n- 检索\n- 生成\n\n完毕。")
    assert quoted("分几步？", passage)[0] == "分三步：\n\n- 索引\n- 检索\n- 生成\n"
    passage = hit("To install Foo run:\n\n```bash\npip install foo\n```\n")
    assert "pip install foo" in quoted("How to install Foo?", passage)[0]


def test_headings_and_list_marks_are_not_quoted() -> None:
    passage = hit("## 年假\n\n- 年假为十天。\n", heading=("年假",))
    assert quoted("年假", passage) == ["年假为十天。"]


def test_the_same_words_in_two_documents_count_once() -> None:
    assert quoted("年假", hit("年假为十天。"), hit("年假为十天。")) == ["年假为十天。"]


def test_a_citation_counts_in_the_document() -> None:
    (quote, *_) = select("年假", [hit("病假。年假为十天。", start=50)], {"年假": 1.0})
    assert (quote.citation.start, quote.citation.end, quote.citation.quote) == (53, 59, "年假为十天。")


@given(
    st.text(alphabet="年假天。！\n- |:：#`a b1.", min_size=1, max_size=80),
    st.text(alphabet="年假天ab1", min_size=1, max_size=6),
)
def test_nothing_is_ever_said_that_is_not_in_the_source(text: str, question: str) -> None:
    passage = hit(text, start=9)
    quotes = select(question, [passage], weights(question))
    assert len(quotes) <= MOST
    for quote in quotes:
        assert quote.text == text[quote.start - 9 : quote.end - 9]
        words = re.sub(r"[\s|:-]", "", shown(quote))
        assert words == re.sub(r"[\s|:-]", "", quote.header + quote.text)


def a_quote(text: str, header: str = "") -> Quote:
    return Quote(1, hit(text), 0, len(text), text, header)


def test_wrapped_lines_are_shown_as_one_and_lists_as_lines() -> None:
    assert shown(a_quote("一行\n接着一行")) == "一行接着一行"
    assert shown(a_quote("one\ntwo")) == "one two"
    assert shown(a_quote("甲：\n- 乙\n- 丙")) == "甲：\n- 乙\n- 丙"


TABLE = "| 假别 | 天数 |\n|---|---|\n| 年假 | 10 |\n| 病假 | 30 |\n"


def test_a_short_table_is_quoted_whole() -> None:
    (quote,) = select("病假有几天？", [hit(f"见下表。\n\n{TABLE}\n完。")], weights("病假有几天？"))
    assert quote.text == TABLE.rstrip("\n")
    assert shown(quote) == "| 假别 | 天数 |\n|---|---|\n| 年假 | 10 |\n| 病假 | 30 |"


PEOPLE = "name | age | city\nAlice | 31 | Berlin\nBob | 42 | Paris\nCarla | 27 | Rome"


def test_the_row_that_is_named_is_quoted_without_the_others() -> None:
    """Of a whole spreadsheet the reader had to look for Bob himself."""
    (quote,) = select("How old is Bob?", [hit(PEOPLE)], weights("How old is Bob?"))
    assert (quote.header, quote.text) == ("name | age | city", "Bob | 42 | Paris")
    assert shown(quote) == "| name | age | city |\n|---|---|---|\n| Bob | 42 | Paris |"
    (quote,) = select("Which age and city?", [hit(PEOPLE)], weights("Which age and city?"))
    assert quote.text == PEOPLE


def test_a_heading_on_the_line_is_not_quoted_before_a_sentence_that_begins_with_it() -> None:
    """It read "VectorStoreIndex. VectorStoreIndex computes"."""
    for label in ("**Index.** ", "**Index**: ", "- **`Index`.** ", "Index: "):
        assert quoted("What does Index do?", hit(f"{label}Index stores vectors.")) == [
            "Index stores vectors."
        ]
    kept = "**Index.** Indexes are many."
    assert quoted("What does Index do?", hit(kept)) == [kept]


HOTELS = (
    "3. Hotels\nThe limits below include tax.\nCity Limit per night\nBeijing, Shanghai CNY 600\n"
    "Other cities CNY 400\nAbroad CNY 1,200\nThe hotel limit in Beijing is CNY 600 per night.\n"
)


def test_a_table_without_bars_is_quoted_whole_where_a_figure_is_asked_for() -> None:
    """In a PDF a table is lines of text: the limit for every other city was left out."""
    question = "How much can I spend on a hotel per night?"
    first, *_ = select(question, [hit(HOTELS)], weights(question))
    assert shown(first) == (
        "City Limit per night\nBeijing, Shanghai CNY 600\nOther cities CNY 400\nAbroad CNY 1,200"
    )
    prose = "The town grew fast.\nIt had many people in 1990\nand more in 2000\nand so on."
    assert all("\n" not in one for one in quoted("How many people were in the town?", hit(prose)))


def test_a_number_before_a_line_makes_it_a_title_only_where_it_is_no_item() -> None:
    assert "Hotels" not in quoted("hotels", hit(HOTELS))
    assert quoted("tea", hit("We sell it.\n\n1. Green tea\n2. Coffee\n"))[0] == "Green tea"


def test_a_row_of_a_long_table_comes_with_its_header() -> None:
    long = TABLE + "".join(f"| 第{n}种假 | {n} |\n" for n in range(100))
    (quote, *_) = select("病假有几天？", [hit(long)], weights("病假有几天？"))
    assert (quote.header, quote.text) == ("| 假别 | 天数 |", "| 病假 | 30 |")
    assert shown(quote) == "| 假别 | 天数 |\n|---|---|\n| 病假 | 30 |"


def test_a_row_whose_header_stands_in_an_earlier_passage_has_it_all_the_same() -> None:
    later = replace(hit("丙一 | 研发\n丁一 | 市场"), lead="姓名 | 部门\n")
    (quote, *_) = select("丁一在哪个部门？", [later], weights("丁一在哪个部门？"))
    assert shown(quote).startswith("| 姓名 | 部门 |\n|---|---|\n| 丁一 | 市场 |")


def test_a_list_is_quoted_whole_where_one_is_asked_for() -> None:
    passage = hit("见下文。\n\n- 训练方法 QLoRA\n- 训练方法 LoRA\n\n完。")
    assert quoted("有哪些训练方法？", passage)[0] == "- 训练方法 QLoRA\n- 训练方法 LoRA"
    assert quoted("LoRA 是训练方法吗？", passage)[0] == "训练方法 LoRA"


def test_a_sentence_that_the_passage_cuts_is_quoted_to_its_ends() -> None:
    text = "第一句。公司的年假一共有十天，满十年之后再加五天。后一句。"
    cut = replace(hit(text[8:15]), start=8, end=15)
    found = select("年假", [cut], weights("年假"), lambda one: (text[: one.start], text[one.end :]))
    assert [(q.text, q.start) for q in found] == [("公司的年假一共有十天，满十年之后再加五天。", 4)]


def test_a_sentence_that_adds_nothing_is_left_out() -> None:
    passage = hit("年假为十天。年假须申请。天气很好。")
    assert quoted("年假有几天？", passage) == ["年假为十天。"]


LINE = st.text(alphabet="年假天。！，：|- abc1.", min_size=1, max_size=30)


@given(
    st.lists(LINE | st.sampled_from(["", "# 假", "- 年假", "| 年 | 假 |", "|---|---|", "```"]), max_size=20),
    LINE,
)
def test_every_quote_is_a_slice_of_its_document(lines: list[str], question: str) -> None:
    text = "年。\n" + "\n".join(lines)
    parsed = parse(text.encode())
    hits = [
        Hit(
            n,
            1,
            "a.md",
            None,
            one.heading,
            one.start,
            one.end,
            text[one.start : one.end],
            1.0,
            1.0,
            None,
            lead=one.lead,
        )
        for n, one in enumerate(chunk(parsed))
    ]
    chosen = select(question, hits, weights(question), lambda one: (text[: one.start], text[one.end :]))
    assert len(chosen) <= MOST
    for quote in chosen:
        assert quote.text == text[quote.start : quote.end] and quote.header in text
    spans = sorted((quote.start, quote.end) for quote in chosen)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))


def test_a_section_whose_heading_is_what_was_asked_wins_over_the_same_words_elsewhere() -> None:
    passage = hit(
        "## 训练方法\n\nFoo 支持奖励模型训练。\n\n## 支持的模型\n\n能微调的模型包括 Llama 和 Qwen。\n",
        heading=("Foo",),
    )
    assert quoted("Foo支持哪些模型？", passage)[0] == "能微调的模型包括 Llama 和 Qwen。"
