"""What the worker keeps between the answers of a conversation, and when it lets go of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from transformers import DynamicCache

from ragkit.errors import GenerationError
from ragkit.generation import SLICE, Options
from ragkit.internlm2_tokenizer import load_tokenizer
from ragkit.prefix_cache import Marks
from ragkit.worker import Piece, Stream, Worker
from tests.test_worker import TIMEOUT_S, Reader
from tests.test_worker import _Config as Config
from tests.test_worker import _Output as Output
from tests.tiny import GOLDEN


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(GOLDEN / "tokenizer")


class RoomyModel(torch.nn.Module):
    """Says 10 for ever, keeps keys like a model, and may run out of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.config = Config()
        self.lengths: list[int] = []
        self.errors: list[BaseException] = []  # of the next forwards
        self.began, self.allowed = threading.Event(), threading.Event()
        self.allowed.set()

    def forward(self, input_ids: torch.Tensor, past_key_values: DynamicCache, use_cache: bool) -> Output:
        count = input_ids.shape[1]
        self.began.set()
        assert self.allowed.wait(TIMEOUT_S)
        if self.errors:
            raise self.errors.pop(0)
        self.lengths.append(count)
        rows = torch.zeros(1, 1, count, 2)
        past_key_values.update(rows, rows, 0)
        return Output(torch.nn.functional.one_hot(torch.full((1, count), 10), 1510).float())


@pytest.fixture
def roomy() -> RoomyModel:
    return RoomyModel()


@pytest.fixture
def keeper(roomy, tokenizer) -> Iterator[Worker]:
    made = Worker(roomy, tokenizer, frozenset({2}), Marks((5,), 6))
    yield made
    roomy.allowed.set()
    made.close()


def _prompt_of(length: int) -> list[int]:
    return [*[1] * (length - 1), 5]


def _ask(worker: Worker, prompt: list[int], key: str = "k", tokens: int = 1, **options) -> list[Piece]:
    return list(Stream(worker, prompt, Options(tokens, conversation=key, lookup=False, **options)))


def _settle(worker: Worker) -> None:
    """Wait until the answer was kept, and read on."""
    assert worker._resting.wait(TIMEOUT_S)


def test_the_next_prompt_of_a_conversation_is_read_from_where_it_differs(roomy, keeper):
    _ask(keeper, _prompt_of(300))
    _settle(keeper)
    roomy.lengths.clear()
    assert keeper.unread("k", [*_prompt_of(300), *[7] * 50, 5]) == 51
    _ask(keeper, [*_prompt_of(300), *[7] * 50, 5])
    assert roomy.lengths == [51]
    roomy.lengths.clear()
    _ask(keeper, [*_prompt_of(300), *[7] * 50, 5], key="other")
    assert roomy.lengths == [300, 51]


def test_an_answer_that_was_stopped_keeps_what_was_read_of_its_prompt(roomy, keeper):
    roomy.allowed.clear()
    prompt = _prompt_of(2 * SLICE + 88)
    reader = Reader(Stream(keeper, prompt, Options(1, conversation="k")))
    assert roomy.began.wait(TIMEOUT_S)  # in the first slice
    reader.stream.request.cancel()
    roomy.allowed.set()
    reader.end()
    _settle(keeper)
    assert keeper.unread("k", prompt) == SLICE + 88
    roomy.lengths.clear()
    _ask(keeper, prompt)
    assert roomy.lengths == [SLICE, 88]


def test_a_prompt_that_was_answered_is_answered_again_without_reading(roomy, keeper):
    first = _ask(keeper, _prompt_of(300), tokens=40)
    _settle(keeper)
    assert keeper.unread("k", _prompt_of(300)) == 0
    roomy.lengths.clear()
    assert _ask(keeper, _prompt_of(300), tokens=40) == first
    _settle(keeper)
    assert roomy.lengths == [*[1] * 39, 41]  # the answer's own, and the one that reads it on


def test_without_a_key_nothing_is_kept(roomy, keeper):
    _ask(keeper, _prompt_of(300), key="")
    _settle(keeper)
    assert keeper.kept.held_bytes() == 0 and keeper.unread("", _prompt_of(300)) == 300


def test_what_is_forgotten_while_it_is_answered_is_not_kept(roomy, keeper):
    roomy.allowed.clear()
    reader = Reader(Stream(keeper, _prompt_of(300), Options(1, conversation="k")))
    assert roomy.began.wait(TIMEOUT_S)
    keeper.kept.forget("k")
    roomy.allowed.set()
    assert reader.end().pieces[-1].finish == "length"
    _settle(keeper)
    assert keeper.kept.held_bytes() == 0


OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"


def test_memory_that_runs_out_is_taken_from_what_is_kept_and_the_answer_comes(roomy, keeper):
    """What ragkit kept for later must not be what an answer fails by."""
    _ask(keeper, _prompt_of(300), key="other")
    _settle(keeper)
    roomy.errors.append(RuntimeError(OUT_OF_MEMORY))
    assert _ask(keeper, _prompt_of(100), key="k")[-1].finish == "length"
    _settle(keeper)
    assert keeper.unread("other", _prompt_of(301)) == 301
    assert keeper.unread("k", _prompt_of(100)) <= 100


def test_memory_that_runs_out_twice_is_an_error_and_nothing_is_kept(roomy, keeper):
    _ask(keeper, _prompt_of(300), key="other")
    _settle(keeper)
    roomy.errors += [RuntimeError(OUT_OF_MEMORY)] * 2
    with pytest.raises(GenerationError, match="memory ran out"):
        _ask(keeper, _prompt_of(100))
    assert keeper.kept.held_bytes() == 0


def test_memory_that_runs_out_after_the_last_word_costs_no_answer(roomy, keeper):
    forward, read_on = roomy.forward, list[int]()

    def failing(input_ids: torch.Tensor, **kwargs: object) -> Output:
        if input_ids.shape[1] == 61:  # the answer and its end
            read_on.append(61)
            raise RuntimeError(OUT_OF_MEMORY)
        return forward(input_ids=input_ids, **kwargs)

    roomy.forward = failing  # type: ignore[method-assign]
    assert _ask(keeper, _prompt_of(100), tokens=60)[-1].tokens == 60
    _settle(keeper)
    assert read_on and keeper.kept.held_bytes() == 0
    del roomy.forward
    assert _ask(keeper, _prompt_of(100), tokens=60)[-1].tokens == 60


def test_an_answer_is_read_on_only_while_nobody_waits(roomy, keeper):
    """Else the next one would wait for what only this one is served by."""
    _ask(keeper, _prompt_of(100), tokens=2 * SLICE + 88)
    _settle(keeper)
    assert roomy.lengths[-3:] == [SLICE, SLICE, 89]
    roomy.lengths.clear()
    roomy.allowed.clear()
    first = Reader(Stream(keeper, _prompt_of(100), Options(2 * SLICE + 88, conversation="k", lookup=False)))
    assert roomy.began.wait(TIMEOUT_S)
    waiting = Reader(Stream(keeper, [1, 2, 3], Options(1)))
    while not keeper._requests.qsize():
        waiting.join(0.001)
    roomy.allowed.set()
    first.end()
    waiting.end()
    _settle(keeper)
    assert roomy.lengths[-2:] == [1, 3]


def test_closing_drops_what_is_kept(roomy, keeper):
    _ask(keeper, _prompt_of(300))
    _settle(keeper)
    assert keeper.kept.held_bytes() == 300 * 16 + 1510 * 4  # keys and values, and the logits of the prompt
    keeper.close()
    assert keeper.kept.held_bytes() == 0


def test_a_prompt_that_was_read_tells_the_pace_and_one_that_was_kept_does_not_spoil_it(roomy, keeper):
    assert keeper.pace.tokens_per_s is None
    _ask(keeper, _prompt_of(300))
    _settle(keeper)
    measured = keeper.pace.tokens_per_s
    assert measured is not None
    _ask(keeper, [*_prompt_of(300), 7, 7])  # two tokens: no measure of reading
    assert keeper.pace.tokens_per_s == measured
