"""Cards show the words of a Markdown passage, not its signs; nothing that is said is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.schema import Hit
from ragkit.ui.plain import signs
from ragkit.ui.render import Mark, passage


def hit(text: str, source: str = "docs/a.md", heading: tuple[str, ...] = ()) -> Hit:
    return Hit(1, 1, source, None, heading, 0, len(text), text, 0.9, None, None)


def shown(one: Hit) -> str:
    return passage(one.text, [], "term", signs(one))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("## Leave\n\nTen **whole** days.", "Leave\nTen whole days."),
        ("See [the guide](https://x.y/z) first.", "See the guide first."),
        (
            "Run:\n\n```bash\npip install foo  # all of **it**\n```\n\nDone.",
            "Run:\npip install foo  # all of **it**\nDone.",
        ),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"),
        ("2 ** 3 and #1 and a-b --- c", "2 ** 3 and #1 and a-b --- c"),
    ],
)
def test_the_signs_go_and_the_words_stay(text: str, words: str) -> None:
    assert shown(hit(text)) == f'<div class="src-text">{words}</div>'


def test_a_heading_that_the_card_tells_already_is_not_told_again() -> None:
    one = hit("### Sick leave\n\nA note.", heading=("Leave", "Sick leave"))
    assert shown(one) == '<div class="src-text">A note.</div>'


def test_other_kinds_of_file_are_shown_as_they_are() -> None:
    assert "# all **of** it" in shown(hit("# all **of** it", source="a.py"))


def test_a_mark_over_signs_marks_the_words() -> None:
    one = hit("Ten **whole** days.")
    html = passage(one.text, [Mark(4, 13)], "cited", signs(one))
    assert html == '<div class="src-text">Ten <mark class="cited">whole</mark> days.</div>'
    assert "<mark" not in passage("**a**", [Mark(0, 2)], "cited", signs(replace(one, text="**a**")))


@given(st.text(alphabet="Z #*`|-[]()\n~!:", max_size=60))
def test_stretches_are_in_order_apart_and_inside(text: str) -> None:
    found = signs(hit(text))
    edges = [edge for span in found for edge in span]
    assert edges == sorted(edges) and all(0 <= edge <= len(text) for edge in edges)
    hidden = "".join(text[low:high] for low, high in found)
    assert text.count("Z") - shown(hit(text)).count("Z") == hidden.count("Z")
