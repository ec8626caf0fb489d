"""A folder with good files of every kind and broken ones among them: every good one is ready, every other says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragkit.engine import Engine
from ragkit.readers import FORMATS
from tests.fakes_archives import zipped
from tests.fakes_documents import handbook, pdf, picture_pdf, saved, slides, word, workbook
from tests.fakes_packages import book, mail

NOTEBOOK = {
    "cells": [{"cell_type": "markdown", "metadata": {}, "source": ["# 笔记\n", "\n", "年假为十天。"]}],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
GOOD: dict[str, bytes] = {
    "good.md": "# 假期\n\n年假为十天。\n".encode(),
    "good.txt": "年假为十天。".encode("gb18030") * 4,
    "utf16.txt": "年假为十天。".encode("utf-16"),
    "big5.txt": "資料庫的設計應該簡單明瞭，讓使用者容易理解。".encode("big5"),
    "good.html": "<h1>假期</h1><p>年假为十天。</p>".encode(),
    "good.pdf": pdf("Annual leave is ten days.", "The canteen is on the second floor."),
    "good.docx": word(handbook()),
    "good.pptx": saved(slides()),
    "good.xlsx": saved(workbook(("部门", "预算"), ("研发", 120))),
    "good.csv": "姓名,城市\n张三,上海\n".encode(),
    "good.json": json.dumps({"年假": {"天数": 10}}, ensure_ascii=False).encode(),
    "good.ipynb": json.dumps(NOTEBOOK, ensure_ascii=False).encode(),
    "good.epub": book(),
    "good.eml": mail("Annual leave is ten days."),
    "good.rst": b"Leave\n=====\n\nAnnual leave is ten days.\n",
    "good.tex": b"\\section{Leave}\nAnnual leave is ten days.\n",
    "good.org": b"* Leave\nAnnual leave is ten days.\n",
    "good.py": b"def leave():\n    return 10\n",
    "README": b"Annual leave is ten days.\n",
}
PACKAGES = ("docx", "pptx", "xlsx", "epub")
BAD: dict[str, tuple[bytes, str]] = {
    **{f"empty{ending}": (b"", "empty_file") for ending in sorted(FORMATS)},
    **{
        f"picture{ending}": (b"\x89PNG\r\n\x1a\n" + bytes(99), "mislabelled_file")
        for ending in (".md", ".pdf", ".eml", ".py")
    },
    **{f"cut.{kind}": (GOOD[f"good.{kind}"][:-200], "truncated_file") for kind in PACKAGES},
    "cut.pdf": (GOOD["good.pdf"][:300], "truncated_file"),
    "sheet.docx": (GOOD["good.xlsx"], "mislabelled_file"),
    "old.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "mislabelled_file"),
    "locked.pdf": (pdf("secret", password="x"), "encrypted_file"),
    "scan.pdf": (picture_pdf("grey", "white"), "no_text"),
    "script.html": (b"<title>x</title><script>run()</script>", "no_text"),
    "noise.txt": (bytes(range(1, 32)) * 40, "broken_file"),
    "broken.json": (b'{"a": [1, 2', "truncated_file"),
    "broken.ipynb": (b"[]", "mislabelled_file"),
    "cut.zip": (zipped(("a.md", b"x" * 500))[:-30], "truncated_file"),
    "nothing.zip": (zipped(("a.bin", b"x")), "empty_file"),
}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, content in (GOOD | {name: content for name, (content, _) in BAD.items()}).items():
        (docs / name).write_bytes(content)
    return docs


def test_every_good_file_is_ready_and_every_broken_one_says_why(engine: Engine, mixed: Path) -> None:
    report = engine.sync(mixed)
    engine.embed()
    found = {document.path: document for document in engine.documents()}
    assert found.keys() == {*GOOD, *BAD}
    assert {name: found[name].state for name in GOOD} == dict.fromkeys(GOOD, "ready")
    assert all(found[name].chunks and found[name].chars for name in GOOD)
    assert {name: found[name].error_code for name in BAD} == {name: code for name, (_, code) in BAD.items()}
    assert all(found[name].error and found[name].hint for name in BAD)
    assert (len(report.added), len(report.failed)) == (len(GOOD), len(BAD))
    assert engine.verify() == []


def test_every_format_has_its_good_file() -> None:
    modules = {FORMATS[Path(name).suffix] for name in GOOD if Path(name).suffix}
    assert modules == set(FORMATS.values())
