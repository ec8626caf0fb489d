"""LocalLLM in use: from LlamaIndex and from ragkit, stopped, unloaded."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.query_engine import RetrieverQueryEngine

from ragkit import HybridRetriever
from ragkit.answering import Answerer
from ragkit.config import REPOSITORY
from ragkit.engine import Engine
from ragkit.errors import GenerationError, ModelError, UsageError
from ragkit.generation import SLICE
from ragkit.llm import load

QUESTION = [ChatMessage(content="xtuner是什么？")]
TIMEOUT_S = 20  # of a test that hangs; nothing is measured against it
# A tiny model is many tokens ahead of its reader; how exactly a stop works is tested in test_worker.py.
MANY, FEW = 1900, 500

pytestmark = pytest.mark.usefixtures("one_thread")


# In LlamaIndex and in ragkit


def test_a_query_engine_answers_with_it_from_the_library(llm, engine: Engine, tmp_path, monkeypatch):
    place = tmp_path / "docs"
    place.mkdir()
    (place / "a.md").write_text("XTuner 是一个微调工具库。", encoding="utf-8")
    engine.sync(place)
    monkeypatch.setattr(Settings, "_llm", None)  # put back afterwards
    Settings.llm = llm
    llm.generate_kwargs = {"max_tokens": 4}
    response = RetrieverQueryEngine.from_args(HybridRetriever(engine)).query("XTuner 是什么？")
    assert "微调" in response.source_nodes[0].node.get_content()
    assert response.response == response.response.strip() != "Empty Response"


def test_the_engine_streams_and_stops_it(llm, forwards, settings):
    stop = threading.Event()
    answerer = Answerer(settings, None, llm, "tiny", None, None, dict)
    events = answerer.without_documents("xtuner是什么？", (), stop)
    seen = [next(events) for _ in range(4)]
    stop.set()
    seen += events
    assert seen[-1].answer.stopped and len(seen) < 12


# Stopping


def test_closing_a_stream_stops_the_generation(llm, forwards):
    stream = llm.stream_chat(QUESTION, max_tokens=MANY)
    next(stream)
    stream.close()
    llm.chat(QUESTION, max_tokens=1)  # its turn comes when the first has gone
    assert len(forwards) < FEW
    assert list(stream) == []


def test_a_stream_that_is_dropped_stops_the_generation(llm, forwards):
    stream = llm.stream_chat(QUESTION, max_tokens=MANY)
    next(stream)
    del stream
    gc.collect()
    llm.chat(QUESTION, max_tokens=1)
    assert len(forwards) < FEW


def test_a_long_prompt_is_stopped_between_two_slices(llm, forwards):
    began, go_on = threading.Event(), threading.Event()

    def hold(module, args, kwargs):
        began.set()
        assert go_on.wait(TIMEOUT_S)

    hook = llm._model.register_forward_pre_hook(hold, with_kwargs=True)
    stream = llm.stream_chat([ChatMessage(content="好" * SLICE)], max_tokens=10)
    reader = threading.Thread(target=lambda: list(stream), daemon=True)
    reader.start()
    assert began.wait(TIMEOUT_S)
    stream.close()  # from this thread, while the other one is inside next()
    reader.join(TIMEOUT_S)  # it returns while the forward still runs
    assert not reader.is_alive() and not go_on.is_set()
    go_on.set()
    llm.chat(QUESTION, max_tokens=1)
    hook.remove()
    assert [len(ids) for ids in forwards] == [SLICE, len(llm._chat_ids(QUESTION))]


def test_two_askers_get_their_own_answers_whole(llm):
    questions = [[ChatMessage(content=f"问题 {i}")] for i in range(4)]
    alone = [llm.chat(question, max_tokens=15).message.content for question in questions]
    together: dict[int, str] = {}

    def ask(i: int) -> None:
        together[i] = [*llm.stream_chat(questions[i], max_tokens=15)][-1].message.content

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert [together[i] for i in range(4)] == alone


@pytest.mark.parametrize("method", ["achat", "astream_chat", "acomplete", "astream_complete"])
def test_the_event_loop_runs_on_while_the_model_works(llm, forwards, method):
    """A forward goes on only when the loop has turned: with the loop held up, the test would never end."""
    turned = threading.Event()
    hook = llm._model.register_forward_pre_hook(lambda *_: _wait_and_clear(turned))

    async def ask() -> int:
        question = "xtuner是什么？" if "complete" in method else QUESTION

        async def answer() -> None:
            result = await getattr(llm, method)(question, max_tokens=5)
            if "stream" in method:
                assert [response async for response in result]

        task, beats = asyncio.ensure_future(answer()), 0
        while not task.done():
            await asyncio.sleep(0.001)
            turned.set()
            beats += 1
        await task
        return beats

    try:
        assert asyncio.run(asyncio.wait_for(ask(), TIMEOUT_S)) >= 5 and len(forwards) == 5
    finally:
        hook.remove()


def _wait_and_clear(event: threading.Event) -> None:
    assert event.wait(TIMEOUT_S)
    event.clear()


def test_leaving_an_async_stream_stops_the_generation(llm, forwards):
    async def ask() -> None:
        stream = await llm.astream_chat(QUESTION, max_tokens=MANY)
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(ask())
    llm.chat(QUESTION, max_tokens=1)
    assert len(forwards) < FEW


@pytest.mark.parametrize("method", ["chat", "stream_chat", "complete", "stream_complete"])
def test_what_goes_wrong_in_the_model_is_raised_where_the_answer_is_read(llm, method):
    def fail(*_: object) -> None:
        raise ValueError("no such kernel")

    hook = llm._model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(GenerationError, match="no such kernel"):
            list(getattr(llm, method)("x" if "complete" in method else QUESTION, max_tokens=5))
    finally:
        hook.remove()
    assert llm.chat(QUESTION, max_tokens=1)


# Unloading


def test_closing_frees_the_model(folder):
    made = load(folder, precision="fp32", device="cpu")
    made.chat(QUESTION, max_tokens=1)
    model = weakref.ref(made._model)
    made.close()
    gc.collect()
    assert model() is None
    with pytest.raises(ModelError, match="unloaded"):
        made.chat(QUESTION)


def test_a_model_that_is_dropped_without_closing_is_freed_and_its_thread_ends(folder):
    made = load(folder, precision="fp32", device="cpu")
    made.chat(QUESTION, max_tokens=1)
    model, thread = weakref.ref(made._model), made._worker._thread
    del made
    gc.collect()
    thread.join(TIMEOUT_S)
    gc.collect()
    assert not thread.is_alive() and model() is None


def test_a_program_that_ends_in_the_middle_of_an_answer_ends_well(folder):
    """Its thread was inside torch while the interpreter went down: abort(), or no end at all."""
    code = (
        "from llama_index.core.llms import ChatMessage\n"
        "from ragkit.llm import load\n"
        f"llm = load({str(folder)!r}, precision='fp32', device='cpu')\n"
        f"stream = llm.stream_chat([ChatMessage(content='x')], max_tokens={MANY})\n"
        "print(len([next(stream) for _ in range(3)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_what_cannot_be_loaded_is_refused(folder):
    with pytest.raises(ModelError, match="no model folder"):
        load(folder / "nothing")
    with pytest.raises(UsageError, match="3bit"):
        load(folder, precision="3bit")
    with pytest.raises(UsageError, match="tpu"):
        load(folder, device="tpu")
