"""Chunks are exact slices of whole sentences, and an edit changes few of them."""

from __future__ import annotations

import random
import unicodedata
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.chunking import BUDGET, MAX_HEADER, TINY, chunk, index_text
from ragkit.readers import markdown, plain
from ragkit.schema import Block, Chunk, Parsed
from ragkit.text import is_cjk

ZH = "这是一个完整的句子，用来填满一个片段，它说的是第{}件事。"
EN = "This is a whole sentence about thing number {} and it ends here."


def units(text: str) -> float:
    return sum(1.0 if is_cjk(char) else 0.4 for char in text)


def of_markdown(*lines: str) -> tuple[str, list[Chunk]]:
    parsed = markdown.parse("\n".join(lines).encode())
    return parsed.text, checked(parsed)


def checked(parsed: Parsed) -> list[Chunk]:
    """Cut, and hold the result to the rules that hold for every document."""
    chunks = chunk(parsed)
    at = 0
    for one in chunks:
        body = parsed.text[one.start : one.end]
        assert at <= one.start < one.end
        assert body == body.strip()
        assert one.index_text == index_text(parsed.title, one.heading, one.lead + body)
        assert one.hash == blake2b(one.index_text.encode(), digest_size=16).hexdigest()
        assert not one.lead or units(one.lead + body) <= BUDGET + TINY + 1  # the newline between them
        at = one.end
    assert chunks == chunk(parsed)
    return chunks


def texts(text: str, chunks: list[Chunk]) -> list[str]:
    return [text[one.start : one.end] for one in chunks]


# ── Sizes and places of cuts ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sentence", [ZH, EN])
def test_sentences_are_packed_whole_up_to_the_budget(sentence: str) -> None:
    parsed = plain.parse("".join(sentence.format(n) + " " for n in range(100)).encode())
    chunks = checked(parsed)
    for body in texts(parsed.text, chunks):
        assert body.endswith(("。", "."))
        assert units(body) <= BUDGET
    assert all(units(body) > 0.8 * BUDGET for body in texts(parsed.text, chunks)[:-1])


def test_a_full_english_chunk_is_a_thousand_characters() -> None:
    parsed = plain.parse(" ".join(EN.format(n) for n in range(100)).encode())
    assert 900 < len(texts(parsed.text, checked(parsed))[0]) <= 1000


def test_a_heading_stays_with_its_text_and_ends_what_was_before() -> None:
    text, chunks = of_markdown("intro", "# One", "first", "", "second", "## Two", "third")
    assert texts(text, chunks) == ["intro", "# One\nfirst\n\nsecond", "## Two\nthird"]
    assert [one.heading for one in chunks] == [(), ("One",), ("One", "Two")]


def test_headings_without_text_go_with_the_section_below_them_or_stand_alone() -> None:
    text, chunks = of_markdown("# Guide", "## Install", "### Linux", "text", "## Empty", "## Last", "end")
    assert texts(text, chunks) == ["# Guide\n## Install\n### Linux\ntext", "## Empty", "## Last\nend"]
    assert chunks[0].heading == ("Guide", "Install", "Linux")


def test_two_sections_of_the_same_name_are_two_chunks() -> None:
    assert len(of_markdown("## Example", "one", "## Example", "two")[1]) == 2


def test_a_chunk_never_crosses_a_page() -> None:
    text = "Page one ends here\n\nand page two begins."
    parsed = Parsed(text, (Block(0, 18, page=1), Block(20, 40, page=2)), pages=2)
    assert [(one.page, text[one.start : one.end]) for one in checked(parsed)] == [
        (1, "Page one ends here"),
        (2, "and page two begins."),
    ]


def test_a_tiny_rest_joins_its_neighbour() -> None:
    parsed = plain.parse(("字" * 194 + "。" + "字" * 194 + "。\n\n" + "完。").encode())
    assert [len(body) for body in texts(parsed.text, checked(parsed))] == [394]


def test_a_paragraph_that_does_not_fit_starts_a_new_chunk() -> None:
    first, second = "甲" * 249 + "。", "乙" * 99 + "。" + "丙" * 99 + "。"
    parsed = plain.parse(f"{first}\n\n{second}".encode())
    assert texts(parsed.text, checked(parsed)) == [first, second]


@pytest.mark.parametrize(
    ("sentence", "ends"),
    [("长句没有句号，" * 200, "，"), ("a long sentence without an end, " * 100, ","), ("word " * 500, "d")],
)
def test_an_endless_sentence_is_cut_at_a_clause_or_a_space(sentence: str, ends: str) -> None:
    parsed = plain.parse(sentence.encode())
    bodies = texts(parsed.text, checked(parsed))
    assert len(bodies) > 1
    assert all(body.endswith(ends) and units(body) <= BUDGET + TINY for body in bodies)


@pytest.mark.parametrize(
    "cluster", ["👩‍👩‍👧‍👦", "👍🏽", "🇨🇳", "e\u0301\u0323", unicodedata.normalize("NFD", "한")]
)
def test_a_hard_cut_never_tears_what_is_read_as_one_character(cluster: str) -> None:
    parsed = plain.parse((cluster * 700 + "x").encode())
    for body in texts(parsed.text, chunk(parsed)):
        assert body.removesuffix("x").replace(cluster, "") == ""


def test_a_line_of_megabytes_is_cut_in_time() -> None:
    parsed = plain.parse(b"x" * 2_000_000)
    assert sum(one.end - one.start for one in chunk(parsed)) == 2_000_000


# ── Tables and listings ─────────────────────────────────────────────────────────────────────────────


def test_a_long_table_is_cut_at_rows_and_its_header_is_indexed_with_every_part() -> None:
    rows = [f"| 第{n}行 | 一些内容和数字 {n} |" for n in range(60)]
    text, chunks = of_markdown("# 表", "| 名称 | 说明 |", "|---|---|", *rows)
    assert len(chunks) > 1
    for one in chunks[1:]:
        assert text[one.start : one.end].split("\n")[0] in rows
        assert one.lead == "| 名称 | 说明 |\n"
        assert one.index_text.startswith("表\n名称 说明 第")
    assert chunks[0].lead == ""


def table_of(*rows: str) -> Parsed:
    text = "\n".join(rows)
    return Parsed(text, (Block(0, len(text), "table"),))


def test_of_a_wide_header_whole_cells_are_repeated_within_the_budget() -> None:
    """It was dropped when it was long: the later parts of wide tables said numbers of nothing."""
    header = " | ".join(f"Column number {n}" for n in range(40))
    rows = [" | ".join(f"{n}.{m}" for m in range(40)) for n in range(30)]
    chunks = checked(table_of(header, *rows))
    assert len(chunks) > 5
    for one in chunks[1:]:
        assert header.startswith(one.lead.rstrip("\n"))
        assert one.lead.rstrip(" |\n").split(" | ")[-1] in header.split(" | ")
        assert units(one.lead) > MAX_HEADER / 2


def test_a_row_that_is_cut_carries_the_header_cells_above_each_part() -> None:
    header = " | ".join(f"Col{n}" for n in range(200))
    rows = [" | ".join(f"value {m} of {n}" for m in range(200)) for n in range(5)]
    parsed = table_of(header, *rows)
    inside = 0
    for one in checked(parsed):
        first = parsed.text[one.start : one.end].split("\n")[0].split(" | ")[0]
        if one.lead and first.startswith("value"):
            assert one.lead.split(" | ")[0] == f"Col{first.split()[1]}"
            inside += first.split()[1] != "0"
    assert inside > 20


def test_a_table_after_text_keeps_its_header_in_later_parts() -> None:
    rows = [f"| 第{n}行 | 一些内容和数字 {n} |" for n in range(60)]
    text, chunks = of_markdown("字" * 100 + "。", "", "  | 名称 | 说明 |", "|---|---|", *rows)
    assert "| 名称 | 说明 |" in text[chunks[0].start : chunks[0].end]
    assert [one.lead for one in chunks[:3]] == ["", "| 名称 | 说明 |\n", "| 名称 | 说明 |\n"]


def test_a_header_with_an_empty_first_cell_is_not_repeated_within_its_own_chunk() -> None:
    chunks = checked(table_of(" | b", "1 | 2"))
    assert [one.lead for one in chunks] == [""]


@pytest.mark.parametrize(
    "rows", [["x" * 3_000_000, "1 | 2"], ["a | b", "x | " * 700_000], ["|" * 200_000] * 3]
)
def test_a_table_with_a_row_of_megabytes_is_cut_in_time(rows: list[str]) -> None:
    """Weighing the rest of the row at every cut took for ever: here it would not come to an end."""
    assert all(one.end - one.start < 3000 for one in chunk(table_of(*rows)))


def test_a_table_that_fits_is_not_torn() -> None:
    table = ["| a | b |", "|---|---|", *["| 单元格 | 单元格 |"] * 10]
    text, chunks = of_markdown("字" * 300 + "。", "", *table)
    assert texts(text, chunks)[1] == "\n".join(table)


def test_a_listing_is_cut_between_lines() -> None:
    lines = [f"print({n})  # a line of code that says a number" for n in range(60)]
    text, chunks = of_markdown("```python", *lines, "```")
    assert len(chunks) > 1
    assert [line for body in texts(text, chunks) for line in body.split("\n")] == ["```python", *lines, "```"]


# ── What is indexed ─────────────────────────────────────────────────────────────────────────────────


def test_index_text_is_title_heading_path_and_text_without_markup() -> None:
    shown = "See **[the guide](https://x.org/a)**:\n\n- https://x.org `pip install`"
    assert (
        index_text("Manual", ("Setup", "Linux"), shown)
        == "Manual\nSetup > Linux\nSee the guide : pip install"
    )


def test_a_title_that_is_the_top_heading_is_said_once() -> None:
    assert index_text("Manual", ("Manual", "Setup"), "text") == "Manual\nSetup\ntext"
    assert index_text("", (), "text") == "text"


def test_badges_alone_are_no_chunk() -> None:
    assert of_markdown("[![build](https://x/a.svg)](https://x)", "", "---")[1] == []


# ── Edits ───────────────────────────────────────────────────────────────────────────────────────────


def paragraphs(language: str, count: int) -> list[str]:
    """Paragraphs of one to four sentences of uneven length, always the same."""
    rng = random.Random(7)
    words = "模型 数据 训练 检索 片段 文档 答案 问题 向量 索引".split() if language == "zh" else EN.split()
    space, end = ("", "。") if language == "zh" else (" ", ". ")
    return [
        "".join(
            space.join(rng.choices(words, k=rng.randint(8, 40))) + f"{space}{rng.random()}{end}"
            for _ in range(rng.randint(1, 4))
        )
        for _ in range(count)
    ]


def with_headings(parts: list[str]) -> str:
    return "\n\n".join(
        f"## {number // 6}\n\n{part}" if number % 6 == 0 else part for number, part in enumerate(parts)
    )


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("place", [0, 1, 203, 377, 598])
@pytest.mark.parametrize("kind", ["markdown", "plain"])
def test_an_inserted_paragraph_changes_at_most_three_chunks(language: str, place: int, kind: str) -> None:
    parts = paragraphs(language, 600)
    if kind == "markdown":
        parts = with_headings(parts).split("\n\n")
    parse = markdown.parse if kind == "markdown" else plain.parse
    before = chunk(parse("\n\n".join(parts).encode()))
    new = [*parts[:place], "A new paragraph, 新的一段。", *parts[place:]]
    after = chunk(parse("\n\n".join(new).encode()))
    assert len(before) >= 150
    known = {one.hash for one in before}
    assert 1 <= sum(one.hash not in known for one in after) <= 3


def test_equal_text_has_an_equal_hash_wherever_it_stands() -> None:
    _, chunks = of_markdown("# A", "same", "# B", "other", "# A", "same")
    assert chunks[0].hash == chunks[2].hash != chunks[1].hash


# ── Whatever comes in ───────────────────────────────────────────────────────────────────────────────

PIECES = st.sampled_from(
    ["中文句子。", "，", "English words. ", "🎉", "👩‍👩‍👧", "| 列 | " * 60, "\n", "\n\n", "# H\n", "## 二\n", "| a | b |\n|---|---|\n", "```\n",
     "长" * 90, "long " * 60, "e\u0301", " \t", "1.5", "！", "- item\n", "<b>", "https://x.org/y "]
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(PIECES, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)),
        min_size=1,
        max_size=120,
    ).map("".join)
)
def test_every_chunk_slices_back_and_no_word_is_lost(source: str) -> None:
    content = ("字" + source).encode()
    for parse in (markdown.parse, plain.parse):
        parsed = parse(content)
        covered: set[int] = set()
        for one in checked(parsed):
            assert (
                units(parsed.text[one.start : one.end]) <= BUDGET + TINY + 100
            )  # white space between pieces
            covered.update(range(one.start, one.end))
        missing = "".join(
            parsed.text[at]
            for block in parsed.blocks
            for at in range(block.start, block.end)
            if at not in covered
        )
        assert not set(missing) & set("中文句子长二字")
