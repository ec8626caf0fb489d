from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragkit.quotes import MOST, select, shown
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
        assert "".join(shown(quote.text).split()) == "".join(quote.text.split())


def test_wrapped_lines_are_shown_as_one_and_lists_as_lines() -> None:
    assert shown("一行\n接着一行") == "一行接着一行"
    assert shown("one\ntwo") == "one two"
    assert shown("甲：\n- 乙\n- 丙") == "甲：\n- 乙\n- 丙"
