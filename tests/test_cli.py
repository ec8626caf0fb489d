"""`python -m ragkit`: JSON on stdout, everything else on stderr, exit codes 0, 1, 2."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragkit.__main__ import main
from ragkit.commands import output
from ragkit.config import REPOSITORY

Make = Callable[..., Path]


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("RAGKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RAGKIT_EMBEDDING", "off")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--kb", str(tmp_path / "kb")])
        return code, *capsys.readouterr()

    return call


def test_sync_reports_counts(run: Callable[..., Any], folder: Make) -> None:
    docs = folder(**{"a.md": "年假为十天。", "b.md": "食堂在二楼。"})
    code, out, _ = run("sync", docs, "--json")
    report = json.loads(out)
    assert code == 0
    assert set(report) == {
        "added",
        "updated",
        "removed",
        "moved",
        "unchanged",
        "failed",
        "chunks",
        "embedded",
        "seconds",
    }
    assert (report["added"], report["chunks"], report["failed"]) == (2, 2, [])
    folder(**{"a.md": "年假为九天。"})
    (docs / "b.md").unlink()
    report = json.loads(run("sync", docs, "--json")[1])
    assert (report["updated"], report["removed"], report["unchanged"], report["chunks"]) == (1, 1, 0, 1)


def test_a_failed_file_is_exit_code_1_and_named(run: Callable[..., Any], folder: Make) -> None:
    docs = folder(**{"a.md": "甲。", "bad.pdf": "no PDF"})
    code, out, err = run("sync", docs)
    assert code == 1 and "1 added" in out and "docs/bad.pdf" in err
    (failure,) = json.loads(run("sync", docs, "--json")[1])["failed"]
    assert set(failure) == {"source", "message", "hint"} and failure["hint"]


def test_search_lists_passages(run: Callable[..., Any], folder: Make) -> None:
    run("sync", folder(**{"a.md": "# 假期\n\n年假为十天。\n"}))
    code, out, _ = run("search", "年假", "--json")
    (hit,) = json.loads(out)
    assert code == 0
    assert set(hit) == {"source", "page", "heading", "start", "end", "text", "score", "lexical", "dense"}
    assert (hit["source"], hit["heading"], hit["page"], hit["dense"]) == ("docs/a.md", ["假期"], None, None)
    assert "docs/a.md" in run("search", "年假")[1]


def test_search_explains_itself(run: Callable[..., Any], folder: Make) -> None:
    run("sync", folder(**{"a.md": "# 假期\n\n年假为十天。\n", "b.txt": "食堂在二楼。"}))
    code, out, _ = run("search", "年假 zebra", "--explain")
    assert code == 0 and "zebra" in out and "docs/a.md > 假期" in out and "words alone" in out
    told = json.loads(run("search", "年假", "--explain", "--json", "--type", "txt")[1])
    assert told["chunks"] == [] and told["verdict"] == "refuse"


def test_a_question_is_kept_to_what_the_flags_name(run: Callable[..., Any], folder: Make) -> None:
    run("sync", folder(**{"a.md": "年假为十天。", "old/b.md": "年假须申请。"}))
    assert [hit["source"] for hit in json.loads(run("search", "年假", "--in", "docs/old", "--json")[1])] == [
        "docs/old/b.md"
    ]
    assert "年假须申请。" in run("ask", "年假", "--in", "docs/old")[1]
    code, _, err = run("search", "年假", "--since", "soon")
    assert code == 2 and "--since soon" in err and "hint:" in err


def test_ask_answers_with_citations(run: Callable[..., Any], folder: Make) -> None:
    run("sync", folder(**{"a.md": "年假为十天。"}))
    code, out, _ = run("ask", "年假有多少天？", "--json")
    answer = json.loads(out)
    assert code == 0
    assert set(answer) == {
        "question",
        "text",
        "searched",
        "refused",
        "weak",
        "citations",
        "unsupported",
        "profile",
    }
    assert (answer["profile"], answer["refused"]) == ("quotes", False)
    assert answer["citations"] == [
        {
            "number": 1,
            "source": "docs/a.md",
            "page": None,
            "heading": [],
            "start": 0,
            "end": 6,
            "quote": "年假为十天。",
            "at": [0, 10],
            "words": [],
        }
    ]
    assert "年假为十天。 [1]" in run("ask", "年假有多少天？")[1]


def test_questions_that_are_piped_in_are_a_conversation(
    run: Callable[..., Any], folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sync", folder(**{"a.md": "# XTuner\n\nXTuner 是微调工具。\n\nXTuner 支持 Qwen 和 Llama 模型。"}))
    questions = "xtuner是什么？\n\n那它支持哪些模型？\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(questions))
    code, out, _ = run("ask")
    assert code == 0 and "## xtuner是什么？" in out and "searched for: xtuner支持哪些模型？" in out
    monkeypatch.setattr("sys.stdin", io.StringIO(questions))
    first, second = map(json.loads, run("ask", "--json")[1].splitlines())
    assert first["searched"] == "xtuner是什么？" and "Qwen" in second["text"]


def test_flags_that_no_document_meets_are_an_error(run: Callable[..., Any], folder: Make) -> None:
    run("sync", folder(**{"a.md": "年假为十天。"}))
    for flags in (("--in", "nowhere/"), ("--type", "exe")):
        for command in ("ask", "search"):
            code, _, told = run(command, "年假有多少天？", *flags)
            assert code == 2 and "no document" in told


def test_a_refusal_is_no_error(run: Callable[..., Any], folder: Make) -> None:
    run("sync", folder(**{"a.md": "年假为十天。"}))
    code, out, _ = run("ask", "How hot is the sun?", "--json")
    assert code == 0 and json.loads(out)["refused"] is True


def test_a_missing_folder_is_exit_code_2_with_a_hint(run: Callable[..., Any], tmp_path: Path) -> None:
    code, out, err = run("sync", tmp_path / "nowhere")
    assert code == 2 and not out
    assert "not a folder" in err and "hint:" in err


def test_wrong_usage_is_exit_code_2(run: Callable[..., Any]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("search")
    assert caught.value.code == 2


def test_a_hub_that_may_not_be_asked_is_exit_code_2_with_the_ways_on(tmp_path: Path) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "RAGKIT_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "ragkit", "download", "internlm/internlm2-chat-1_8b"],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not done.stdout
    assert "HF_HUB_OFFLINE" in done.stderr and "--model DIR" in done.stderr and "smollm2-135m" in done.stderr


def test_json_is_the_only_thing_on_stdout_in_any_locale(tmp_path: Path, folder: Make) -> None:
    """A real process, in the C locale, from another folder."""
    docs = folder(**{"a.md": "年假为十天。"})
    env = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONPATH": str(REPOSITORY),
        "RAGKIT_EMBEDDING": "off",
        "PYTHONUTF8": "0",
    }
    for arguments in (["sync", str(docs)], ["ask", "年假有多少天？"]):
        done = subprocess.run(
            [sys.executable, "-m", "ragkit", *arguments, "--json", "--kb", str(tmp_path / "kb")],
            cwd=tmp_path,
            env=env,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout.decode("utf-8"))


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe that closes is another error there")
@pytest.mark.parametrize("command", [["search", "年假"], ["ask", "年假有多少天？", "--json"], ["list"]])
def test_a_reader_that_goes_ends_the_command_quietly(
    tmp_path: Path, folder: Make, command: list[str], run: Callable[..., Any]
) -> None:
    """`search … | head -1` ended in a traceback."""
    run("sync", folder(**{"a.md": "年假为十天。"}))
    kb = ["--kb", str(tmp_path / "kb")]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ragkit", *command, *kb],
            cwd=REPOSITORY,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_what_is_waited_for_is_said_once_it_lasts_and_wiped_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds passed in silence."""
    with output.waiting("loading X ..."):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(output, "_MOMENT_S", 0.0)
    said = threading.Event()
    write = sys.stderr.write

    def written(text: str) -> int:
        said.set()
        return write(text)

    monkeypatch.setattr(sys.stderr, "write", written)
    with output.waiting("loading X ..."):
        assert said.wait(20)
    assert capsys.readouterr().err == "loading X ...\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.waiting("loading X ..."):
        assert capsys.readouterr().err == "loading X ..."
    assert capsys.readouterr().err == "\r\x1b[K"


def test_an_unfinished_download_is_deleted_by_its_name(run: Callable[..., Any], tmp_path: Path) -> None:
    part = tmp_path / "data" / "models" / "acme--half.part"
    part.mkdir(parents=True)
    (part / "model.safetensors.part").write_bytes(b"weights")
    assert main(["download", "acme/half", "--delete"]) == 0 and not part.exists()
    assert main(["download", "acme/half", "--delete"]) == 2


def test_a_search_by_meaning_needs_no_torch(tmp_path: Path, folder: Make) -> None:
    """It was half of the 13 s that an English question took."""
    env = {**os.environ, "RAGKIT_DATA": str(tmp_path / "data")}
    call = {"cwd": REPOSITORY, "env": env, "capture_output": True, "text": True}
    docs = folder(**{"a.md": "The pump is under warranty for two years."})
    subprocess.run([sys.executable, "-m", "ragkit", "sync", str(docs)], check=True, **call)  # type: ignore[call-overload]
    code = (
        "import sys; from ragkit.__main__ import main\n"
        "main(['search', 'How long does the guarantee last?', '--json'])\n"
        "print(sorted({'torch', 'transformers', 'llama_index'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, **call)  # type: ignore[call-overload]
    (hit,) = json.loads(done.stdout)
    assert hit["dense"] > 0.3 and done.stderr.splitlines()[-1] == "[]"
