"""Ranked chunks become passages: exact slices, each thing said once, within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ragkit.passages import Chosen, choose
from ragkit.schema import Hit

TEXT = (
    "The pump has a warranty of two years from the day of delivery.\n\n"
    "Register it within thirty days on the maker's own page.\n\n"
    "Keep the invoice in a safe place until the warranty ends."
)
CUTS = [(0, 62), (64, 119), (121, len(TEXT))]


def hit(
    id: int,
    span: tuple[int, int],
    *,
    doc: int = 1,
    text: str = TEXT,
    page: int | None = None,
    **changes: object,
) -> Hit:
    values = {"heading": (), "score": 1 / id, "lexical": 10 / id} | changes
    return Hit(
        chunk_id=id,
        doc_id=doc,
        source=f"docs/{doc}.md",
        page=page,
        start=span[0],
        end=span[1],
        text=text[slice(*span)],
        dense=None,
        **values,  # type: ignore[arg-type]
    )


def chosen(ranked: Sequence[Hit], *, most: int = 6, characters: int = 3000, text: str = TEXT) -> Chosen:
    return choose(ranked, most=most, characters=characters, between=lambda _, low, high: text[low:high])


def test_neighbours_become_one_passage_with_the_figures_of_the_better_one() -> None:
    found = chosen([hit(1, CUTS[1]), hit(2, CUTS[0])])
    (passage,) = found.passages
    assert passage.text == TEXT[: CUTS[1][1]] == TEXT[passage.start : passage.end]
    assert (passage.chunk_id, passage.score) == (1, 1.0)
    assert found.fates == (("used", 1), ("joined", 1))


def test_a_chunk_that_closes_a_gap_makes_one_passage_of_three() -> None:
    found = chosen([hit(1, CUTS[0]), hit(2, CUTS[2]), hit(3, CUTS[1])])
    assert [passage.text for passage in found.passages] == [TEXT]
    assert found.fates == (("used", 1), ("joined", 1), ("joined", 1))


def test_chunks_with_another_between_them_stay_apart() -> None:
    assert len(chosen([hit(1, CUTS[0]), hit(2, CUTS[2])]).passages) == 2


def test_nothing_is_joined_across_a_heading_a_page_or_a_document() -> None:
    first = hit(1, CUTS[0], page=1)
    for other in (
        hit(2, CUTS[1], page=2),
        hit(2, CUTS[1], page=1, heading=("B",)),
        hit(2, CUTS[1], page=1, doc=2),
    ):
        assert len(chosen([first, other]).passages) == 2


def test_the_same_text_is_shown_once_and_its_other_place_stays_known() -> None:
    found = chosen([hit(1, CUTS[0]), hit(2, CUTS[0], doc=2)])
    (passage,) = found.passages
    assert [(place.source, place.start) for place in passage.also] == [("docs/2.md", 0)]
    assert found.fates[1] == ("folded", 1)


def test_nearly_the_same_text_is_folded() -> None:
    text = (
        "The canteen on the second floor serves lunch from noon to half past one, and coffee all day long. "
        * 4
    )
    other = text + "Welcome!"
    found = chosen([hit(1, (0, len(text)), text=text), hit(2, (0, len(other)), doc=2, text=other)])
    assert len(found.passages) == 1


def test_texts_that_differ_in_a_figure_are_both_shown() -> None:
    for old, new, text in (
        ("10", "12", "Every employee has 10 days of annual leave, to be taken before the end of March. " * 5),
        ("十", "九", "每位员工每年享有带薪年休假十天，须在次年三月底之前休完，逾期作废。" * 5),
    ):
        changed = text.replace(old, new, 1)
        ranked = [hit(1, (0, len(text)), text=text), hit(2, (0, len(changed)), doc=2, text=changed)]
        assert len(chosen(ranked).passages) == 2


def test_the_same_words_under_another_heading_are_about_another_thing() -> None:
    ranked = [hit(1, CUTS[0], heading=("Pump A",)), hit(2, CUTS[0], doc=2, heading=("Pump B",))]
    assert len(chosen(ranked).passages) == 2


def test_what_is_too_long_for_the_rest_of_the_budget_makes_room_for_what_is_not() -> None:
    ranked = [hit(1, CUTS[0]), hit(2, (0, len(TEXT)), doc=2), hit(3, CUTS[2], doc=3)]
    found = chosen(ranked, characters=140)
    assert [passage.doc_id for passage in found.passages] == [1, 3]
    assert found.fates[1] == ("budget", None)


def test_the_first_passage_is_there_whatever_the_budget() -> None:
    assert len(chosen([hit(1, CUTS[0]), hit(2, CUTS[2])], characters=1).passages) == 1


def test_what_comes_after_the_last_passage_is_left_out() -> None:
    ranked = [hit(n, CUTS[0], heading=(str(n),)) for n in (1, 2, 3)]
    assert chosen(ranked, most=2).fates == (("used", 1), ("used", 2), ("number", None))


def test_a_document_that_went_meanwhile_leaves_the_passage_as_it_was() -> None:
    ranked = [hit(1, CUTS[0]), hit(2, CUTS[1])]
    found = choose(ranked, most=6, characters=3000, between=lambda *_: "")
    assert found.passages[0].text == TEXT[slice(*CUTS[0])]


@given(
    st.lists(st.integers(0, 19), unique=True, min_size=1),
    st.integers(1, 6),
    st.integers(1, 400),
)
def test_passages_are_exact_slices_that_never_meet(order: list[int], most: int, characters: int) -> None:
    text = " ".join(f"word{n} of sentence {n * n}." for n in range(20))
    spans, at = [], 0
    for n in range(20):
        end = at + len(f"word{n} of sentence {n * n}.")
        spans.append((at, end))
        at = end + 1
    ranked = [hit(n + 1, spans[n], text=text) for n in order]
    found = chosen(ranked, most=most, characters=characters, text=text)
    assert 1 <= len(found.passages) <= most
    assert all(passage.text == text[passage.start : passage.end] for passage in found.passages)
    places = sorted((passage.start, passage.end) for passage in found.passages)
    assert all(low[1] + 1 < high[0] for low, high in pairwise(places))
    within = sum(len(one.text) for one, (_, number) in zip(ranked, found.fates, strict=True) if number)
    assert within <= max(characters, len(ranked[0].text))
    numbers = {number for fate, number in found.fates if fate == "used"}
    assert numbers == set(range(1, len(found.passages) + 1))
