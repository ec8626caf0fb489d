"""The log says where something failed, never what a document or a question said."""

from __future__ import annotations

import logging
from pathlib import Path

from ragkit import log


def test_an_error_is_logged_without_its_message(tmp_path: Path) -> None:
    file = log.set_up(tmp_path)
    logger = logging.getLogger("ragkit.test")
    try:
        raise ValueError("年假十天")
    except ValueError as error:
        log.failed(logger, "answering", error)
    text = file.read_text(encoding="utf-8")
    assert "answering failed: ValueError at test_log.py:" in text and "年假" not in text


def test_a_second_set_up_writes_every_line_once(tmp_path: Path) -> None:
    log.set_up(tmp_path / "old")
    file = log.set_up(tmp_path / "new")
    logging.getLogger("ragkit.test").info("hello")
    assert file.read_text(encoding="utf-8").count("hello") == 1
