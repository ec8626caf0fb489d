"""What 4-bit weights are worth on this processor: one layer is timed, once a process, in about a second.

Only a timing tells: one thread has through torch's int4 kernel 2.3 x of an fp32 product at one row with AVX-512, 1.2
to 1.8 x with AVX2 and .04 x without either, and several have more, for they share the memory. Not kept in a file: a measurement that
something else disturbed would stay for ever.
"""

from __future__ import annotations

import copy
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from ragkit.int4 import Int4Linear, quantise
from ragkit.load_plan import INT4_GROUP, Int4Facts

_COLUMNS = 2048  # InternLM2-1.8B's width
_SHORT_ROWS = 1024  # as many as make a good sample where many rows are multiplied
_TIMES = 8  # of them are its feed-forward's 8,192: in fp32 64 MB, which no cache of a laptop holds
_COPIES = 4  # of the 4-bit layer in turn, for the same reason: 9 MB each
_MANY = 512  # rows of a slice of the prompt (generation.SLICE)
_STEPS = (1, 4, 8, 16, 32, 64, 128)
_ROUNDS = 5
# Of all threads: where others compute too, many are needed for one that is not disturbed.
_ROUNDS_TOGETHER = 30
# The processor time of this thread, which other programs take nothing of; Windows counts it in steps of 15 ms.
_CLOCK = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-5 else time.perf_counter


@functools.cache
@torch.inference_mode()
def timings(*, bf16: bool = False) -> Int4Facts:
    """Time the kernel, the de-quantised product and fp32. `bf16`: the processor has instructions for it, which are
    to be tried too: they make many rows 3 x as quick as fp32 on one processor, and slower than it on another."""
    # Any numbers do, and not all of them need be different.
    short = torch.linspace(-0.05, 0.05, _SHORT_ROWS * _COLUMNS).view(_SHORT_ROWS, _COLUMNS)
    rounded = quantise(short, INT4_GROUP, refits=0)
    ways = _one_row(short, *rounded)
    kernel_s, fp32_s = _times(ways, rounds=_ROUNDS_TOGETHER, clock=time.perf_counter)
    decode = fp32_s / kernel_s
    with _one_thread():
        kernel_s, fp32_s = _times(ways)
        decode = max(decode, fp32_s / kernel_s)  # threads that have to wait for each other show less
        del ways
        products = [torch.float32, torch.bfloat16] if bf16 else [torch.float32]
        layers = [Int4Linear(*rounded, kernel_rows=0, product=product) for product in products]
        many = torch.ones(_MANY, _COLUMNS)
        *product_s, plain_s = _times([*(partial(each, many) for each in layers), lambda: many @ short.T])
        by_product = layers[product_s.index(min(product_s))]
        by_kernel = Int4Linear(*rounded, kernel_rows=_MANY)
        kernel_rows = 0
        for rows in _STEPS:
            ours, other = _times([partial(by_kernel, many[:rows]), partial(by_product, many[:rows])])
            if ours > other:
                break
            kernel_rows = rows
    return Int4Facts(
        kernel_rows=kernel_rows,
        product="bfloat16" if by_product.product == torch.bfloat16 else "float32",
        decode=decode,
        prefill=plain_s / min(product_s),
    )


def _one_row(short: torch.Tensor, nibbles: torch.Tensor, scales: torch.Tensor) -> list[Callable[[], object]]:
    """One row through the kernel, and through an fp32 product, both from memory and not from a cache."""
    weight = short.repeat(_TIMES, 1)  # 64 MB
    first = Int4Linear(nibbles.repeat(_TIMES, 1), scales.repeat(1, _TIMES, 1), kernel_rows=1)
    turn = itertools.cycle([first, *(copy.deepcopy(first) for _ in range(_COPIES - 1))])
    one = torch.ones(1, _COLUMNS)
    return [lambda: next(turn)(one), lambda: one @ weight.T]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on this thread alone: where others compute too, threads that wait for each other measure only that.

    At many rows more threads change the ratios little; at one row they do, in favour of 4 bits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _times(
    ways: Sequence[Callable[[], object]], *, rounds: int = _ROUNDS, clock: Callable[[], float] = _CLOCK
) -> list[float]:
    """The best time of each in seconds, taken in turn: what disturbs one round disturbs all of them."""
    best = [float("inf")] * len(ways)
    for way in ways:
        way()
    for _ in range(rounds):
        for i, way in enumerate(ways):
            started = clock()
            way()
            best[i] = min(best[i], clock() - started)
    return best
