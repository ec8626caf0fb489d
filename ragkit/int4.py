"""Linear layers whose weights are 4-bit numbers in groups, on a CPU with torch alone.

Owns the arithmetic: how a matrix is rounded, packed for torch's kernel and multiplied. Few rows go through torch's
int4 kernel; for many rows the weights are de-quantised block by block and multiplied as usual. Knows no model and no
file. bitsandbytes' NF4 decodes on a CPU at 2 x fp32 and prefills at .58 x; this is 3.4 x and about .9 x (facts, 9).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ragkit.load_plan import INT4_GROUP

# The kernel reads 32, 64, 128 or 256 weights a scale; a layer whose width is no multiple of 32 stays as it is.
_GROUPS = (INT4_GROUP, 32)
_ROWS = (
    16  # the kernel takes multiples of so many output rows: a vocabulary of 32,001 is filled up with zeros
)
_LEVELS = 15  # 0 to 15; the kernel counts from 8: weight = (number - 8) * scale + zero
_MIDDLE = 8
# Weights in one block of everything that goes block by block: 4 MB of fp32 stay in the processor's cache between
# being de-quantised and being multiplied (256 to 512 rows of 2,048 were the best of 64 to 8,192).
_BLOCK = 1 << 20
# Rounds of fitting scale and zero to the numbers they gave: 6 % less squared error each for the first two
# (tests/bench/int4.py), and a second of work for 100 million weights.
_REFITS = 2


def group_of(columns: int) -> int:
    """Weights that share a scale in a matrix of so many columns; 0 where none is possible."""
    return next((group for group in _GROUPS if columns % group == 0), 0)


def filled(rows: int) -> int:
    """The rows that the kernel wants for so many."""
    return -(-rows // _ROWS) * _ROWS


# Rounding


def quantise(weight: torch.Tensor, group: int, *, refits: int = _REFITS) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a (rows, columns) matrix to 4 bits; `columns` must be a multiple of `group`.

    Returns nibbles, uint8 (rows, columns / 2): the low half of byte j is column j, the high half column
    j + columns / 2, so that both halves unpack into runs; and the kernel's scales, bf16 (columns / group, rows filled
    up, 2): scale and zero. Works block by block: beside the result about 20 MB are in use, whatever the matrix.
    """
    rows, columns = weight.shape
    nibbles = torch.empty(rows, columns // 2, dtype=torch.uint8)
    scales = torch.zeros(columns // group, filled(rows), 2, dtype=torch.bfloat16)
    for at, end in _blocks(rows, columns, share=4):
        values = weight[at:end].float().view(end - at, columns // group, group)
        numbers, scale, zero = _rounded(values, refits)
        flat = numbers.view(end - at, columns).to(torch.uint8)
        nibbles[at:end] = flat[:, : columns // 2] | (flat[:, columns // 2 :] << 4)
        scales[:, at:end, 0] = scale[..., 0].T
        scales[:, at:end, 1] = zero[..., 0].T
    return nibbles, scales


def _rounded(values: torch.Tensor, refits: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return numbers 0 to 15, scale and zero of (..., groups, group) values, to the least squared error.

    The range of a group is cut evenly at first; then scale and zero are fitted to the numbers by least squares, and
    the numbers chosen anew. Scale and zero are rounded to bf16 before the numbers are chosen, so that what the
    kernel's precision loses is made up for.
    """
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    # A group of equal values has no range: any scale does, and the zero is the value.
    scale = _bf16((high - low) / _LEVELS).clamp_min_(torch.finfo(torch.bfloat16).tiny)
    zero = _bf16((high + low + scale) / 2)  # where the range's middle, 7.5, lies
    numbers = _numbers(values, scale, zero)
    mean = values.mean(-1, keepdim=True)
    for _ in range(refits):
        centre = numbers.mean(-1, keepdim=True)
        spread = numbers - centre
        fitted = (spread * values).sum(-1, keepdim=True) / spread.square().sum(-1, keepdim=True)
        # All numbers equal, or a slope of nothing: what there is stays.
        scale = torch.where(fitted > 0, _bf16(fitted), scale).clamp_min_(torch.finfo(torch.bfloat16).tiny)
        zero = _bf16(mean - scale * (centre - _MIDDLE))
        numbers = _numbers(values, scale, zero)
    return numbers, scale, zero


def _numbers(values: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    return (values - zero).div_(scale).round_().add_(_MIDDLE).clamp_(0, _LEVELS)


def _bf16(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().float()


def dequantise(nibbles: torch.Tensor, scales: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return the fp32 matrix, (rows, columns), in `out` where that is given; `scales` hold at least its rows."""
    rows, half = nibbles.shape
    if out is None:
        out = torch.empty(rows, 2 * half)
    torch.bitwise_and(nibbles, 15, out=(part := torch.empty_like(nibbles)))
    out[:, :half] = part
    torch.bitwise_right_shift(nibbles, 4, out=part)
    out[:, half:] = part
    scale, zero = scales[:, :rows].float().unbind(-1)  # each (groups, rows)
    zero = zero - _MIDDLE * scale
    out.view(rows, len(scale), -1).mul_(scale.T[..., None]).add_(zero.T[..., None])
    return out


def _blocks(rows: int, columns: int, *, share: int = 1) -> Iterator[tuple[int, int]]:
    """Where each block of rows begins and ends; all but the last are multiples of 64."""
    step = max(_BLOCK // share // max(columns, 1) // 64 * 64, 64)
    return ((at, min(at + step, rows)) for at in range(0, rows, step))


# Packing


@dataclass(frozen=True, slots=True)
class Layout:
    """How torch's kernel keeps `block` output rows: column by column, two rows a byte."""

    block: int
    neighbours: bool  # rows 0 and 1 share a byte; else row 0 and the one half a block below


# As ATen/native/cpu/int4mm_kernel.cpp of torch 2.13 has them, one for each instruction set.
_LAYOUTS = (Layout(64, False), Layout(32, False), Layout(32, True), Layout(16, True), Layout(64, True))


def pack(nibbles: torch.Tensor) -> torch.Tensor:
    """Return the nibbles in the layout of this processor's kernel, uint8 (rows filled up, columns / 2).

    torch's own op wants the whole matrix as int32 (758 MB for an output layer) and takes 31 s for 1.8B; moving bytes
    gives the same in 2 s. Which layout it is, a small sample tells; one that is not known is left to torch's op.
    """
    rows, half = nibbles.shape
    layout = _layout()
    packed = torch.empty(filled(rows), half, dtype=torch.uint8)
    for at, end in _blocks(rows, 2 * half):
        block = nibbles[at:end]
        whole = len(block) // layout.block * layout.block if layout else 0
        if layout and whole:
            packed[at : at + whole] = _moved(block[:whole], layout)
        if whole < len(block):
            packed[at + whole : filled(end)] = _packed_by_torch(block[whole:])
    return packed


def _moved(nibbles: torch.Tensor, layout: Layout) -> torch.Tensor:
    rows, half = nibbles.shape
    numbers = torch.cat((nibbles & 15, nibbles >> 4), dim=1)
    if layout.neighbours:
        first, second = numbers.view(-1, layout.block // 2, 2, 2 * half).unbind(2)
    else:
        first, second = numbers.view(-1, 2, layout.block // 2, 2 * half).unbind(1)
    return (first | second << 4).transpose(1, 2).reshape(rows, half)


def _packed_by_torch(nibbles: torch.Tensor) -> torch.Tensor:
    rows, half = nibbles.shape
    numbers = torch.zeros(filled(rows), 2 * half, dtype=torch.int32)
    numbers[:rows, :half] = nibbles & 15
    numbers[:rows, half:] = nibbles >> 4
    packed: torch.Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1)
    return packed


@functools.cache
def _layout() -> Layout | None:
    sample = torch.randint(0, 256, (128, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = _packed_by_torch(sample)
    return next((layout for layout in _LAYOUTS if torch.equal(_moved(sample, layout), theirs)), None)


# Multiplying


class Int4Linear(nn.Module):
    """A linear layer with 4-bit weights, for inference: x (..., columns) -> (..., rows) in x's dtype.

    `kernel_rows`: so many rows of x at once go through torch's kernel, in bf16 (fp16 and fp32 are 30 to 70 times
    slower there); more are multiplied with de-quantised weights in `product`. With 0 no packed copy is held.
    """

    scales: torch.Tensor
    nibbles: torch.Tensor
    packed: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(
        self,
        nibbles: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        kernel_rows: int,
        product: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.out_features, half = nibbles.shape
        self.in_features = 2 * half
        self.kernel_rows = kernel_rows
        self.product = product
        self.register_buffer("nibbles", nibbles)
        self.register_buffer("scales", scales)
        self.register_buffer("packed", pack(nibbles) if kernel_rows else None)
        self.register_buffer("bias", bias)

    def extra_repr(self) -> str:
        group = self.in_features // len(self.scales)
        return f"in_features={self.in_features}, out_features={self.out_features}, group={group}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, self.in_features)
        y = self._by_kernel(flat) if len(flat) <= self.kernel_rows else self._by_product(flat)
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _by_kernel(self, x: torch.Tensor) -> torch.Tensor:
        group = self.in_features // len(self.scales)
        y: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.bfloat16(), self.packed, group, self.scales
        )
        return y[:, : self.out_features]

    def _by_product(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.empty(len(x), self.out_features, dtype=x.dtype)
        x = x.to(self.product)
        blocks = list(_blocks(self.out_features, self.in_features))
        buffer = torch.empty(blocks[0][1], self.in_features)
        for at, end in blocks:
            weight = dequantise(self.nibbles[at:end], self.scales[:, at:end], buffer[: end - at])
            y[:, at:end] = x @ weight.to(self.product).T
        return y
