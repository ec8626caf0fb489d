"""The thread that runs a model: order, giving up, errors, unloading."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from transformers import DynamicCache

from ragkit.errors import GenerationError, ModelError, RagkitError
from ragkit.generation import Options
from ragkit.internlm2_tokenizer import load_tokenizer
from ragkit.worker import AsyncStream, Piece, Stream, Worker
from tests.tiny import GOLDEN

TIMEOUT_S = 20  # of a test that hangs; nothing is measured against it
PROMPT = [1, 5, 6, 7]


class GatedModel(torch.nn.Module):
    """Says 10, 11, 12, ...; each forward waits until it is allowed, and is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.config = _Config()
        self.allowed = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.forwards = 0
        self.prompts: list[int] = []  # the first token of each prompt, in the order of their first forwards
        self.error: BaseException | None = None
        self.free_run = False
        self.last_cache: Callable[[], DynamicCache | None] = lambda: None

    def forward(self, input_ids: torch.Tensor, past_key_values: DynamicCache, use_cache: bool) -> _Output:
        self.forwards += 1
        self.last_cache = weakref.ref(past_key_values)
        if input_ids.shape[1] > 1:
            self.prompts.append(int(input_ids[0, 0]))
        self.began.release()
        if not self.free_run:
            assert self.allowed.acquire(timeout=TIMEOUT_S)
        if self.error is not None:
            raise self.error
        last = int(input_ids[0, -1])
        following = last + 1 if last >= 10 else 10
        return _Output(torch.nn.functional.one_hot(torch.tensor([[following]]), 1510).float())

    def wait_for_forward(self) -> None:
        assert self.began.acquire(timeout=TIMEOUT_S)


class _Config:
    def get_text_config(self, decoder: bool) -> None:
        return None


class _Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(GOLDEN / "tokenizer")


@pytest.fixture
def model() -> GatedModel:
    return GatedModel()


@pytest.fixture
def worker(model, tokenizer) -> Iterator[Worker]:
    made = Worker(model, tokenizer, frozenset({2}))
    yield made
    model.free_run = True
    model.allowed.release(1000)
    made.close()


def _stream(worker: Worker, *, first: int = 1, max_tokens: int = 4, **options) -> Stream:
    return Stream(worker, [first, *PROMPT], Options(max_tokens, **options))


class Reader(threading.Thread):
    """Reads a stream in a thread of its own."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.pieces: list[Piece] = []
        self.error: RagkitError | None = None
        self.start()

    def run(self) -> None:
        try:
            for piece in self.stream:
                self.pieces.append(piece)
        except RagkitError as error:
            self.error = error

    def end(self) -> Reader:
        self.join(TIMEOUT_S)
        assert not self.is_alive()
        return self


def test_an_answer_comes_in_pieces_and_the_last_one_says_why_it_ended(model, worker):
    model.free_run = True
    pieces = list(_stream(worker, max_tokens=3))
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert (pieces[-1].finish, pieces[-1].tokens) == ("length", 3)


def test_requests_are_served_one_at_a_time_in_the_order_of_their_arrival(model, worker):
    readers = [Reader(_stream(worker, first=100))]
    model.wait_for_forward()  # the first has the model
    for first in (101, 102, 103, 104):
        reader = Reader(_stream(worker, first=first))
        while worker._requests.qsize() < first - 100:  # until it stands in the queue
            reader.join(0.001)
        readers.append(reader)
    model.allowed.release(1000)
    assert all(reader.end().pieces[-1].finish == "length" for reader in readers)
    assert model.prompts == [100, 101, 102, 103, 104]


def test_a_stream_that_is_closed_leaves_the_model_after_the_forward_that_runs(model, worker):
    pieces = iter(_stream(worker, max_tokens=1000))
    model.allowed.release(3)
    next(pieces)
    for _ in range(4):
        model.wait_for_forward()  # the fourth is running now, and waits
    pieces.close()
    after = Reader(_stream(worker, first=101, max_tokens=1))
    model.allowed.release(2)
    assert after.end().pieces[-1].finish == "length"
    assert model.forwards == 5  # the fourth, and the one of the next request


def test_a_request_that_waits_can_be_given_up_and_its_reader_returns_at_once(model, worker):
    running = Reader(_stream(worker, first=100))
    model.wait_for_forward()
    waiting = Reader(_stream(worker, first=101))
    while not worker._requests.qsize():
        waiting.join(0.001)
    waiting.stream.request.cancel()
    assert waiting.end().pieces == [] and waiting.error is None  # while the first still has the model
    assert running.is_alive()
    model.allowed.release(1000)
    running.end()
    assert model.prompts == [100]


def test_a_stream_that_is_never_read_takes_no_place_in_the_queue(model, worker):
    model.free_run = True
    _stream(worker, first=100)
    assert list(_stream(worker, first=101))[-1].finish == "length"
    assert model.prompts == [101]


def test_an_error_of_the_model_is_raised_at_the_reader_and_the_next_request_is_served(model, worker):
    model.free_run = True
    model.error = ValueError("no such kernel")
    with pytest.raises(GenerationError, match="ValueError: no such kernel") as caught:
        list(_stream(worker))
    assert isinstance(caught.value.__cause__, ValueError)
    model.error = None
    assert list(_stream(worker))[-1].finish == "length"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_has_its_own_words(model, worker, error):
    model.free_run, model.error = True, error
    with pytest.raises(GenerationError, match="memory ran out") as caught:
        list(_stream(worker))
    assert "4bit" in caught.value.hint


def test_an_error_keeps_none_of_the_tensors_alive(model, worker):
    model.free_run, model.error = True, ValueError("broken")
    with pytest.raises(GenerationError) as caught:
        list(_stream(worker))
    assert caught.value.__cause__ is model.error
    assert model.last_cache() is None


def test_a_stop_string_ends_the_generation_itself(model, worker, tokenizer):
    model.free_run = True
    words = [tokenizer.decode([token]) for token in range(10, 20)]
    pieces = list(_stream(worker, max_tokens=1000, stop=(words[3] + words[4],)))
    assert "".join(piece.text for piece in pieces) == "".join(words[:3])
    assert pieces[-1].finish == "stop" and model.forwards == 5


def test_closing_ends_the_running_request_and_the_waiting_ones_with_an_error(model, worker):
    readers = [Reader(_stream(worker, max_tokens=1000))]
    model.wait_for_forward()
    readers.append(Reader(_stream(worker)))
    while not worker._requests.qsize():
        readers[1].join(0.001)
    worker.shutdown()
    model.allowed.release(1)
    for reader in readers:
        assert isinstance(reader.end().error, ModelError)
    assert model.forwards == 1
    with pytest.raises(ModelError, match="unloaded"):
        list(_stream(worker))


def test_closing_lets_the_model_go(model, tokenizer):
    made = Worker(model, tokenizer, frozenset({2}))
    model.free_run = True
    list(_stream(made))
    made.close()
    made.close()  # twice does no harm
    assert made._model is None and not made._thread.is_alive()


def test_closing_a_worker_that_never_ran_does_not_wait(model, tokenizer):
    Worker(model, tokenizer, frozenset({2})).close()


# On an event loop


def _run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))


def test_the_event_loop_runs_on_while_a_forward_takes_its_time(model, worker):
    async def read() -> int:
        stream = AsyncStream(worker, PROMPT, Options(max_tokens=3))
        reading = asyncio.ensure_future(_collect(stream))
        beats = 0
        while not reading.done():
            await asyncio.sleep(0)
            beats += 1
            if beats % 50 == 0:
                model.allowed.release()  # a forward ends only after the loop has turned 50 times more
        assert (await reading)[-1].finish == "length"
        return beats

    assert _run(read()) >= 150


def test_a_task_that_is_cancelled_leaves_the_model(model, worker):
    async def read() -> None:
        task = asyncio.ensure_future(_collect(AsyncStream(worker, PROMPT, Options(max_tokens=1000))))
        await asyncio.to_thread(model.wait_for_forward)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    _run(read())
    after = Reader(_stream(worker, first=101, max_tokens=1))
    model.allowed.release(2)
    after.end()
    assert model.forwards == 2


def test_an_error_is_raised_on_the_event_loop_too(model, worker):
    async def read() -> None:
        await _collect(AsyncStream(worker, PROMPT, Options(max_tokens=3)))

    model.free_run, model.error = True, ValueError("broken")
    with pytest.raises(GenerationError, match="broken"):
        _run(read())


def test_a_loop_that_is_closed_under_an_answer_stops_it(model, worker):
    async def leave() -> AsyncStream:
        stream = AsyncStream(worker, PROMPT, Options(max_tokens=1000))
        worker.submit(stream.request)
        await asyncio.to_thread(model.wait_for_forward)
        return stream

    stream = _run(leave())
    model.allowed.release(2)
    assert stream.request.stop.wait(TIMEOUT_S)
    after = Reader(_stream(worker, first=101, max_tokens=1))
    model.allowed.release(2)
    after.end()
    assert model.forwards <= 4


async def _collect(stream: AsyncStream) -> list[Piece]:
    return [piece async for piece in stream]
