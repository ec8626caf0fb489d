"""`python -m ragkit`: list, show, remove, export, import, verify; sync that looks first and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragkit.__main__ import main
from ragkit.config import REPOSITORY

Make = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("RAGKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RAGKIT_EMBEDDING", "off")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def docs(folder: Make) -> Path:
    return folder(
        **{"a.md": "# 假期\n\n年假为十天。\n\n# 食堂\n\n食堂在二楼。\n", "b.md": "别的。", "c.pdf": "no PDF"}
    )


def parsed(outcome: tuple[int, str, str]) -> Any:
    return json.loads(outcome[1])


def test_list_names_every_document_with_its_state(run: Run, docs: Path) -> None:
    run("sync", docs)
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "docs/" in line] == ["ready", "ready", "failed"]
    assert "3 documents" in out and "MB on the disk" in out
    listed = parsed(run("list", "--json"))
    assert [d["source"] for d in listed["documents"]] == ["docs/a.md", "docs/b.md", "docs/c.pdf"]
    assert listed["documents"][0]["chars"] == 27 and listed["disk_bytes"] > 0


def test_show_gives_blocks_and_chunks_as_slices(run: Run, docs: Path) -> None:
    run("sync", docs)
    shown = parsed(run("show", "a.md", "--json"))
    assert [block["kind"] for block in shown["blocks"]] == ["heading", "text", "heading", "text"]
    assert [chunk["heading"] for chunk in shown["chunks"]] == [["假期"], ["食堂"]]
    text = (docs / "a.md").read_text(encoding="utf-8")
    assert all(text[c["start"] : c["end"]] == c["text"] for c in shown["chunks"])
    out = run("show", "docs/a.md")[1]
    assert "4 blocks" in out and "2 chunks" in out and "假期" in out
    (docs / "a.md").unlink()
    assert "no blocks" in run("show", "a.md")[1], "the file is gone, its chunks are there"


def test_a_document_is_named_by_the_end_of_its_source_where_that_is_enough(run: Run, folder: Make) -> None:
    run("sync", folder(**{"x/a.md": "甲。", "y/a.md": "乙。"}))
    code, _, err = run("show", "a.md")
    assert code == 2 and "docs/x/a.md, docs/y/a.md" in err
    assert run("show", "x/a.md")[0] == 0
    code, _, err = run("show", "nothing.md")
    assert code == 2 and "hint:" in err


def test_remove_forgets_documents(run: Run, docs: Path) -> None:
    run("sync", docs)
    assert parsed(run("remove", "a.md", "docs/c.pdf", "--json")) == {"removed": ["docs/a.md", "docs/c.pdf"]}
    assert [d["source"] for d in parsed(run("list", "--json"))["documents"]] == ["docs/b.md"]


def test_verify_is_exit_code_1_when_something_is_wrong(run: Run, docs: Path, tmp_path: Path) -> None:
    run("sync", docs)
    assert run("verify") == (0, "the library is sound\n", "")
    import sqlite3

    with sqlite3.connect(tmp_path / "data/library/default/kb.sqlite") as db:
        db.execute("UPDATE chunk SET end = end - 1 WHERE id = 1")
    code, out, _ = run("verify", "--json")
    assert code == 1 and "is not the slice" in json.loads(out)["faults"][0]


def test_a_library_goes_to_another_name_and_answers_there(run: Run, docs: Path, tmp_path: Path) -> None:
    run("sync", docs)
    file = tmp_path / "handbook.ragkit"
    assert run("export", "default", file)[0] == 0
    code, out, _ = run("import", file)
    assert code == 0 and out.strip() == str(tmp_path / "data/library/handbook")
    assert "docs/a.md" in run("search", "年假", "--kb", "handbook")[1], "its name is enough"
    assert run("import", file)[0] == 2, "it is there already"
    assert run("import", file, "--kb", tmp_path / "elsewhere")[0] == 0
    assert run("import", file, "--kb", "second")[1].strip() == str(tmp_path / "data/library/second")
    names = [one["name"] for one in parsed(run("list", "--all", "--json"))]
    assert names == ["default", "handbook", "second"]
    code, _, err = run("export", "nobody", file)
    assert code == 2 and "hint:" in err


def test_a_new_name_makes_a_knowledge_base_that_the_list_has(run: Run, docs: Path, tmp_path: Path) -> None:
    assert run("sync", docs, "--kb", "handbook")[0] == 1  # one of the documents is broken
    assert (tmp_path / "data/library/handbook/kb.sqlite").is_file()
    assert [one["name"] for one in parsed(run("list", "--all", "--json"))] == ["handbook"]
    code, _, err = run("search", "年假", "--kb", "handbok")
    assert code == 2 and "list --all" in err and not (tmp_path / "data/library/handbok").exists()


def test_a_dry_run_makes_no_library(run: Run, docs: Path, tmp_path: Path) -> None:
    assert "would be added" in run("sync", docs, "--dry-run")[1]
    assert not (tmp_path / "data" / "library").exists()


def test_the_sync_says_first_what_it_will_do(run: Run, docs: Path) -> None:
    run("sync", docs)
    (docs / "b.md").rename(docs / "renamed.md")
    (docs / "d.md").write_text("新。", encoding="utf-8")
    (docs / "a.md").unlink()
    assert run("sync", docs)[2].startswith("1 new, 1 renamed, 1 gone\n")


def test_most_of_a_folder_gone_at_once_is_asked_about(run: Run, folder: Make) -> None:
    """A drive that is half there once would have emptied the library."""
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(20)})
    run("sync", docs)
    for n in range(15):
        (docs / f"{n}.md").unlink()
    code, _, err = run("sync", docs)
    assert code == 2 and "15 files are gone" in err and "--yes" in err
    assert len(parsed(run("list", "--json"))["documents"]) == 20
    assert parsed(run("sync", docs, "--yes", "--json"))["removed"] == 15


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT")
def test_a_watching_sync_follows_the_folder_until_it_is_stopped(tmp_path: Path, folder: Make) -> None:
    docs = folder(**{"a.md": "甲。"})
    env = {
        **os.environ,
        "RAGKIT_DATA": str(tmp_path / "data"),
        "RAGKIT_EMBEDDING": "off",
        "PYTHONUNBUFFERED": "1",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "ragkit", "sync", str(docs), "--watch"],
        cwd=REPOSITORY,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    lines = iter(child.stdout.readline, "")
    assert any("watching" in line for line in lines)
    time.sleep(0.5)
    folder(**{"b.md": "乙。"})
    assert any("1 added" in line for line in lines)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) == 0
