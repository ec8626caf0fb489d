"""Source code in blocks that begin at definitions; reStructuredText, LaTeX and Org under their headings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.chunking import chunk
from ragkit.errors import EmptyFile
from ragkit.readers import code
from ragkit.schema import Parsed
from tests.fakes_documents import assert_sound, headings, read_bytes, slices

# ── Source code ─────────────────────────────────────────────────────────────────────────────────────

LONG = "\n\n".join(f"        step_{n} = self.prepare({n})\n        self.check(step_{n})" for n in range(30))
PYTHON = f'''"""A module."""

import sys


# Adds.
@cached
def add(a, b):
    """Sum.

    With a blank line in it.
    """
    return a + b


class Runner:
    """Runs."""

    def short(self):
        return 1

    async def run(
        self,
    ) -> None:
{LONG}

    def last(self):
        pass


def after():
    return 2
'''


def paths(parsed: Parsed) -> dict[str, tuple[str, ...]]:
    """The heading of each block by its first line."""
    return {
        text.split("\n")[0].strip(): block.heading
        for block, text in zip(parsed.blocks, slices(parsed), strict=True)
    }


def test_code_is_kept_as_it_is_in_blocks_that_begin_at_definitions(tmp_path: Path) -> None:
    parsed = read_bytes(tmp_path, "a.py", PYTHON.encode())
    assert parsed.text == PYTHON
    assert {block.kind for block in parsed.blocks} == {"code"}
    add = next(text for text in slices(parsed) if "def add" in text)
    assert add.startswith("# Adds.\n@cached\ndef add") and add.endswith("return a + b")


def test_the_parts_of_a_long_definition_are_headed_by_what_they_lie_in(tmp_path: Path) -> None:
    found = paths(read_bytes(tmp_path, "a.py", PYTHON.encode()))
    assert found["# Adds."] == ()
    assert found["class Runner:"] == ("Runner",)
    assert found["def short(self):"] == ("Runner",)
    assert found["async def run("] == ("Runner", "run")
    assert found["step_17 = self.prepare(17)"] == ("Runner", "run")
    assert found["def last(self):"] == ("Runner",)
    assert found["def after():"] == ()


def test_no_chunk_cuts_a_function_that_fits_into_one(tmp_path: Path) -> None:
    functions = [
        f"def function_{n}(value):\n    first = value + {n}\n\n    second = first * {n}\n    return second"
        for n in range(60)
    ]
    parsed = read_bytes(tmp_path, "a.py", "\n\n\n".join(functions).encode())
    chunks = [parsed.text[piece.start : piece.end] for piece in chunk(parsed)]
    assert 5 < len(chunks) < 30
    assert all(piece.startswith("def function_") and piece.endswith("return second") for piece in chunks)


@pytest.mark.parametrize(
    ("name", "source", "starts"),
    [
        (
            "a.java",
            "package x;\n\n/** Doc. */\n@Service\npublic class Shop implements A<B> {\n    private int n;\n\n"
            "    @Override\n    public List<Order> find(long id) throws IOException {\n"
            "        if (id < 0) {\n            return null;\n        }\n        return repo.find(id);\n    }\n}\n",
            ["package x;", "/** Doc. */"],
        ),
        ("a.go", "package main\n\n// Push.\nfunc (s *Stack) Push(x int) {\n\ts.n++\n}\nfunc main() {\n\tgo f()\n}\n",
         ["package main", "// Push.", "func main() {"]),
        ("a.c", '#include <stdio.h>\n\nint\nmain(void)\n{\n\tputs("x");\n\n\treturn 0;\n}\n',
         ["#include <stdio.h>", "int", "main(void)"]),
        ("a.js", "import x from 'y';\nexport const f = async (a) => {\n  b();\n\n  c();\n};\nfunction g() {\n  h();\n}\n",
         ["import x from 'y';", "export const f = async (a) => {", "function g() {"]),
        ("a.rs", "use a;\n#[test]\npub(crate) fn run<T>(x: T) -> u8 {\n    1\n\n}\nimpl Foo for Bar {\n    fn a() {}\n}\n",
         ["use a;", "#[test]", "impl Foo for Bar {"]),
        ("a.sql", "-- 用户表\nCREATE TABLE IF NOT EXISTS users (\n  id INT,\n\n  name TEXT\n);\nCREATE VIEW v AS\n  SELECT 1;\n",
         ["-- 用户表", "CREATE VIEW v AS"]),
        ("a.rb", "module A\n  def b\n    1\n  end\n\n  def c\n    2\n  end\nend\n", ["module A"]),
        ("a.toml", "x = 1\n[tool.ruff]\na = 1\n\n[[item]]\nb = 2\n", ["x = 1", "[tool.ruff]", "[[item]]"]),
        ("a.yaml", "a:\n  - 1\n\nb:\n  - 2\n", ["a:", "b:"]),
    ],
)  # fmt: skip
def test_definitions_of_many_languages_begin_blocks(
    tmp_path: Path, name: str, source: str, starts: list[str]
) -> None:
    assert list(paths(read_bytes(tmp_path, name, source.encode()))) == starts


@pytest.mark.parametrize(
    "head", ["# -*- coding: gbk -*-\n", '<?xml version="1.0" encoding="GB2312"?>\n', '@charset "gbk";\n']
)
def test_code_says_its_encoding_in_its_first_lines(tmp_path: Path, head: str) -> None:
    parsed = read_bytes(tmp_path, "a.py", (head + "# 朢\n").encode("gbk"))
    assert parsed.encoding == "gb18030" and "朢" in parsed.text


def test_a_minified_file_of_a_megabyte_is_one_block(tmp_path: Path) -> None:
    source = "function a(){" + "var x=1;if(a(b)){c()}" * 50_000 + "}"
    parsed = read_bytes(tmp_path, "a.js", source.encode())
    assert parsed.text == source and len(parsed.blocks) == 1


def test_definitions_nested_a_thousand_deep_are_read(tmp_path: Path) -> None:
    source = "".join(" " * depth + f"def f{depth}():\n" for depth in range(1000)) + " " * 1000 + "pass\n"
    parsed = read_bytes(tmp_path, "a.py", source.encode())
    assert max(len(block.heading) for block in parsed.blocks) <= 20


_CODE = st.lists(
    st.sampled_from(
        ["def a():", "class B {", "}", "  x = 1", "", "    int c(int d) {", "    }", "[s]", "# c", "@d", "end", "\t\t)", "public:",
         "x" * 1200, "func (e *F) G() {", " \u3000", "const f = () =>"]
    ),
    max_size=40,
)  # fmt: skip


@given(_CODE)
def test_no_line_of_code_is_lost(lines: list[str]) -> None:
    content = "\n".join(lines)
    try:
        parsed = code.parse(content.encode())
    except EmptyFile:
        assert not content.strip()
        return
    assert_sound(parsed)
    kept = [line.strip() for text in slices(parsed) for line in text.split("\n") if line.strip()]
    assert kept == [line.strip() for line in lines if line.strip()]


# ── reStructuredText, LaTeX, Org ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.rst", "======\nManual\n======\n\nIntro.\n\n安装\n====\n\nRun it::\n\n    make\n\nMore\n----\n\nEnd.\n\n用法\n====\n\nUse.\n"),
        ("a.tex", "\\documentclass{article}\n\\title{Manual}\n\\section{安装}\\label{s}\n\nRun it.\n\n"
                  "\\subsection*{\\textbf{More}}\nEnd.\n\n\\section[short]{用法}\nUse.\n"),
        ("a.org", "#+TITLE: Manual\n\n* TODO 安装 :tag:\nRun it.\n\n** [#A] More\nEnd.\n\n- * no headline\n\n* 用法\nUse.\n"),
    ],
)  # fmt: skip
def test_headings_of_other_markup_are_found(tmp_path: Path, name: str, text: str) -> None:
    parsed = read_bytes(tmp_path, name, text.encode())
    assert parsed.text == text
    assert parsed.title == "Manual"
    assert headings(parsed) == [
        ("Manual",),
        ("Manual", "安装"),
        ("Manual", "安装", "More"),
        ("Manual", "用法"),
    ]
    assert parsed.blocks[-1].heading == ("Manual", "用法")


@pytest.mark.parametrize(
    "text",
    [
        "a\n--\n",
        "Table\n\n=====  =====\na      b\n=====  =====\n",
        "  quoted\n--------\n",
        "x" * 300 + "\n" + "=" * 300,
    ],
)
def test_what_only_looks_like_a_heading_of_rst_is_text(tmp_path: Path, text: str) -> None:
    assert headings(read_bytes(tmp_path, "a.rst", text.encode())) == []
