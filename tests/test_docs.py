"""The READMEs say what is true: same commands in both languages, files that exist, flags that are there."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ragkit.__main__ import _parser
from ragkit.config import REPOSITORY
from ragkit.load_plan import CONTEXT, INTERNLM2_1_8B, DeviceFacts, plan_load
from ragkit.sizes import gigabytes
from ragkit.ui.strings import TABLES

READMES = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "README_zh-CN.md")}
SETUP = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python demo.py"
TEST = ".venv/bin/pip install -r tests/requirements.txt && .venv/bin/python -m pytest"


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    return [body for name, body in found if name == language]


@pytest.mark.parametrize("name", READMES)
def test_the_two_commands_stand_on_lines_of_their_own(name: str) -> None:
    assert [line for line in READMES[name].splitlines() if line in (SETUP, TEST)] == [SETUP, TEST]


def test_both_languages_show_the_same_commands_and_code() -> None:
    english, chinese = READMES.values()
    for language in ("bat", "python"):
        assert blocks(english, language) == blocks(chinese, language)
    strip = [re.sub(r"\s+#.*", "", block) for text in READMES.values() for block in blocks(text, "bash")]
    assert strip[: len(strip) // 2] == strip[len(strip) // 2 :]
    assert english.count("\n## ") == chinese.count("\n## ")


@pytest.mark.parametrize("name", READMES)
def test_every_file_that_is_named_exists(name: str) -> None:
    (tree,) = blocks(READMES[name], "")
    for line in tree.splitlines():
        indent, path = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        assert (REPOSITORY / ("ragkit" if indent else "") / path).exists(), path
    for target in re.findall(r"\]\((?!http)([^)#]+)\)|(?:src|href)=\"(?!http)([^\"]+)\"", READMES[name]):
        assert (REPOSITORY / (target[0] or target[1])).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_every_command_of_the_command_line_is_there(name: str) -> None:
    table = "\n".join(blocks(READMES[name], "bash"))
    commands = dict(re.findall(r"python -m ragkit (\w+)((?: [A-Z]+)*)", table))
    offered = next(action for action in _parser()._actions if action.dest == "command").choices
    assert offered is not None and commands.keys() == set(offered)
    for command, arguments in commands.items():
        names = arguments.split() or ["x"] * (command == "download")
        assert callable(_parser().parse_args([command, *names]).run)


def test_every_flag_of_the_page_is_there() -> None:
    shown = subprocess.run(
        [sys.executable, "demo.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    offered = set(re.findall(r"--[a-z-]+", shown)) - {"--help"}
    for name, text in READMES.items():
        table = text[text.index("| `demo.py` |") :].split("\n\n")[0]
        assert set(re.findall(r"`(--[a-z-]+)", table)) == offered, name


@pytest.mark.parametrize("file", ["requirements.txt", "tests/requirements.txt"])
def test_every_requirement_is_pinned(file: str) -> None:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in wanted)


@pytest.mark.parametrize("name", READMES)
def test_the_memory_that_is_told_is_what_a_plan_counts(name: str) -> None:
    """The README told the weights alone, in another unit for each precision."""
    cpu = DeviceFacts("cpu", "cpu", "", *4 * [64 << 30])
    small, whole = (
        gigabytes(plan_load(INTERNLM2_1_8B, cpu, precision).needed_bytes) for precision in ("4bit", "fp32")
    )
    told = "{} of memory for the 1.8B where fp32 takes {} (weights, {:,} tokens"
    if name == "README_zh-CN.md":
        told = "1.8B 只占 {} 内存，fp32 要 {} GB（含权重、{:,} 个词元"
    assert told.format(small, whole.removesuffix(" GB"), CONTEXT) in READMES[name]


@pytest.mark.parametrize("table", TABLES.values())
def test_the_page_says_what_its_figures_of_memory_count(table: dict[str, str]) -> None:
    assert f"{CONTEXT:,}" in table["precision_info"]
