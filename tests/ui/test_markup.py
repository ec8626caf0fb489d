"""An answer's text becomes Markdown that can only say what it says."""

from __future__ import annotations

import re

import pytest

from ragkit.schema import Citation
from ragkit.ui.markup import answer_markdown
from ragkit.ui.strings import Strings

EN = Strings("en")


def shown(text: str, sources: int = 3) -> str:
    return answer_markdown(text, "t1", sources, EN)


def test_a_citation_becomes_a_link_to_its_card() -> None:
    assert shown("so [2].") == 'so\N{NO-BREAK SPACE}<a href="#src-t1-2" class="cite" title="Source 2">2</a>.'


def test_a_number_that_begins_a_line_leaves_the_list_a_list() -> None:
    assert shown("- [1]").startswith("- <a href") and shown("| [1] |").startswith("| <a href")


def test_a_citation_leads_to_what_its_own_sentence_rests_on() -> None:
    first, second = (Citation(1, 1, "a.md", None, (), 0, 9, "", at=at) for at in ((0, 8), (9, 15)))
    markdown = answer_markdown("So it[1]. Or[1] not[2].", "t1", 3, EN, citations=(first, second))
    assert re.findall(r'href="([^"]+)"', markdown) == ["#src-t1-1-0", "#src-t1-1-9", "#src-t1-2"]


@pytest.mark.parametrize("text", ["[0]", "[4]", "[1a]", "[ 1]"])
def test_what_is_no_citation_stays_text(text: str) -> None:
    assert shown(text) == "&#91;" + text[1:]


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "![x](http://evil.example/?q=secret)",
        "[click](javascript:alert(1))",
        "[a]: http://evil.example\n\n[a]",
        "<http://evil.example>",
        "\\`<img src=x>\\`",
        "`` ` `` <b>",
        "| `a | <img src=x>` |",
        "\\[x](http://evil.example)",
    ],
)
def test_no_html_image_or_link_of_a_document_survives(text: str) -> None:
    markdown = shown(text)
    assert "<" not in markdown and "[" not in markdown


def test_an_address_stays_text_and_does_not_become_a_link() -> None:
    assert shown("see https://evil.example or www.evil.example or a@evil.example") == (
        "see https&#58;//evil.example or www&#46;evil.example or a&#64;evil.example"
    )


def test_emphasis_lists_and_tables_remain() -> None:
    text = "**bold**\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    assert shown(text) == text


@pytest.mark.parametrize(
    "code", ["```python\nif a < b: x[1] = `y`\n```", "`list[1] < 2`", "```\nunfinished <tag> [1]"]
)
def test_code_is_shown_as_it_stands(code: str) -> None:
    assert shown(f"before\n\n{code}") == f"before\n\n{code}"


def test_a_citation_after_code_still_counts() -> None:
    assert shown("`a[1]` [1]").startswith('`a[1]`\N{NO-BREAK SPACE}<a href="#src-t1-1"')


def doubted(text: str, *spans: tuple[int, int]) -> str:
    return answer_markdown(text, "t1", 3, EN, unsupported=spans)


def test_an_unsupported_sentence_is_underlined_and_says_so_in_words() -> None:
    assert doubted("Yes. So it is.", (5, 14)) == (
        'Yes. <span class="unsupported">So it is.</span> <span class="doubt">not found in the sources</span>'
    )


@pytest.mark.parametrize("text", ["- item", "1. item", "**bold.**", "| a | b |"])
def test_a_mark_leaves_lists_emphasis_and_tables_as_they_are(text: str) -> None:
    shown = doubted(text, (0, len(text)))
    assert shown[: len(text) - len(text.lstrip("-1.*| "))] == text[: len(text) - len(text.lstrip("-1.*| "))]
    assert 'class="doubt"' in shown


def test_unsupported_code_is_not_broken() -> None:
    code = "```sh\nrm x\n```"
    assert doubted(code, (0, len(code))).startswith(code + "\n\n<span")


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "`a` <b>x"])
def test_nothing_of_a_document_survives_in_a_marked_sentence(text: str) -> None:
    inside = doubted(text, (0, len(text)))
    assert inside.count("<") == 4, "our two spans and nothing else"
