"""CSV, JSON and notebooks: what is shown, what is told of damage, and what hostile files cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.chunking import chunk
from ragkit.errors import (
    BrokenFile,
    EmptyFile,
    FileTooLarge,
    MislabelledFile,
    NoText,
    ReadError,
    TruncatedFile,
)
from ragkit.readers import base, read
from ragkit.readers.base import clean
from ragkit.readers.tables import table_text
from ragkit.schema import Parsed
from tests.fakes_documents import assert_sound, headings, of_kind, read_bytes, slices, write

# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────────


def csv_of(folder: Path, text: str) -> list[str]:
    parsed = read_bytes(folder, "a.csv", text.encode())
    assert [block.kind for block in parsed.blocks] == ["table"]
    return parsed.text.split("\n")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_the_separator_is_told_from_the_content(tmp_path: Path, separator: str, name: str) -> None:
    rows = [["姓名", "city, state", "a;b"], ["张三", "Austin, TX", "1;2"], ["李四", "x", "3"]]
    text = "\n".join(
        separator.join(f'"{cell}"' if separator in cell else cell for cell in row) for row in rows
    )
    parsed = read_bytes(tmp_path, name, text.encode())
    assert parsed.text == "\n".join(" | ".join(row) for row in rows)


def test_decimal_commas_are_no_separators(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "name;x;y\na;1,5;2,5\nb;3,5;4,5\n")[1] == "a | 1,5 | 2,5"


def test_quotes_newlines_blank_rows_and_empty_columns(tmp_path: Path) -> None:
    text = 'a,,b,c\n"say ""hi""",,"two\nlines, one cell",\n,,,\n\n1,,,\n'
    assert csv_of(tmp_path, text) == ["a | b | c", 'say "hi" | two lines, one cell', "1"]


def test_a_quote_that_never_closes_swallows_nothing(tmp_path: Path) -> None:
    assert csv_of(tmp_path, 'a,b\n"open,2\n3,4\n') == ["a | b", '"open | 2', "3 | 4"]


def test_a_single_column_is_a_table_of_lines(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "名字\n张三\n李四\n") == ["名字", "张三", "李四"]


def test_the_separator_line_of_excel_is_obeyed_and_not_shown(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "sep=;\na,b;c\n1,2;3\n") == ["a,b | c", "1,2 | 3"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_tables_are_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    parsed = read_bytes(tmp_path, "a.csv", "姓名,城市\n张三,北京市朝阳区\n".encode(encoding))
    assert (parsed.text, parsed.encoding) == ("姓名 | 城市\n张三 | 北京市朝阳区", encoding)


def test_a_cell_of_megabytes_is_read_and_cut(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.csv", b"a,b\n1," + b"word " * 400_000)
    assert len(parsed.text) > 1_900_000
    assert all(one.lead in ("", "a | b\n", "b\n") for one in chunk(parsed))


def test_more_cells_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_CHARS", 1000)
    with pytest.raises(FileTooLarge):
        table_text([[""] * 50 + ["x"]] * 30)


@pytest.mark.parametrize(("content", "error"), [(b" \n\t\n", EmptyFile), (b",,,\n,,\n", NoText)])
def test_a_table_without_a_word_says_so(tmp_path: Path, content: bytes, error: type[ReadError]) -> None:
    with pytest.raises(error):
        read(write(tmp_path, "a.csv", content))


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────


def json_of(folder: Path, value: Any, name: str = "a.json") -> Parsed:
    return read_bytes(folder, name, json.dumps(value, ensure_ascii=False).encode())


def test_every_value_stands_behind_the_path_of_its_keys(tmp_path: Path) -> None:
    value = {
        "title": "Config",
        "model": {"名称": "x", "layers": [{"n": 1, "deep": [{"a b": None}]}]},
        "on": True,
    }
    parsed = json_of(tmp_path, value)
    assert slices(parsed) == [
        "title: Config", "model.名称: x", "model.layers[0].n: 1", 'model.layers[0].deep[0]["a b"]: null', "on: true",
    ]  # fmt: skip
    assert parsed.title == "Config"


def test_numbers_repeated_keys_and_their_order_are_kept(tmp_path: Path) -> None:
    content = b'{"z": 1.10, "a": 123456789012345678901234567890, "z": 1e400, "n": NaN, "e": {}, "l": []}'
    parsed = read_bytes(tmp_path, "a.json", content)
    assert parsed.text.split("\n") == [
        "z: 1.10", "a: 123456789012345678901234567890", "z: 1e400", "n: NaN", "e: {}", "l: []",
    ]  # fmt: skip


def test_a_number_of_many_digits_is_read(tmp_path: Path) -> None:
    """Python's own int refuses more than 4,300 digits."""
    assert read_bytes(tmp_path, "a.json", b'{"n": ' + b"7" * 9000 + b"}").text == "n: " + "7" * 9000


def test_a_list_of_flat_objects_is_a_table_under_its_path(tmp_path: Path) -> None:
    parsed = json_of(tmp_path, {"x": {"people": [{"name": "张三", "age": 3}, {"name": "李四", "old": None}]}})
    assert slices(parsed) == ["x.people", "name | age | old\n张三 | 3\n李四 |  | null"]
    assert headings(parsed) == [("x.people",)] == [parsed.blocks[1].heading]


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1}],
        [{"a": 1}, {"a": "long " * 60}],
        [{"a": 1}, {"a": "two\nlines"}],
        [{"a": 1}, {"a": [1]}],
        [{"a": 1}, {"b": 1}, {"c": 1}],
        [{"a": 1}, 2],
    ],
)
def test_other_lists_are_no_tables(tmp_path: Path, rows: list[Any]) -> None:
    parsed = json_of(tmp_path, rows)
    assert not of_kind(parsed, "table")
    assert parsed.text.startswith("[0].a: 1")


def test_short_lists_stand_on_one_line_and_long_texts_keep_their_lines(tmp_path: Path) -> None:
    parsed = json_of(tmp_path, {"tags": ["a", "b", 3], "text": "one\ntwo", "long": ["word " * 30] * 2})
    assert "tags: a, b, 3\ntext: one\ntwo" in parsed.text
    assert "long[1]: word" in parsed.text


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_json_lines_are_one_list(tmp_path: Path, name: str) -> None:
    parsed = read_bytes(tmp_path, name, '{"q": "问", "a": 1}\n\n{"q": "x", "a": 2}\n'.encode())
    assert parsed.text == "q | a\n问 | 1\nx | 2"


def test_records_are_blocks_of_their_own(tmp_path: Path) -> None:
    lines = [{"instruction": f"do {n}", "output": "line\n" * 3} for n in range(3)]
    parsed = read_bytes(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    assert len(parsed.blocks) == 3
    assert slices(parsed)[2].startswith("[2].instruction: do 2\n[2].output: line\nline")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('{"a": 1,\n "b": x}', "line 2, column 7"),
        ('{"a": 1}\n{"b": 2,}\n{"c": 3}', "line 2, column"),
        ("hello", "line 1, column 1"),
        ('{"a" 1}', "line 1, column 6"),
    ],
)
def test_broken_json_names_line_and_column(tmp_path: Path, content: str, place: str) -> None:
    with pytest.raises(BrokenFile, match=place):
        read(write(tmp_path, "a.json", content.encode()))


def test_json_cut_at_any_place_is_truncated(tmp_path: Path) -> None:
    content = '{"文": ["x\\u4e2d\\n", true, null, {"b": -1.5e3}], "c": {}}'
    for end in range(1, len(content)):
        with pytest.raises(TruncatedFile, match="line 1, column"):
            read(write(tmp_path, "a.json", content[:end].encode()))


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
@pytest.mark.parametrize("name", ["a.json", "a.ipynb"])
def test_deep_nesting_is_refused_and_crashes_nothing(tmp_path: Path, opening: str, name: str) -> None:
    with pytest.raises(FileTooLarge, match="nested"):
        read(write(tmp_path, name, opening.encode() * 200_000))


def test_nesting_of_some_hundred_levels_is_read(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, "a.json", b'{"k":' * 300 + b"1" + b"}" * 300).text == "k." * 299 + "k: 1"


def test_paths_that_grow_past_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_CHARS", 10_000)
    key = "k" * 500
    with pytest.raises(FileTooLarge):
        read(write(tmp_path, "a.json", f'{{"{key}": {{"{key}": [{"[2, [3]]," * 90} 1]}}}}'.encode()))


@pytest.mark.parametrize(("content", "error"), [(b" \n", EmptyFile), (b'""', NoText)])
def test_json_without_text_says_so(tmp_path: Path, content: bytes, error: type[ReadError]) -> None:
    with pytest.raises(error):
        read(write(tmp_path, "a.json", content))


def test_what_cannot_be_shown_is_dropped_from_strings(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.json", b'[{"a": "x\\u0000\\ud800y"}, {"a": "\\u2028z", "b\\u0007": 1}]')
    assert "[0].a: xy" in parsed.text


# ── Notebooks ───────────────────────────────────────────────────────────────────────────────────────


def notebook(*cells: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"cells": list(cells), "nbformat": 4, **more}).encode()


def noted(source: str | list[str]) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": source}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def test_notes_head_the_code_and_its_outputs(tmp_path: Path) -> None:
    content = notebook(
        noted(["# 训练\n", "\n", "Some words.\n", "## Data"]),
        code("print(1)", {"output_type": "stream", "text": ["1\n", "2\n"]}),
        noted("# End\n\n| a | b |\n|---|---|\n| 1 | 2 |"),
        {"cell_type": "raw", "source": "raw text"},
    )
    parsed = read_bytes(tmp_path, "a.ipynb", content)
    assert parsed.text.startswith("# 训练\n\nSome words.\n## Data\n\nprint(1)\n\n1\n2\n\n# End")
    assert headings(parsed) == [("训练",), ("训练", "Data"), ("End",)]
    assert of_kind(parsed, "code") == ["print(1)", "1\n2"]
    assert [block.heading for block in parsed.blocks if block.kind == "code"] == [("训练", "Data")] * 2
    assert len(of_kind(parsed, "table")) == 1
    assert (parsed.title, slices(parsed)[-1]) == ("训练", "raw text")


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (
            {"output_type": "execute_result", "data": {"text/plain": "  a\n0 1", "text/html": "<b>"}},
            ["  a\n0 1"],
        ),
        ({"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}}, []),
        ({"output_type": "display_data", "data": {"text/html": "<b>x</b>"}}, []),
        ({"output_type": "display_data", "data": {"text/markdown": "`**md**`", "text/plain": "<M>"}}, []),
        ({"output_type": "stream", "text": "\r 10%|█\r 90%|██\r100%\r\n\x1b[31mred\x1b[0m"}, ["100%\nred"]),
        (
            {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["x"]},
            ["ValueError: bad"],
        ),
    ],
)
def test_of_the_outputs_the_text_is_kept(tmp_path: Path, output: dict[str, Any], shown: list[str]) -> None:
    parsed = read_bytes(tmp_path, "a.ipynb", notebook(code("run()", output)))
    assert of_kind(parsed, "code")[1:] == shown
    assert ("**md**" in parsed.text) == ("text/markdown" in output.get("data", {}))


def test_pictures_in_the_notes_are_dropped(tmp_path: Path) -> None:
    note = f"See ![chart](data:image/png;base64,{'A' * 9000}) and ![b](attachment:b.png)."
    assert read_bytes(tmp_path, "a.ipynb", notebook(noted(note))).text == "See ![chart]() and ![b]()."


def test_notebooks_of_before_version_4_are_read(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Old"]},
        {"cell_type": "code", "input": ["x = 1"], "outputs": [{"output_type": "pyout", "text": ["1"]}]},
    ]
    parsed = read_bytes(tmp_path, "a.ipynb", json.dumps({"worksheets": [{"cells": cells}]}).encode())
    assert (headings(parsed), of_kind(parsed, "code")) == ([("Old",)], ["x = 1", "1"])


def test_the_title_of_the_metadata_comes_first(tmp_path: Path) -> None:
    content = notebook(noted("# Heading"), metadata={"title": "Book"})
    assert read_bytes(tmp_path, "a.ipynb", content).title == "Book"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b'{"a": 1}', MislabelledFile),
        (b"[1]", MislabelledFile),
        (b'{"cells": [', TruncatedFile),
        (b'{"cells": ?', BrokenFile),
        (notebook(), NoText),
        (notebook(code("")), NoText),
        (b'{"cells": {"a": 1}}', NoText),
        (b'{"cells": [1, {"source": 5}, {"outputs": "x"}], "metadata": 7}', NoText),
    ],
)
def test_what_is_no_notebook_says_what_it_is(tmp_path: Path, content: bytes, error: type[ReadError]) -> None:
    with pytest.raises(error):
        read(write(tmp_path, "a.ipynb", content))


# ── Whatever comes in ───────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=40,
)


@settings(deadline=None)
@given(value=JSON, word=st.sampled_from(["needle", "针"]))
def test_every_json_is_sound_and_no_value_is_lost(
    value: Any, word: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = json.dumps({"value": value, "more": [value, {"x": word}, [word + "2"]]}).encode()
    parsed = read_bytes(tmp_path_factory.getbasetemp(), "a.json", content)
    assert f".x: {word}\n" in parsed.text + "\n" and f": {word}2" in parsed.text
    for one in chunk(parsed):
        assert parsed.text[one.start : one.end].strip()


@settings(deadline=None)
@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=";|"), max_size=12),
            max_size=6,
        ),
        max_size=12,
    )
)
def test_every_csv_is_sound_and_no_cell_is_lost(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import csv
    import io

    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows([["first column", "second"], *rows])
    content = file.getvalue().encode("utf-8", "replace")
    parsed = read_bytes(tmp_path_factory.getbasetemp(), "a.csv", content)
    lines = parsed.text.split("\n")
    assert lines[0].startswith("first column | second")
    kept = [clean(" ".join(row)).split() for row in rows]
    assert [line.replace(" | ", " ").split() for line in lines[1:]] == [words for words in kept if words]


ORIGINALS = {
    "a.csv": 'a,b\n"x\n""y",2\n张三,"4"\n'.encode(),
    "a.tsv": b"a\tb\n1\t2\n",
    "a.json": '{"a": [1, {"b": "中\\u4e2d"}], "c": [{"x": 1}, {"x": 2}]}'.encode(),
    "a.jsonl": b'{"a": 1}\n{"a": 2}\n',
    "a.ipynb": notebook(noted("# H\n\ntext"), code("x", {"output_type": "stream", "text": "out"})),
}


@pytest.mark.parametrize("name", ORIGINALS)
@settings(deadline=None)
@given(
    cut=st.one_of(st.none(), st.floats(0, 1)),
    places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=20),
)
def test_damage_gives_text_or_a_read_error(
    name: str,
    cut: float | None,
    places: list[tuple[int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = bytearray(ORIGINALS[name])
    for place, value in places:
        content[place % len(content)] = value
    kept = bytes(content if cut is None else content[: 1 + int(cut * len(content))])
    try:
        parsed = read(write(tmp_path_factory.getbasetemp(), name, kept))
    except ReadError as error:
        assert error.message
    else:
        assert_sound(parsed)
