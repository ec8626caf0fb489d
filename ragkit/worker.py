"""The thread that runs a model, and the streams in which others read what it makes.

Requests are served one at a time in the order of their arrival. Giving one up only sets a flag: at most one more
token (with those guessed after it) or one layer of a slice is computed, then the next request has the model. Between
the requests of a conversation the thread keeps what was read. Knows nothing of chats.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import queue
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ragkit.errors import GenerationError, ModelError, RagkitError
from ragkit.generation import (
    SLICE,
    Detokeniser,
    Options,
    StopStrings,
    generate_tokens,
    new_prefix,
    read,
    steady_length,
)
from ragkit.memory import free_bytes, is_out_of_memory, release_memory
from ragkit.pace import Pace
from ragkit.prefix_cache import Marks, PrefixCaches, slices

logger = logging.getLogger(__name__)
Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an answer. The last piece of each answer, and only that, has `finish`."""

    text: str
    tokens: int  # generated so far
    finish: Finish | None = None


Item = Piece | BaseException


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that is wanted. `sink` takes its items from any thread; it neither waits nor raises."""

    prompt: tuple[int, ...]
    options: Options
    sink: Callable[[Item], None]
    stop: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Give up, from any thread; never waits. Whoever reads the sink is woken."""
        self.stop.set()
        self.sink(Piece("", 0, "cancelled"))


class Worker:
    """The one thread that runs a model: first come, first served.

    One thread and not one a request: torch gives every thread that computes an OpenMP pool of its own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        end_ids: frozenset[int],
        marks: Marks = Marks(),  # noqa: B008 - frozen
    ) -> None:
        self._model: PreTrainedModel | None = model
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._marks = marks
        device = model.device
        self.kept = PrefixCaches(lambda: free_bytes(device))
        self._most_kept = steady_length(model)
        self.pace = Pace()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._resting = threading.Event()  # set while the thread waits for a request

    def submit(self, request: Request) -> None:
        """Let the request join the queue."""
        with self._lock:
            if self._closing.is_set():
                raise _unloaded()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ragkit-llm", daemon=True)
                self._thread.start()
                # A thread inside torch while the interpreter goes down ends in abort() ("terminate called without
                # an active exception"), or never: it is waited for, one forward at most.
                atexit.register(self.close)
            self._requests.put(request)

    def unread(self, conversation: str, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt would have to be read now. From any thread."""
        return self.kept.unread(conversation, prompt, slices(prompt, self._marks, SLICE))

    def shutdown(self) -> None:
        """End after at most one more forward; requests that are open get an error. Does not wait."""
        self._closing.set()
        self._requests.put(None)

    def close(self) -> None:
        """Shut down, wait for the thread and let the model go."""
        self.shutdown()
        with self._lock:
            thread = self._thread
        if thread and thread is not threading.current_thread():
            thread.join()
        self._model = None
        self.kept.clear()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._resting.set()
            request = self._requests.get()
            self._resting.clear()
            if request is not None:
                self._serve(request)
            request = None  # else the last prompt and its reader stay alive until the next request
        with self._lock:  # after it nothing is submitted any more
            self._model = None
        self.kept.clear()
        atexit.unregister(self.close)
        while not self._requests.empty():
            if (waiting := self._requests.get()) is not None:
                waiting.sink(_unloaded())

    def _serve(self, request: Request) -> None:
        try:
            if not request.stop.is_set():
                self._generate(request)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader must not wait for ever
            ours = as_ragkit_error(error)
            _free(error)
            request.sink(ours)

    def _generate(self, request: Request) -> None:
        """Answer; once more where the memory ran out before the first word, and kept prefixes took some of it."""
        self.kept.relieve()
        sent = False

        def sink(piece: Piece) -> None:
            nonlocal sent
            sent = True
            request.sink(piece)

        try:
            self._answer(request, sink)
        except Exception as error:
            if not is_out_of_memory(error) or not self.kept.clear() or sent:
                raise
            _free(error)
            self._answer(request, sink)

    def _answer(self, request: Request, sink: Callable[[Piece], None]) -> None:
        assert self._model is not None
        options, prompt = request.options, request.prompt
        model, key = self._model, options.conversation
        if self._most_kept and len(prompt) + options.max_tokens > self._most_kept:
            key = ""  # beyond it, what a key is may depend on what was computed before
        prefix = (self.kept.take(key) if key else None) or new_prefix(model)
        ends = slices(prompt, self._marks, SLICE)
        unread = len(prompt) - prefix.shared(prompt, ends)
        try:
            said: list[int] = []
            started = time.perf_counter()
            tokens = generate_tokens(
                model,
                prompt,
                options,
                self._end_ids,
                lambda: self._is_over(request),
                prefix=prefix,
                marks=self._marks,
                row_cost=self.pace.row_cost,
            )
            text, stops = Detokeniser(self._tokenizer), StopStrings(options.stop)
            met = whole = False
            for token in tokens:
                if not said:
                    self.pace.took(unread, time.perf_counter() - started)
                said.append(token)
                piece, met = stops.feed(text.step(token))
                if met:
                    sink(Piece(piece, len(said), "stop"))
                    break
                if piece:
                    sink(Piece(piece, len(said)))
            if not met:
                if self._closing.is_set():
                    raise _unloaded()
                rest, met = stops.feed(text.finish())
                whole = not request.stop.is_set()  # a reader that has the last piece sets it too
                finish: Finish = "length" if len(said) == options.max_tokens and not met else "stop"
                sink(Piece(rest if met else rest + stops.finish(), len(said), finish))
        except BaseException:
            self.kept.forget(key)
            raise
        if key:
            prefix.cut(len(prefix.ids))
            if self.kept.keep(key, prefix) and whole:
                self._read_on(key, [*prompt, *said])

    def _read_on(self, key: str, ids: list[int]) -> None:
        """Read an answer as the conversation's next prompt will hold it, while nobody waits: its user reads it too."""
        model, closing = self._model, self._marks.closing
        if model is None or closing is None:
            return
        ids.append(closing)
        # One more token, whichever: then the end before it is not that of a prompt, and the next prompt has it too.
        *ends, _ = slices([*ids, 0], self._marks, SLICE)
        prefix = self.kept.take(key)
        if prefix is None:  # forgotten a moment ago
            return
        try:
            if ends:
                read(model, ids, ends, prefix, self._is_wanted)
            self.kept.keep(key, prefix)
        except (RuntimeError, MemoryError) as error:  # the answer is out: nobody is to learn of it
            logger.info("an answer was not read on: %s", type(error).__name__)
            self.kept.forget(key)
            self.kept.clear()
            _free(error)

    def _is_over(self, request: Request) -> bool:
        return request.stop.is_set() or self._closing.is_set()

    def _is_wanted(self) -> bool:
        return not self._requests.empty()  # a request, or the sign to close


def _free(error: BaseException) -> None:
    """Let go of what the frames of an error hold: the KV cache, as long as its reader holds the error."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    if is_out_of_memory(error):
        release_memory()


class Stream:
    """The pieces of one answer, read in any thread but the worker's. The first read joins the queue."""

    def __init__(self, worker: Worker, prompt: Sequence[int], options: Options) -> None:
        self._worker = worker
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.request = Request(tuple(prompt), options, self._items.put)

    def __iter__(self) -> Iterator[Piece]:
        self._worker.submit(self.request)
        try:
            while piece := _checked(self._items.get()):
                yield piece
                if piece.finish:
                    return
        finally:
            self.request.stop.set()


class AsyncStream:
    """The same on an event loop, which never waits: the worker's thread wakes it."""

    def __init__(self, worker: Worker, prompt: Sequence[int], options: Options) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self.request = Request(tuple(prompt), options, self._put)

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        self._worker.submit(self.request)
        try:
            while piece := _checked(await self._items.get()):
                yield piece
                if piece.finish:
                    return
        finally:
            self.request.stop.set()

    def _put(self, item: Item) -> None:
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody reads any more
            self.request.stop.set()


def _checked(item: Item) -> Piece | None:
    """Raise what the worker met; None when the request was given up."""
    if isinstance(item, BaseException):
        raise item
    return None if item.finish == "cancelled" else item


def _unloaded() -> ModelError:
    return ModelError("the language model was unloaded", "Load it again, then ask again.")


def as_ragkit_error(error: BaseException) -> RagkitError:
    """Translate what a forward raised."""
    if isinstance(error, RagkitError):
        return error
    if is_out_of_memory(error):
        ours = GenerationError(
            "the memory ran out while the model was answering",
            "Ask with fewer or shorter passages, close other programs, or load the model with --precision 4bit.",
        )
    else:
        logger.warning("generation failed", exc_info=error)
        ours = GenerationError(
            f"the model failed while it was answering: {type(error).__name__}: {error}",
            "Ask again; if it happens again, load the model anew or choose another precision.",
        )
    ours.__cause__ = error
    return ours
