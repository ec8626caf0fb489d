"""What every test may use: a library in a temporary folder, with fakes at LlamaIndex's seams."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# Before anything is imported that reads them: no test may reach for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
for _name in [name for name in os.environ if name.startswith("RAGKIT_")]:
    del os.environ[_name]

from ragkit.config import Settings
from ragkit.engine import Engine
from tests.fakes import WordEmbedding

# An example that takes its time on a busy machine is no fault.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", kb=tmp_path / "kb", embedding="off")


@pytest.fixture
def embedding() -> WordEmbedding:
    return WordEmbedding()


@pytest.fixture
def engine(settings: Settings, embedding: WordEmbedding) -> Iterator[Engine]:
    with Engine.open(settings, embed_model=embedding) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of text files: folder(**{"a.md": "text"}), or add to it."""

    def make(**files: str) -> Path:
        place = tmp_path / "docs"
        for name, text in files.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return place

    return make


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices: a second thread of torch only waits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
