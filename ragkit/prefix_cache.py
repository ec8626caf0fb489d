"""The keys and values of what a conversation's prompts begin with, kept from one answer to the next.

An answer is the same with and without them, bit by bit, in every precision and with sampling too: what is kept was
computed by the very forwards that a prompt read from its first token would make (`slices`). So the tokens of an
answer, which came one by one, are not kept as they are but read once more, like a prompt: a forward of one row
rounds otherwise than one of many, in bf16 by enough to change a word. Knows no model and no thread but its lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import DynamicCache, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from ragkit.kv_cache import GrowingLayer

# Tokens that a forward over a prompt has at the least where it ends before the prompt does: each costs a pass over
# all weights.
LEAST = 32
MOST_BYTES = 1 << 30  # of all conversations together; of InternLM2-1.8B in fp32 about 5,000 tokens...
SHARE = 0.25  # ...and no more than this of the memory that would be free without them
LEAST_FREE_BYTES = 1 << 29  # with less than this, nothing is kept
_CAN_BE_CUT = (DynamicLayer, GrowingLayer)


@dataclass(frozen=True, slots=True)
class Marks:
    """How a chat template marks an answer in the ids of a prompt; empty where that is not known."""

    opening: tuple[int, ...] = ()  # right before it: every prompt ends with them
    closing: int | None = None  # right behind it


def find_marks(tokenizer: PreTrainedTokenizerBase) -> Marks:
    """Ask a chat template how it marks an answer; where it does so in another way than most, nothing is found."""

    def rendered(*contents: str, ask: bool = False) -> str:
        messages = [
            {"role": role, "content": text}
            for role, text in zip(("user", "assistant"), contents, strict=False)
        ]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))

    try:
        asked, bare, answered = rendered("a", ask=True), rendered("a"), rendered("a", "b")
    except (TemplateError, ValueError):  # ValueError: there is no template
        return Marks()
    if not (asked.startswith(bare) and len(asked) > len(bare) and answered.startswith(f"{asked}b")):
        return Marks()
    opening, behind = (
        tokenizer(text, add_special_tokens=False).input_ids
        for text in (asked[len(bare) :], answered[len(asked) + 1 :])
    )
    return Marks(tuple(opening), behind[0] if behind else None)


def slices(ids: Sequence[int], marks: Marks, most: int) -> list[int]:
    """Return where each forward over a prompt ends, the last at its length; none has more than `most` tokens.

    Where one ends follows from the tokens before its end alone: two prompts with the same beginning are read by the
    same forwards as far as that goes, wherever they part. Forwards end where an answer begins, for there an earlier
    prompt of the conversation ended, and behind each answer.
    """
    ends: list[int] = []
    at = 0
    for stop in (*_edges(ids, marks), len(ids)):
        if stop - at < LEAST and stop < len(ids):
            continue
        while at < stop:
            at = min(at + most, stop)
            ends.append(at)
    return ends


def _edges(ids: Sequence[int], marks: Marks) -> Iterator[int]:
    """Where answers begin and end."""
    length = len(marks.opening)
    answering = False
    for end in range(length, len(ids) + 1) if length else ():
        if answering and ids[end - 1] == marks.closing:
            yield end
            answering = False
        if ids[end - 1] == marks.opening[-1] and tuple(ids[end - length : end]) == marks.opening:
            yield end
            answering = True


class Prefix:
    """A cache, the tokens of a prompt that are in it, and where each forward over them ended.

    Behind them the cache may hold tokens of an answer, or what a forward that was given up left in some layers, until
    `cut`.
    """

    def __init__(self, cache: DynamicCache) -> None:
        self.cache = cache
        self.ids: list[int] = []
        self.ends: list[int] = []
        # The logits after a whole prompt, (1, vocabulary), and its length: asked again, nothing is to be read.
        self.answering: tuple[int, torch.Tensor] | None = None

    def shared(self, ids: Sequence[int], ends: Sequence[int]) -> int:
        """Return how many of the tokens serve a prompt that is to be read in forwards up to `ends`.

        All of a prompt only where its logits are kept: else the last forward is to give them.
        """
        kept = 0
        whole = self.answering[0] if self.answering else 0
        most = len(ids) if whole == len(ids) else len(ids) - 1
        for end, other in zip(self.ends, ends, strict=False):
            if end != other or end > most or self.ids[kept:end] != list(ids[kept:end]):
                break
            kept = end
        return kept

    def cut(self, length: int) -> None:
        """Forget all behind the first `length` tokens."""
        self.ids = self.ids[:length]
        self.ends = [end for end in self.ends if end <= length]
        if self.answering and self.answering[0] > length:
            self.answering = None
        for layer in self._layers:
            if type(layer) in _CAN_BE_CUT and (surplus := layer.get_seq_length() - length) > 0:
                layer.crop(-surplus)  # transformers 5.23 raises at a positive number

    @property
    def can_be_cut(self) -> bool:
        """Whether `cut` leaves exactly what stood there before: not where a layer forgets (sliding windows), sums
        up (linear attention) or packs (quantised caches); nor with nothing in it."""
        return bool(self._layers) and all(
            type(layer) in _CAN_BE_CUT and layer.get_seq_length() >= len(self.ids) for layer in self._layers
        )

    @property
    def size_bytes(self) -> int:
        """The memory that all this takes."""
        tensors = [
            tensor for layer in self._layers for tensor in (layer.keys, layer.values) if tensor is not None
        ]
        tensors += [self.answering[1]] if self.answering else []
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    @property
    def _layers(self) -> list[Any]:
        return self.cache.layers


class PrefixCaches:
    """The prefix of each conversation under its key, the least recently used first out.

    A key is a secret of its conversation. Nothing is ever found by what it says: from how soon an answer begins,
    nobody learns what others asked. One thread takes and keeps; the others look and forget.
    """

    def __init__(self, free_bytes: Callable[[], int]) -> None:
        """`free_bytes` gives the memory that is free where the model runs."""
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._kept: dict[str, Prefix] = {}
        self._lent: dict[str, Prefix | None] = {}

    def take(self, key: str) -> Prefix | None:
        """Lend the prefix of a conversation until `keep` or `forget`; None where there is none yet."""
        with self._lock:
            self._lent[key] = self._kept.pop(key, None)
            return self._lent[key]

    def keep(self, key: str, prefix: Prefix) -> bool:
        """Keep what a conversation has now, unless it was forgotten since `take`; whether it is kept."""
        with self._lock:
            if key not in self._lent:
                return False
            del self._lent[key]
            if not prefix.ids or not prefix.can_be_cut:
                return False
            self._kept[key] = prefix
            held, free = self._held_bytes(), self._free_bytes()
            limit = min(MOST_BYTES, int(SHARE * (free + held))) if free >= LEAST_FREE_BYTES else 0
            while self._kept and self._held_bytes() > limit:
                del self._kept[next(iter(self._kept))]
            return key in self._kept

    def unread(self, key: str, ids: Sequence[int], ends: Sequence[int]) -> int:
        """Return how many tokens of a prompt would have to be read."""
        with self._lock:
            prefix = self._kept.get(key) or self._lent.get(key)
            return len(ids) - (prefix.shared(ids, ends) if prefix else 0)

    def forget(self, key: str) -> None:
        """Drop what is kept of a conversation, also what is lent, once it comes back."""
        with self._lock:
            self._kept.pop(key, None)
            self._lent.pop(key, None)

    def relieve(self) -> None:
        """Drop everything when little memory is left."""
        if self._kept and self._free_bytes() < LEAST_FREE_BYTES:
            self.clear()

    def clear(self) -> bool:
        """Drop everything that is not lent; whether there was anything."""
        with self._lock:
            had_some = bool(self._kept)
            self._kept.clear()
            return had_some

    def held_bytes(self) -> int:
        """The memory that `clear` would give back."""
        with self._lock:
            return self._held_bytes()

    def _held_bytes(self) -> int:
        return sum(prefix.size_bytes for prefix in self._kept.values())
