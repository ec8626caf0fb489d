"""A tiny model that lies here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture(scope="module")
def internlm2(tmp_path_factory) -> Path:
    return tiny.internlm2(tmp_path_factory.mktemp("models") / "internlm2-chat-tiny")


@pytest.fixture
def copy(internlm2, tmp_path) -> Path:
    return shutil.copytree(internlm2, tmp_path / "copy")
