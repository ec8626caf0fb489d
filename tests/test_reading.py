"""How much a model is given to read, what it keeps of a conversation, and what is told of the time."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponseGen
from pydantic import Field

from ragkit import answering, prompts
from ragkit.answering import TARGET_WAIT_S
from ragkit.commands import questions
from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.llm import LocalLLM, load
from ragkit.schema import Done, Retrieved, Turn
from ragkit.ui.chat import Conversation
from ragkit.ui.leaving import Leaving
from tests import tiny
from tests.fakes import ScriptedLLM

Make = Callable[..., Path]
QUESTION = "年假有哪些规定？"


class Reader(ScriptedLLM):
    """Reads so many characters a second; keeps the beginning of each conversation, as LocalLLM does tokens."""

    rate: float | None = 100.0
    window: int = 100_000
    kept: dict[str, str] = Field(default_factory=dict)
    dropped: list[str] = Field(default_factory=list)

    def wait_s(self, messages: Sequence[ChatMessage], conversation: str = "") -> float | None:
        if self.rate is None:
            return None
        text, kept = _text(messages), self.kept.get(conversation, "")
        shared = next((n for n, (a, b) in enumerate(zip(text, kept, strict=False)) if a != b), len(kept))
        return (len(text) - shared) / self.rate

    def forget(self, conversation: str) -> None:
        self.dropped.append(conversation)
        self.kept.pop(conversation, None)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        self.kept[kwargs.get("conversation", "")] = _text(messages)
        return super().stream_chat(messages, **kwargs)


def _text(messages: Sequence[ChatMessage]) -> str:
    return "\n".join(str(message.content) for message in messages)


@pytest.fixture
def library(engine: Engine, folder: Make) -> Engine:
    rules = {
        f"{n}.md": f"# 年假{n}\n\n年假的第{n}条规定：{'须' * n}{'按部门的规定办理。' * 40}\n"
        for n in range(6)
    }
    engine.sync(folder(**rules))
    engine.use_settings(replace(engine.settings, passages=6, context_chars=20_000))
    return engine


def _ask(
    engine: Engine, model: ScriptedLLM, history: Sequence[Turn] = (), **how: Any
) -> tuple[Retrieved, Turn]:
    engine.use_model(model.enqueue("十天[1]。"))
    events = list(engine.stream(QUESTION, history=history, **how))
    assert isinstance(events[0], Retrieved) and isinstance(events[-1], Done)
    answer = events[-1].answer
    assert answer.hits == events[0].hits
    return events[0], Turn(QUESTION, answer.text, answer.hits)


def test_a_fast_model_is_given_all_passages(library: Engine) -> None:
    told, _ = _ask(library, Reader(rate=1e6))
    assert len(told.hits) == 6 and told.wait_s is not None and told.wait_s < 1


def test_a_slow_model_is_given_as_many_as_it_reads_in_time(library: Engine) -> None:
    told, _ = _ask(library, Reader(rate=80.0))
    assert 2 < len(told.hits) < 6
    assert told.wait_s is not None and told.wait_s <= TARGET_WAIT_S
    one_more = told.wait_s + len(told.hits[0].text) / 80
    assert one_more > TARGET_WAIT_S


def test_the_slowest_model_is_given_two_and_the_wait_is_told(library: Engine) -> None:
    told, _ = _ask(library, Reader(rate=1.0))
    assert len(told.hits) == 2 and told.wait_s is not None and told.wait_s > TARGET_WAIT_S


@pytest.mark.parametrize(
    "model", [Reader(rate=None), ScriptedLLM(window=100_000)], ids=["unmeasured", "server"]
)
def test_where_no_pace_is_known_the_settings_alone_decide(library: Engine, model: ScriptedLLM) -> None:
    told, _ = _ask(library, model)
    assert len(told.hits) == 6 and told.wait_s is None


def test_what_the_model_keeps_costs_nothing_of_the_next_questions_time(library: Engine) -> None:
    model = Reader(rate=80.0)
    first, turn = _ask(library, model, conversation="key")
    second, _ = _ask(library, model, [turn], conversation="key")
    assert first.wait_s and second.wait_s and len(second.hits) == len(first.hits)
    assert second.wait_s < first.wait_s + 3
    model.forget("key")
    anew, _ = _ask(library, model, [turn], conversation="key")
    assert len(anew.hits) == 2, "the whole conversation would have to be read"


def test_only_a_model_of_this_process_is_told_the_key(library: Engine) -> None:
    ours, server = Reader(), ScriptedLLM(window=100_000)
    _ask(library, ours, conversation="key")
    _ask(library, server, conversation="key")
    _ask(library, ours)
    assert [options.get("conversation") for options in ours.options] == ["key", None]
    assert server.options == [{}]


def test_with_and_without_documents_a_conversation_keeps_two_beginnings_and_both_go(library: Engine) -> None:
    model = Reader()
    _ask(library, model, conversation="key")
    library.use_model(model.enqueue("我不知道。"))
    list(library.stream(QUESTION, documents=False, conversation="key"))
    assert len(model.kept) == 2
    library.forget("key")
    assert not model.kept
    library.use_model(None)
    library.forget("key")  # quotes keep nothing


def test_a_question_that_is_rewritten_does_not_take_the_place_of_what_is_kept(library: Engine) -> None:
    model = Reader(rate=1e6)
    _, turn = _ask(library, model, conversation="key")
    library.use_model(model.enqueue("年假的规定是什么？").enqueue("十天[1]。"))
    list(library.stream("那它呢？", history=[turn], conversation="key"))
    assert [options.get("conversation") for options in model.options] == ["key", None, "key"]


def test_a_talk_without_documents_tells_the_wait_too(library: Engine) -> None:
    library.use_model(Reader(rate=1.0).enqueue("好。"))
    (told, *_) = library.stream(QUESTION, documents=False)
    assert isinstance(told, Retrieved) and told.wait_s and told.wait_s > 3


# A model in this process


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLLM]:
    folder = tiny.internlm2(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=16384)
    with load(folder, precision="fp32", device="cpu") as made:
        yield made


def test_a_conversation_over_a_library_is_answered_the_same_and_read_once(
    library: Engine, llm: LocalLLM
) -> None:
    """End to end: retrieval, prompts that grow, markers, and the model."""
    library.use_model(llm)
    library.use_settings(replace(library.settings, max_tokens=24))
    warm, cold, unread = list[Turn](), list[Turn](), list[tuple[int, int]]()
    for number in range(4):
        question = f"年假的第{number}条规定是什么？"
        messages = prompts.with_documents(question, (), warm, "zh", 16384 - 256)
        ids = llm._chat_ids(answering._chat_messages(messages[:-1]))
        assert llm._worker._resting.wait(60) or not warm
        unread.append((llm._worker.unread("key", ids), len(ids)))
        answer = library.ask(question, history=warm, conversation="key")
        warm.append(Turn(question, answer.text, answer.hits))
        plain = library.ask(question, history=cold)
        cold.append(Turn(question, plain.text, plain.hits))
    assert warm == cold
    assert all(left < 0.2 * whole for left, whole in unread[1:]), unread
    library.forget("key")
    assert llm._worker.kept.held_bytes() == 0


def test_a_loaded_model_tells_how_long_it_reads(llm: LocalLLM) -> None:
    llm.probe()
    short, long = [ChatMessage(content="甲")], [ChatMessage(content="甲" * 200)]
    assert 0 < (llm.wait_s(short) or 0) < (llm.wait_s(long) or 0)


def test_what_is_kept_counts_as_what_closing_gives_back(llm: LocalLLM) -> None:
    before = sum(llm.held_bytes().values())
    llm.chat([ChatMessage(content="甲" * 100)], conversation="k", max_tokens=1)
    assert llm._worker._resting.wait(60)
    assert sum(llm.held_bytes().values()) == before + llm._worker.kept.held_bytes() > before
    llm.forget("k")


# The page and the terminal


def test_a_tab_that_closes_takes_along_what_was_read_for_it() -> None:
    model = Reader()
    engine = SimpleNamespace(forget=lambda key: answering.forget(model, key))
    leaving = Leaving(SimpleNamespace(peek=lambda: engine))  # type: ignore[arg-type]
    tabs = {name: Conversation() for name in ("a", "b")}
    for name, tab in tabs.items():
        leaving.enter(tab, SimpleNamespace(session_hash=name))  # type: ignore[arg-type]
        model.kept[tab.key] = "read"
    leaving.leave(SimpleNamespace(session_hash="a"))  # type: ignore[arg-type]
    leaving.leave(SimpleNamespace(session_hash="never seen"))  # type: ignore[arg-type]
    assert list(model.kept) == [tabs["b"].key]


def test_the_questions_of_a_terminal_are_one_conversation_with_a_key_of_its_own(
    library: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ragkit.__main__ import _parser

    model = Reader(rate=1e6).enqueue("一[1]。").enqueue("二[1]。").enqueue("三[1]。")
    monkeypatch.setattr(questions, "open_existing", lambda _: library)
    monkeypatch.setattr(questions, "_model", lambda engine, _: _answering_by(engine, model))
    monkeypatch.setattr(library, "close", lambda: None)
    options = _parser().parse_args(["ask"])
    for text in ("年假的第1条规定是什么？\n年假的第2条规定是什么？\n", "年假的第3条规定是什么？\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert questions.ask(settings, options) == 0
    keys = [asked["conversation"] for asked in model.options]
    assert keys[0] == keys[1] != keys[2] and len(keys[0]) >= 32
    assert "二[1]。" in capsys.readouterr().out


class _answering_by:
    def __init__(self, engine: Engine, model: ScriptedLLM) -> None:
        engine.use_model(model)
        self._done = threading.Event()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._done.set()
