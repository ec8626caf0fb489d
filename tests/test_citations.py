from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.citations import MarkerStream, clean, place
from ragkit.schema import Hit


def hit(text: str, start: int = 0) -> Hit:
    return Hit(1, 7, "docs/a.md", 3, ("H",), start, start + len(text), text, 1.0, 1.0, None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("支持[1]。", "支持[1]。"),
        ("支持【2】。", "支持[2]。"),
        ("支持［3］。", "支持[3]。"),
        ("both [1,2] and [1][3]", "both [1][2] and [1][3]"),
        ("[1、3] [1-3] [2, 2]", "[1][3] [1][2][3] [2]"),
        ("见(来源1)和（资料 2）", "见[1]和[2]"),
        ("as (source 3) says", "as [3] says"),
        ("unknown [9] [0] goes", "unknown   goes"),
        ("[link](http://x) a[i] (2024) 《1》 stay", "[link](http://x) a[i] (2024) 《1》 stay"),
        ("year [2024] stays", "year [2024] stays"),
        ("an open [1", "an open [1"),
    ],
)
def test_every_way_to_write_a_number_is_read(written: str, read: str) -> None:
    assert clean(written, passages=3) == read


@given(
    st.lists(
        st.sampled_from(["支持", "[1", "]", "【2】", "(来源", "1)", "[", "1,", "2]", " x ", "\n", "（", "9"])
    ),
    st.data(),
)
def test_the_stream_reads_the_same_wherever_it_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stream = MarkerStream(passages=3)
    assert "".join([*map(stream.feed, pieces), stream.finish()]) == clean(text, passages=3)


def test_plain_text_is_not_held_back() -> None:
    stream = MarkerStream(passages=1)
    assert stream.feed("没有标记的文字，") == "没有标记的文字，"
    assert stream.feed("see [") == "see "
    assert stream.feed("1]") == "[1]"


def test_a_number_points_at_the_sentence_it_rests_on() -> None:
    passage = hit("病假须有证明。满十年的员工有十天年假。其他事项另行通知。", start=100)
    (citation,) = place("员工满十年后年假为十天[1]。", [passage])
    assert citation.quote == "满十年的员工有十天年假。"
    assert (citation.start, citation.end) == (107, 119)
    assert (citation.number, citation.source, citation.page, citation.heading) == (1, "docs/a.md", 3, ("H",))


def test_a_passage_may_be_cited_for_several_sentences() -> None:
    passage = hit("Cats sleep all day. Dogs bark at night.")
    cited = place("Dogs bark [1]. Cats sleep [1]. Dogs do bark [1].", [passage])
    assert [c.quote for c in cited] == ["Dogs bark at night.", "Cats sleep all day."]


def test_a_sentence_without_a_number_is_cited_only_where_it_is_nearly_a_copy() -> None:
    passages = [hit("Dogs bark at night."), hit("Cats sleep all day long.")]
    (citation,) = place("Cats sleep all day. Nobody knows why dogs like water.", passages)
    assert (citation.number, citation.quote) == (2, "Cats sleep all day long.")


def test_a_number_without_a_passage_is_no_citation() -> None:
    assert place("so it is [4].", [hit("x.")]) == []
