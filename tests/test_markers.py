from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.markers import MarkerStream, clean


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("支持[1]。", "支持[1]。"),
        ("支持【2】。", "支持[2]。"),
        ("支持［３］〔1〕。", "支持[3][1]。"),
        ("both [1,2] and [1][3]", "both [1][2] and [1][3]"),
        ("[1、3]，[1-3]，[2, 2]", "[1][3]，[1][2][3]，[2]"),
        ("见(来源1)和（资料 2）", "见[1]和[2]"),
        ("as (source 3) says [Source 1, Source 2]", "as [3] says [1][2]"),
        ("年假[来源1]，病假[编号2]，事假资料[3]", "年假[1]，病假[2]，事假资料[3]"),
        ("leave [^1] and ([2]) and （见[3]）", "leave [1] and [2] and [3]"),
        ("十天。[1] 五天 [1] [2]。", "十天。[1] 五天 [1] [2]。"),
    ],
)
def test_every_way_to_write_a_number_is_read(written: str, read: str) -> None:
    assert clean(written, passages=3) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("unknown [9] [0] goes", "unknown goes"),
        ("还有[9]。", "还有。"),
        ("十天（[9]）。", "十天。"),
        ("[9] goes", "goes"),
        ("- [9] item", "- item"),
        ("one [1] [9] [2] two", "one [1] [2] two"),
    ],
)
def test_an_unknown_number_leaves_neither_bracket_nor_space_behind(written: str, read: str) -> None:
    assert clean(written, passages=3) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("so [1", "so [1]"),
        ("so [1, 2", "so [1][2]"),
        ("so （来源2", "so [2]"),
        ("so [来源", "so"),
        ("so 【", "so"),
        ("so [9", "so"),
        ("so (1", "so (1"),
    ],
)
def test_a_marker_that_the_end_cuts_is_read_as_far_as_it_goes(written: str, read: str) -> None:
    assert clean(written, passages=3) == read


@pytest.mark.parametrize(
    "text",
    [
        "[link](http://x) a[i] (2024) 《1》 [2024] [x] [ ]",
        "x[1] = my_list[2] + grid[1][2]".replace("grid", "m"),
        "call `row[1]` and ``a ` [2]``",
        "```python\nrow[1]\n```",
        "~~~\nrow [1]\n[2",
        "1. (1) first\n2. (2) second",
    ],
)
def test_code_indexes_years_links_and_items_stay(text: str) -> None:
    assert clean(text, passages=3) == text


def test_after_code_numbers_are_read_again() -> None:
    assert clean("```\na[1]\n```\n见【1】", 1) == "```\na[1]\n```\n见[1]"
    assert clean("`a` 【1】 `b 【1】", 1) == "`a` [1] `b [1]"


PARTS = [
    *(
        "支持",
        "[1",
        "]",
        "【2】",
        "(来源",
        "1)",
        "[",
        "1,",
        "2]",
        " x ",
        "\n",
        "（",
        "9",
        "([1",
        "])",
        " ",
        "  ",
    ),
    *("`", "``", "```", "~~~", "a", "_b", "-", "[9]", "[^", "sou", "rce 1", "]）", "见", "。", "资料"),
]


@given(st.lists(st.sampled_from(PARTS), max_size=14), st.data())
def test_the_stream_reads_the_same_wherever_it_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stream = MarkerStream(passages=3)
    assert "".join([*map(stream.feed, pieces), stream.finish()]) == clean(text, passages=3)


@given(st.lists(st.sampled_from(PARTS), max_size=14))
def test_the_stream_reads_the_same_character_by_character(parts: list[str]) -> None:
    text = "".join(parts)
    stream = MarkerStream(passages=3)
    assert "".join([*map(stream.feed, text), stream.finish()]) == clean(text, passages=3)


def test_plain_text_is_not_held_back() -> None:
    stream = MarkerStream(passages=1)
    assert stream.feed("没有标记的文字，") == "没有标记的文字，"
    assert stream.feed("see [") == "see"
    assert stream.feed("1]") == ""
    assert stream.feed(".") == " [1]."
