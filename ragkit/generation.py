"""Tokens out of a causal model, and text out of tokens.

Prefill goes in slices, and a look at the stop flag precedes every forward and every layer of a slice. What a prefix
holds is not read again, and what an answer copies is guessed and checked several tokens at a time. Knows nothing of
threads, chats or LlamaIndex.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ragkit.kv_cache import new_cache
from ragkit.lookup import MOST, Lookup
from ragkit.pace import ROW_COST, Pace
from ragkit.prefix_cache import Marks, Prefix, slices

# Prompt tokens in one forward. 4-bit weights are de-quantised once in it: fewer tokens pay more for that, more take
# more memory, and are read anew where a prompt of a conversation differs.
SLICE = 512
_PROBED_LAYERS = 3  # behind the first one, which prepares the kernels


@dataclass(frozen=True, slots=True)
class Options:
    """How one answer is generated. Temperature 0 takes the likeliest token each time."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    lookup: bool = True  # guess what an answer copies
    conversation: str = field(default="", repr=False)  # the secret key of what may be kept; "": nothing is


def new_prefix(model: PreTrainedModel) -> Prefix:
    """Return an empty one for this model."""
    return Prefix(new_cache(model))


def generate_tokens(
    model: PreTrainedModel,
    prompt: Sequence[int],
    options: Options,
    end_ids: frozenset[int],
    stopped: Callable[[], bool],
    *,
    prefix: Prefix | None = None,
    marks: Marks = Marks(),  # noqa: B008 - frozen
    row_cost: float = ROW_COST,
) -> Iterator[int]:
    """Yield new tokens until an end token, which is not yielded, `max_tokens` or `stopped()`.

    Greedy tokens are those of `model.generate`. That is not used: between two of its forwards of a long prompt
    nothing can stop it, and its own lookup goes wrong with a warm cache (transformers 5.23).

    With a `prefix` the tokens are the same, bit by bit: see `prefix_cache`. Guessed tokens are those without guessing
    as far as a row of logits is the same whether it is computed alone or with others. It is, but for the last bits:
    in fp32 two tokens would have to be within about 1e-5 of each other, in 16 bits within the rounding that every
    forward has, for the other one to be chosen. A sampled token is drawn from its own row, in order, with the one
    random generator, so the same holds for a seed.
    """
    choose = _Chooser(options, model.device)
    prefix = new_prefix(model) if prefix is None else prefix
    rows = read(model, prompt, slices(prompt, marks, SLICE), prefix, stopped)
    if rows is None:
        return
    prefix.answering = (len(prompt), rows)
    ids = torch.tensor([list(prompt)], device=model.device)  # (1, length)
    most_ids = steady_length(model) or sys.maxsize
    lookup = Lookup(prompt, row_cost) if options.lookup and prefix.can_be_cut else None
    guessed: list[int] = []
    left = options.max_tokens
    while True:
        for at, row in enumerate(rows[:, None]):  # after the last token, and after each guessed one
            token = choose(ids, row)
            if token in end_ids:
                return
            yield token
            left -= 1
            if not left or stopped():
                return
            ids = torch.cat((ids, torch.tensor([[token]], device=model.device)), dim=1)
            if lookup:
                lookup.add(token)
            if guessed[at : at + 1] != [token]:  # the rows behind it follow another token
                break
        if wrong := len(guessed) - at:
            prefix.cache.crop(-wrong)
        guessed = lookup.guess(min(left - 1, most_ids - ids.shape[1])) if lookup else []
        new = torch.tensor([[token, *guessed]], device=model.device)
        rows = forward(model, new, prefix.cache, rows=new.shape[1])


def read(
    model: PreTrainedModel,
    ids: Sequence[int],
    ends: Sequence[int],
    prefix: Prefix,
    stopped: Callable[[], bool],
) -> torch.Tensor | None:
    """Read a prompt in forwards up to `ends`, but for what `prefix` holds of it, and into `prefix`.

    Return the logits after its last token, (1, vocabulary); None when it was stopped before.
    """
    prefix.cut(prefix.shared(ids, ends))
    logits = prefix.answering[1] if prefix.answering and len(prefix.ids) == len(ids) else None
    with _stopping(model, stopped):
        for end in ends[len(prefix.ends) :]:
            if stopped():
                return None
            part = list(ids[len(prefix.ids) : end])
            try:
                logits = forward(model, torch.tensor([part], device=model.device), prefix.cache)
            except _Stopped:
                prefix.cut(len(prefix.ids))
                return None
            prefix.ids += part
            prefix.ends.append(end)
    return logits


def _layers(model: PreTrainedModel) -> Sequence[torch.nn.Module]:
    """The layers that a token goes through one after another: the outermost list, for a layer may hold experts."""
    return next((list(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList)), [])


class _Stopped(Exception):
    """A forward was given up."""


@contextmanager
def _stopping(model: PreTrainedModel, stopped: Callable[[], bool]) -> Iterator[None]:
    """Give a forward up before a layer: a slice takes a CPU up to 20 s, one of its layers less than one."""

    def look(*_: object) -> None:
        if stopped():
            raise _Stopped

    hooks = [layer.register_forward_pre_hook(look) for layer in _layers(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def probe(model: PreTrainedModel, pace: Pace) -> None:
    """Measure how fast a model reads, and what a guessed token costs beside one that is not guessed.

    With a whole slice, for fewer tokens are read at a lower rate (with 4-bit weights 64 at half of it), but only by a
    few layers: on a CPU a second or two.
    """

    def seconds(tokens: int) -> float:
        started = time.perf_counter()
        ids = torch.zeros((1, tokens), dtype=torch.long, device=model.device)
        forward(model, ids, new_cache(model), rows=tokens).argmax().item()  # waits for a GPU
        return time.perf_counter() - started

    # First the few rows: the first forward of many also prepares the kernels.
    several, one = (min(seconds(tokens) for _ in range(3)) for tokens in (MOST + 1, 1))
    pace.row_cost = max(0.0, several / one - 1) / MOST

    began: list[float] = []  # the forward, its first layer, its second and so on

    def enough() -> bool:
        if model.device.type != "cpu":
            torch.accelerator.synchronize()
        began.append(time.perf_counter())
        return len(began) == 3 + _PROBED_LAYERS

    if read(model, [0] * SLICE, [SLICE], new_prefix(model), enough) is not None:
        enough()  # there are no more layers
    layers = len(_layers(model))
    each = (began[-1] - began[2]) / (len(began) - 3) if layers > 1 else began[-1] - began[0]
    pace.took(SLICE, each * max(layers, 1))


def steady_length(model: PreTrainedModel) -> int | None:
    """Up to which length a position's rotation does not depend on what comes after it; None: at any.

    Beyond it ("dynamic" and "longrope") a forward of several tokens is another computation than several of one.
    """
    config = model.config.get_text_config(decoder=True)
    ropes: Any = getattr(config, "rope_parameters", None) or {}
    each = [rope for rope in ropes.values() if isinstance(rope, dict)] or [
        ropes
    ]  # one a kind of layer, or one
    return min(
        (
            int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
            for rope in each
            if rope.get("rope_type") in ("dynamic", "longrope")
        ),
        default=None,
    )


@torch.inference_mode()
def forward(model: PreTrainedModel, ids: torch.Tensor, cache: DynamicCache, *, rows: int = 1) -> torch.Tensor:
    """Compute the logits after the last `rows` of `ids`, (rows, vocabulary) in fp32, and add their keys to the cache."""
    # As few as are wanted: 256 rows of 92,544 fp32 numbers would be 95 MB a slice.
    only_last = (
        {"logits_to_keep": rows} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    )
    output: Any = model(input_ids=ids, past_key_values=cache, use_cache=True, **only_last)
    logits: torch.Tensor = output.logits[0, -rows:].to(torch.float32, copy=True)
    return logits


class _Chooser:
    """Logits -> token, by transformers' own processors in the order of `generate`."""

    def __init__(self, options: Options, device: torch.device) -> None:
        self._sample = options.temperature > 0
        self._processors: Any = LogitsProcessorList()
        if options.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(options.repetition_penalty))
        if not self._sample:
            return
        self._random = torch.Generator(device)
        if options.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(options.seed)
        if options.temperature != 1:
            self._processors.append(TemperatureLogitsWarper(options.temperature))
        if options.top_k:
            self._processors.append(TopKLogitsWarper(options.top_k))
        if options.top_p < 1:
            self._processors.append(TopPLogitsWarper(options.top_p))

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> int:
        scores = self._processors(ids, logits)
        if not self._sample:
            return int(scores.argmax(-1))
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))


class Detokeniser:
    """Tokens -> text piece by piece; the pieces together are the text of the whole.

    Each step decodes a short window twice, with and without the new tokens: what a token looks like can depend on
    the one before it (a leading space, the bytes of one character). Never raises, unlike tokenizers' DecodeStream.
    """

    # Tokens that may wait for the rest of a character. One of four bytes needs three more; what is longer is no
    # beginning of a character but a broken one, or a real U+FFFD.
    _PATIENCE = 8

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # the window: everything before it is finished
        self._context = 0  # so many of them were finished before, and are kept for what follows
        self._context_chars = 0
        self._sent = 0  # characters of the window's text

    def step(self, token: int) -> str:
        """Take one token; return the text that is certain now."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if text.endswith("\ufffd") and len(self._ids) - self._context < self._PATIENCE:
            return self._send(text.rstrip("\ufffd"))
        piece = self._send(text)
        if len(text) > self._context_chars:  # never an empty context: the window's first space is dropped
            self._ids = self._ids[self._context :]
            self._context = len(self._ids)
            self._context_chars = self._sent = len(self._decode(self._ids))
        return piece

    def finish(self) -> str:
        """Return what waited for a rest that does not come."""
        return self._send(self._decode(self._ids))

    def _send(self, text: str) -> str:
        piece = text[self._sent :]
        self._sent += len(piece)
        return piece

    def _decode(self, ids: list[int]) -> str:
        # Cleaning up would glue "a !" into "a!" after the space has been sent.
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


class StopStrings:
    """Cuts a stream before the first stop string, also one that comes in several pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """Return the text that cannot belong to a stop string, and whether one was met."""
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """Return what was held back when no stop string came of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
