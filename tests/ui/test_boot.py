"""The engine on its way up behind the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ragkit.config import Settings
from ragkit.errors import RagkitError, StoreError
from ragkit.ui.boot import Boot
from ragkit.ui.overview import status
from ragkit.ui.strings import Strings


@pytest.fixture
def default(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, kb=tmp_path / "library" / "default", embedding="off")


def test_the_default_library_gets_the_sample_documents(default: Settings) -> None:
    boot = Boot(default)
    boot.start()
    assert boot.wait(60) and boot.state == "ready"
    assert any("xtuner" in row.path for row in boot.engine().documents())
    boot.close()


def test_a_library_of_ones_own_starts_empty(default: Settings, tmp_path: Path) -> None:
    boot = Boot(replace(default, kb=tmp_path / "mine"))
    boot.start()
    assert boot.wait(60) and boot.engine().documents() == []
    boot.close()


def test_an_engine_that_is_not_there_yet_is_waited_for_only_so_long(default: Settings) -> None:
    boot = Boot(default)
    assert boot.peek() is None and not boot.wait(0)
    with pytest.raises(RagkitError):
        boot.engine(0.01)
    assert status(boot, Strings("en")).tone == "busy"
    boot.close()


def test_what_kept_it_from_opening_is_raised_to_everyone_who_asks(default: Settings) -> None:
    (default.kb / "kb.sqlite").mkdir(parents=True)
    boot = Boot(default)
    boot.start()
    assert boot.wait(60) and boot.state == "failed" and boot.peek() is None
    for _ in range(2):
        with pytest.raises(StoreError):
            boot.engine()
    shown = status(boot, Strings("zh"))
    assert shown.tone == "bad" and "kb.sqlite" in shown.cause
    boot.close()
