from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.text import analyse, index_terms, language, mask, sentences

MIXED = st.text(
    alphabet=st.sampled_from(
        '年假多少天，。！XTunerAbC 3.14_①Ａ㎏漢é\u0301한국かなß\n -*|`#[]()https://+“”"'
    ),
    max_size=60,
)


def terms(text: str, *, query: bool = False) -> list[str]:
    return [token.term for token in analyse(text, query=query)]


def test_chinese_is_indexed_by_characters_and_bigrams_and_asked_by_bigrams() -> None:
    assert terms("年假天") == ["年", "年假", "假", "假天", "天"]
    assert terms("年假天", query=True) == ["年假", "假天"]
    assert terms("假 x", query=True) == ["假", "x"]


def test_english_is_stemmed_and_stop_words_are_left_out() -> None:
    assert terms("The policies of running") == ["polici", "run"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("HybridRetriever", ["hybridretriev", "hybrid", "retriev"]),
        ("load_in_4bit", ["loadin4bit", "load", "4bit"]),
        ("gpt-4o", ["gpt4o", "gpt", "4o"]),
        ("GPT4o", ["gpt4o"]),
        ("v0.1.23", ["v0p1p23", "v0", "1", "23"]),
        ("AutoModelForCausalLM", ["automodelforcausallm", "auto", "model", "causal", "lm"]),
        ("XTuner iPhone", ["xtuner", "iphon"]),
        ("C++, C# and a #tag", ["cplusplus", "csharp", "tag"]),
        ("internlm2-chat-1_8b", ["internlm2chat1p8b", "internlm2", "chat", "1", "8b"]),
        ("end.Next", ["endnext", "end", "next"]),
    ],
)
def test_identifiers_are_found_whole_and_by_their_parts(text: str, wanted: list[str]) -> None:
    assert terms(text) == wanted
    assert terms(text, query=True) == wanted


def test_a_part_of_an_identifier_knows_its_place() -> None:
    text = "用 HybridRetriever.py"
    assert [(t.term, text[t.start : t.end]) for t in analyse(text)][1:] == [
        ("hybridretrieverpy", "HybridRetriever.py"),
        ("hybridretriev", "HybridRetriever"),
        ("hybrid", "Hybrid"),
        ("retriev", "Retriever"),
        ("py", "py"),
    ]


def test_a_department_in_capitals_is_no_stop_word() -> None:
    assert terms("IT helps it") == ["it", "help"]


def test_a_possessive_belongs_to_its_word() -> None:
    assert terms("XTuner's licence") == ["xtuner", "licenc"]


def test_traditional_simplified_and_full_width_meet() -> None:
    assert terms("漢語　ＡＢＣ") == terms("汉语 abc")


def test_words_that_only_ask_are_left_out_while_something_remains() -> None:
    assert terms("xtuner是什么？", query=True) == ["xtuner"]
    assert terms("什么？", query=True) == ["什么"]


def test_a_token_knows_its_place_where_normalisation_changes_lengths() -> None:
    text = "5㎏ 的ﬁle"
    assert [(t.term, text[t.start : t.end]) for t in analyse(text)] == [
        ("5kg", "5㎏"),
        ("的", "的"),
        ("file", "ﬁle"),
    ]


@given(MIXED)
def test_every_token_lies_inside_the_text_and_in_order(text: str) -> None:
    spans = [(t.start, t.end) for t in analyse(text)]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)


@given(MIXED | st.sampled_from(["IT and it, ＩＴ", "㏌", "the ㎏", "e\u0301a", "の"]))
def test_what_is_stored_are_the_terms_of_the_analysis(text: str) -> None:
    assert index_terms(text) == terms(text)


@given(MIXED)
def test_a_mask_keeps_the_length_and_the_line_breaks(text: str) -> None:
    masked = mask(text)
    assert len(masked) == len(text)
    assert [i for i, c in enumerate(masked) if c == "\n"] == [i for i, c in enumerate(text) if c == "\n"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("见 https://a.b/c?x=1，好", "见 ，好"),
        ("[![star](https://i.io/x)](https://h.io) 正文", "正文"),
        ("![图](x.png) and [label](http://x.y)", "and label"),
        ("## 标题 **粗** `code`", "标题 粗 code"),
        ("<div align=center>好</div> <!-- no -->", "好"),
        ("| a | b |\n|---|:-:|\n", "a b"),
        ("snake_case stays, _emphasis_ goes", "snake_case stays, emphasis goes"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
    ],
)
def test_markup_is_hidden_and_language_stays(text: str, left: str) -> None:
    assert re.sub(r"\s+", " ", mask(text)).strip() == left


@pytest.mark.parametrize(
    "text",
    ["-" * 5000 + "x", "|" * 5000, "[" * 5000, "<" * 5000, "*_`" * 2000, "![](" * 2000, "| -" * 3000 + "x"],
    ids=lambda text: text[:4],
)
def test_hostile_markup_is_masked_in_linear_time(text: str) -> None:
    """A row of dashes once took exponential time; here it would never end."""
    assert len(mask(text)) == len(text)
    sentences(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("他说：“你好。”然后走了！真的？是。", ["他说：“你好。”", "然后走了！", "真的？", "是。"]),
        ("Use v3.14.2. See https://a.b/c?x=1. Done!", ["Use v3.14.2.", "See https://a.b/c?x=1.", "Done!"]),
        ("Dr. Who asks, e.g. this. Yes", ["Dr. Who asks, e.g. this.", "Yes"]),
        ("1. First item.\n2. Second", ["1. First item.", "2. Second"]),
        ("标题\n正文一。正文二。", ["标题", "正文一。", "正文二。"]),
        ("one\n\ntwo", ["one", "two"]),
        ("他说：“今天下雨。明天晴。”之后走了。好。", ["他说：“今天下雨。明天晴。”", "之后走了。", "好。"]),
        ("这（见第一章。第二节）很重要。对。", ["这（见第一章。第二节）很重要。", "对。"]),
        ('He said "Go. Now." and left. Yes.', ['He said "Go. Now." and left.', "Yes."]),
        ("圆周率是3.14，约1,000.5米。对。", ["圆周率是3.14，约1,000.5米。", "对。"]),
        (
            "见 https://a.b/c.html?x=1。然后 a.b.py 和 x@y.com。",
            ["见 https://a.b/c.html?x=1。", "然后 a.b.py 和 x@y.com。"],
        ),
        ("The U.S. has it. J. R. Smith agrees.", ["The U.S. has it.", "J. R. Smith agrees."]),
        ("真的吗？！是……的。", ["真的吗？！", "是……的。"]),
        ("“没有结束的引号。第二句。", ["“没有结束的引号。", "第二句。"]),
        ("", []),
    ],
)
def test_sentences_are_whole(text: str, parts: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == parts


def test_a_wrapped_line_goes_on() -> None:
    text = "A long line of a paragraph that an editor has wrapped\nright here. Next."
    assert [text[a:b] for a, b in sentences(text)] == [text[:65], "Next."]


@given(MIXED)
def test_sentences_lose_nothing_but_white_space(text: str) -> None:
    spans = sentences(text)
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    assert all(spans[i][1] <= spans[i + 1][0] for i in range(len(spans) - 1))


@given(MIXED)
def test_a_sentence_alone_is_one_sentence(text: str) -> None:
    for start, end in sentences(text):
        if "\n" not in text[start:end]:
            assert sentences(text[start:end]) == [(0, end - start)]


@pytest.mark.parametrize("piece", ["“a。", "(.", '"x. ', "https://.", "“”。", "《。"])
def test_hostile_quotations_are_split_in_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    assert sentences(text)


def test_sentences_of_a_part_count_in_the_whole() -> None:
    text = "甲。乙。丙。"
    assert sentences(text, 2, 4) == [(2, 4)]


def test_one_chinese_character_makes_the_question_chinese() -> None:
    assert language("XTuner 是?") == "zh"
    assert language("What is XTuner?") == "en"


def test_a_character_that_only_joins_two_names_is_no_term_of_a_question() -> None:
    """It counted as much as a name does, so that an answer about one of the two was no weak match."""
    terms = [token.term for token in analyse("XTuner 和 InternLM2 是什么关系？", query=True)]
    assert "和" not in terms and {"xtuner", "internlm2", "关系"} <= set(terms)
    assert [token.term for token in analyse("和", query=True)] == ["和"]
    assert "和" in [token.term for token in analyse("XTuner 和 InternLM2")]
