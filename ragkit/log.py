"""The log file. No text of a question or a document is written to it."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path


def set_up(data_dir: Path) -> Path:
    """Write ragkit's log to data_dir/log/ragkit.log, 1 MB and three older ones; give the file's path."""
    file = data_dir / "log" / "ragkit.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(file, maxBytes=1_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("ragkit")
    for old in logger.handlers[:]:
        if isinstance(old, RotatingFileHandler):
            logger.removeHandler(old)
            old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return file


def failed(logger: logging.Logger, doing: str, error: BaseException) -> None:
    """Log where an error came from without its message, which may quote a document or a question."""
    frames = []
    at = error.__traceback__
    while at is not None:
        frames.append(f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}")
        at = at.tb_next
    logger.error("%s failed: %s at %s", doing, type(error).__name__, " < ".join(reversed(frames[-8:])))
