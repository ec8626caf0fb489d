"""The Markdown scanner: what is a heading, a listing, a table, text, and what is none of them."""

from __future__ import annotations

import pytest

from ragkit.readers import markdown
from ragkit.schema import Parsed
from tests.fakes_documents import assert_sound, headings, of_kind, slices


def markdown_of(*lines: str) -> Parsed:
    parsed = markdown.parse("\n".join(lines).encode())
    assert_sound(parsed)
    return parsed


def test_headings_make_a_path_by_their_level() -> None:
    parsed = markdown_of("# A", "## B", "text", "#### D", "Next", "===", "## E ##", "Below", "---")
    assert headings(parsed) == [
        ("A",),
        ("A", "B"),
        ("A", "B", "D"),
        ("Next",),
        ("Next", "E"),
        ("Next", "Below"),
    ]
    assert parsed.blocks[2].heading == ("A", "B")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("# **Bold** and `code` #", "Bold and code"),
        ("# [![badge](https://x/y.svg)](https://x) XTuner 🚀", "XTuner 🚀"),
        ("# [Link](https://x) to snake_case {#anchor}", "Link to snake_case"),
        ("# <a name='x'></a>安装 &amp; 使用", "安装 & 使用"),
        ("# C# and 2 * 3", "C# and 2 * 3"),
        (r"# 1\. \*literal\*", "1. *literal*"),
        ('<h1 align="center">Centred</h1>', "Centred"),
    ],
)
def test_heading_text_is_free_of_markup(line: str, words: str) -> None:
    parsed = markdown_of(line, "", "text")
    assert headings(parsed) == [(words,)]
    assert parsed.title == words


@pytest.mark.parametrize(
    "line", ["#hashtag", "####### seven", "    # indented", "# ![logo](x.png)", "\\# escaped"]
)
def test_what_only_looks_like_a_heading_is_text(line: str) -> None:
    assert headings(markdown_of(line, "", "text")) == []


def test_a_comment_in_a_listing_is_no_heading() -> None:
    parsed = markdown_of(
        "# Install",
        "```bash",
        "# not a heading",
        "~~~",
        "```",
        "- item",
        "  ~~~",
        "  # nor this",
        "  ~~~",
        "## Next",
    )
    assert headings(parsed) == [("Install",), ("Install", "Next")]
    assert of_kind(parsed, "code") == ["```bash\n# not a heading\n~~~\n```", "~~~\n  # nor this\n  ~~~"]


def test_a_listing_without_an_end_runs_to_the_end() -> None:
    assert of_kind(markdown_of("text", "```", "# code", "", "more"), "code") == ["```\n# code\n\nmore"]


def test_pipe_tables_are_tables_and_dashes_below_them_no_headings() -> None:
    parsed = markdown_of("Before", "| a | b |", "|---|:-:|", "| 1 | 2 |", "", "a | b", "- | -", "after")
    assert of_kind(parsed, "table") == ["| a | b |\n|---|:-:|\n| 1 | 2 |", "a | b\n- | -"]
    assert of_kind(parsed, "text") == ["Before", "after"]


def test_rules_and_comments_are_not_text() -> None:
    parsed = markdown_of(
        "one", "", "***", "<!-- # hidden", "", "```", "-->", "two", "", "- - -", "<!-- never closed"
    )
    assert slices(parsed) == ["one", "two", "<!-- never closed"]


def test_dashes_below_a_list_or_a_long_paragraph_are_a_rule() -> None:
    parsed = markdown_of("- item", "---", "word " * 60, "---", "end")
    assert headings(parsed) == []


def test_front_matter_gives_the_title_and_no_block() -> None:
    parsed = markdown_of("---", "# made by hand", "title: '指南'", "tags: [a]", "---", "# Heading", "text")
    assert (parsed.title, slices(parsed)) == ("指南", ["# Heading", "text"])


def test_a_rule_at_the_top_is_not_front_matter() -> None:
    assert slices(markdown_of("---", "Just text.", "", "---", "more")) == ["Just text.", "more"]


def test_the_title_is_the_first_top_heading_or_nothing() -> None:
    assert markdown_of("## Two", "# One", "# Other").title == "One"
    assert markdown_of("## Two", "text").title == ""


def test_a_wall_of_hostile_markup_is_read_in_time() -> None:
    for line in ("#" * 9, "# " + "![" * 9999, "---\n" + "#\n" * 9999, "> " * 9999 + "```", "|-" * 9999 + "x"):
        markdown_of(line, "text")
