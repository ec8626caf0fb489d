"""Cards show the words of a Markdown passage, not its signs; nothing that is said is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.schema import Document, Hit
from ragkit.store import StoredChunk
from ragkit.ui import render_viewer
from ragkit.ui.plain import signs, signs_of, within, without
from ragkit.ui.render import Mark, passage
from ragkit.ui.strings import Strings
from ragkit.viewing import View


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
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a · b\n1 · 2"),
        ("|a|`x|y`|\n|-|-|\nnot a row | at all", "a·x|y\nnot a row | at all"),
        (
            "## The `--foo` **option**\n\nSet `**kwargs` in [`a_b_c`](u).",
            "The --foo option\nSet **kwargs in a_b_c.",
        ),
        (
            "An *important* and _odd_ a_b_c, 2 * 3 * 4, __init__, \\*so\\*",
            "An important and odd a_b_c, 2 * 3 * 4, __init__, *so*",
        ),
        ("* one\n* two *a*", "* one\n* two a"),
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
    edges = [edge for one in found for edge in (one.start, one.end)]
    assert edges == sorted(edges) and all(0 <= edge <= len(text) for edge in edges)
    hidden = "".join(text[one.start : one.end] for one in found)
    assert text.count("Z") - shown(hit(text)).count("Z") == hidden.count("Z")


TEXT = "# Head\n\nUse `pip` **now**.\n\n```sh\n# a comment\n\n# another\n```\n\n| a | b |\n|---|---|\n"


@given(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)))
def test_a_stretch_of_a_text_is_shown_as_it_is_in_the_whole(low: int, high: int) -> None:
    low, high = sorted((low, high))
    hidden = signs_of(TEXT, "a.md")
    own = within(hidden, low, high)
    assert without(TEXT[low:high], 0, high - low, own) == without(TEXT, low, high, hidden)


def test_the_viewer_shows_words_and_marks_them_in_the_right_place() -> None:
    """Number signs, backticks and bars stood in the document; and a comment within code is no heading."""
    document = Document(1, "r", "a.md", "docs/a.md", "ready", 1, 1, None, None, "", 0.0, 0.0)
    start, end = TEXT.index("Use"), TEXT.index("now") + 5
    hidden = signs_of(TEXT, document.source)
    shown_from = 2  # a window that begins within a heading
    window = View(document, 1, 1, shown_from, TEXT[shown_from:], ((start - 2, end - 2),))
    html = render_viewer.document("t-1", hit(TEXT), window, Strings("en"), hidden)
    assert (
        '>Head\n\n<mark class="cited">Use pip now</mark>.\n\n# a comment\n\n# another\n\na · b\n</div>'
        in html
    )
    at = TEXT.index("# another")
    chunk = StoredChunk(1, 1, "docs/a.md", "", None, (), at, len(TEXT), TEXT[at:], "", "| c | d |\n")
    html = render_viewer.chunks(document, [chunk], 1, Strings("en"), hidden)
    assert '<div class="chunk-text"># another\n\na · b</div>' in html and ">c · d" in html
