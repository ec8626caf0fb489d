"""Tiny random models in memory, one of each for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragkit.llm import LocalLLM, load
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.internlm2(tmp_path_factory.mktemp("models") / "internlm2-chat-tiny")


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("models") / "llama-tiny")


@pytest.fixture(scope="module")
def shared(folder) -> Iterator[LocalLLM]:
    with load(folder, precision="fp32", device="cpu") as made:
        yield made


@pytest.fixture(scope="module")
def shared_llama(llama_folder) -> Iterator[LocalLLM]:
    with load(llama_folder, precision="fp32", device="cpu") as made:
        yield made


@pytest.fixture
def llm(shared) -> Iterator[LocalLLM]:
    """The module's model, as it was made."""
    before = dict(shared.__dict__)
    yield shared
    shared.__dict__.update(before)


@pytest.fixture
def forwards(shared) -> Iterator[list[list[int]]]:
    """The token ids of every forward."""
    seen: list[list[int]] = []

    def note(module, args, kwargs):
        seen.append(kwargs["input_ids"][0].tolist())

    hook = shared._model.register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    hook.remove()
