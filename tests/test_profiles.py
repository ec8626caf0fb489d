"""What answers is chosen from what is there, and said plainly."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from ragkit import models, profiles
from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.errors import ModelError, UsageError
from ragkit.internlm2 import export_llama
from tests import tiny


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole tiny InternLM2 folder, as a hub has it."""
    return tiny.internlm2(tmp_path / "internlm2-tiny")


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def test_with_nothing_there_it_is_quotes(settings: Settings) -> None:
    assert profiles.choose(settings) == profiles.Profile("quotes", "quotes")
    assert profiles.load(profiles.choose(settings), settings) is None


def test_a_folder_that_was_named_is_taken_and_planned(settings: Settings, checkpoint: Path) -> None:
    chosen = profiles.choose(replace(settings, model=str(checkpoint)))
    assert (chosen.kind, chosen.name, chosen.path) == ("local", "internlm2-tiny", checkpoint)
    plan = profiles.plan(chosen, replace(settings, device="cpu", precision="fp32"))
    assert plan is not None and plan.total_bytes > 0


def test_a_model_that_was_downloaded_is_taken_unasked_and_quotes_can_be_asked_for(
    settings: Settings, checkpoint: Path
) -> None:
    home = settings.data_dir / "models" / "internlm--internlm2-chat-1_8b"
    home.parent.mkdir(parents=True)
    checkpoint.rename(home)
    assert profiles.choose(settings).name == "internlm/internlm2-chat-1_8b"
    assert profiles.choose(replace(settings, model="quotes")).kind == "quotes"


def test_the_smallest_model_answers_only_for_whoever_chose_it(settings: Settings) -> None:
    """Once downloaded it took the place of quotes at the next start, and answered worse."""
    folder = models.folder_of(models.SMOLLM2, settings.data_dir)
    folder.mkdir(parents=True)
    (folder / "a.gguf").write_bytes(b"GGUF")
    assert profiles.choose(settings) == profiles.QUOTES_PROFILE
    assert profiles.choose(replace(settings, model=models.SMOLLM2)).path == folder


def test_what_was_asked_for_and_is_not_there_is_an_error_with_the_way_on(
    settings: Settings, checkpoint: Path
) -> None:
    with pytest.raises(ModelError, match="not on this machine") as caught:
        profiles.choose(replace(settings, model="internlm/internlm2-chat-7b"))
    assert "download internlm/internlm2-chat-7b" in caught.value.hint
    next(checkpoint.glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match="not a whole model"):
        profiles.choose(replace(settings, model=str(checkpoint)))


@pytest.mark.parametrize(
    ("url", "leaves"),
    [("http://127.0.0.1:1/v1", False), ("http://localhost:1", False), ("https://example.org/v1", True)],
)
def test_a_server_elsewhere_is_told_apart(settings: Settings, url: str, leaves: bool) -> None:
    chosen = profiles.choose(replace(settings, llm=url, model="m"))
    assert (chosen.kind, chosen.name, chosen.leaves_machine) == ("server", "m", leaves)
    assert chosen.url.endswith("/v1")


def test_an_address_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError):
        profiles.choose(replace(settings, llm="localhost:8000"))


def test_a_server_that_does_not_answer_is_said_to_be(settings: Settings) -> None:
    with pytest.raises(ModelError, match="does not answer") as caught:
        profiles.choose(replace(settings, llm="http://127.0.0.1:9/v1"))
    assert "--llm-key" in caught.value.hint


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _keep_printable(folder: Path) -> None:
    """Let random weights speak without control characters, which no real model says and which the
    server's own event stream does not survive."""
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for id in range(len(tensors["lm_head.weight"])):
        text = tokenizer.decode([id])
        if not text or not text.isprintable() or "\ufffd" in text:
            tensors["lm_head.weight"][id] = 0
    save_file(tensors, weights, metadata={"format": "pt"})


@pytest.fixture
def server(checkpoint: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A real `transformers serve` on a tiny model that was exported for servers."""
    folder, port = tmp_path / "llama", _free_port()
    export_llama(checkpoint, folder)
    _keep_printable(folder)
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended"
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        else:
            pytest.fail("the server did not come up")
        yield f"http://127.0.0.1:{port}", str(folder)
    finally:
        process.kill()
        process.wait()


def test_a_real_server_answers_from_the_documents(
    settings: Settings, server: tuple[str, str], tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("年假。", encoding="utf-8")
    url, name = server
    settings = replace(settings, llm=url, model=name)
    chosen = profiles.choose(settings)
    with Engine.open(settings, llm=profiles.load(chosen, settings)) as engine:
        engine.sync(docs)
        answer = engine.ask("年假？")
    assert answer.profile == name and not answer.refused
    assert answer.text, "random weights say something, whatever it is"
