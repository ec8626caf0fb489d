"""The engine on its way up behind the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit import embedding
from ragkit.config import Settings
from ragkit.embedding import Embedder
from ragkit.engine import Engine
from ragkit.errors import RagkitError, StoreError
from ragkit.ui.boot import Boot
from ragkit.ui.overview import Overview, status
from ragkit.ui.strings import Strings
from tests.fakes import WordEmbedding


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


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_work_that_was_left_is_gone_on_with_and_shown_while_the_embedding_model_is_loaded(
    default: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 20 s nothing was read, and the page counted no vectors, with all of them on the disk."""
    settings = replace(default, kb=tmp_path / "mine", embedding="auto", model="quotes")
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("a", "b"):
        (docs / f"{name}.md").write_text(f"Annual leave of {name} is ten days.", encoding="utf-8")
    with Engine.open(settings, embed_model=WordEmbedding()) as engine:
        engine.sync(docs)
        engine.embed()
        (docs / "b.md").write_text("A new text of b.", encoding="utf-8")
        engine._indexer.take_again([document.id for document in engine.documents()])
        assert engine.is_waiting()
    go_on = threading.Event()

    def load(*_: object, **__: object) -> Embedder:
        assert go_on.wait(60)
        return embedding.wrap(WordEmbedding())

    monkeypatch.setattr(embedding, "load", load)
    boot = Boot(settings)
    boot.start()
    try:
        assert boot.wait(60)
        engine = boot.engine()
        until(lambda: not engine.is_waiting())
        assert engine.embedding.state in {"waiting", "loading"}
        html = Overview(boot, shared=False).about(Strings("en"))
        assert "1 / 2 · the model is loading" in html and "<progress" in html
    finally:
        go_on.set()
    until(lambda: engine.coverage().embedded == 2)
    boot.close()
