"""Linear layers whose weights are 4-bit numbers in groups, on a CPU with torch alone.

Owns the arithmetic: how a matrix is rounded, packed for torch's kernel and multiplied. Few rows go through torch's
int4 kernel; for many rows the weights are de-quantised block by block and multiplied as usual. Knows no model and no
file. How it compares with fp32 and with bitsandbytes' NF4, tests/bench/llm.py measures.
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
# Rounds of fitting scale and zero to the numbers they gave: 4 % less error for normal weights, 4.5 % for heavy tails
# (tests/bench/int4.py), for twice the work; more rounds bring little.
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
    j + columns / 2; and the kernel's scales, bf16 (columns / group, rows filled
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


def dequantise(nibbles: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the fp32 matrix, (rows, columns); `scales` hold at least its rows."""
    rows = len(nibbles)
    numbers = torch.cat((nibbles & 15, nibbles >> 4), dim=1).float()
    scale, zero = scales[:, :rows].float().unbind(-1)  # each (groups, rows)
    groups = numbers.view(rows, len(scale), -1)
    return ((groups - _MIDDLE) * scale.T[..., None] + zero.T[..., None]).view(numbers.shape)


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

    def halves(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split (..., rows) in the low and the high halves of the bytes, each (..., blocks, block / 2)."""
        pair = (self.block // 2, 2) if self.neighbours else (2, self.block // 2)
        split: torch.Tensor = numbers.unflatten(-1, (-1, *pair))  # type: ignore[no-untyped-call]
        low, high = split.unbind(-1 if self.neighbours else -2)
        return low, high


# As ATen/native/cpu/int4mm_kernel.cpp of torch 2.13 has them, one for each instruction set. Rows that are left over
# make a smaller block of neighbours in all of them.
_LAYOUTS = (Layout(64, False), Layout(32, False), Layout(32, True), Layout(16, True), Layout(64, True))


@functools.cache
def layout() -> Layout | None:
    """The layout of this processor's kernel, told by a small sample; None where it is none that is known here."""
    sample = torch.randint(0, 256, (176, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = _packed_by_torch(sample)
    return next((each for each in _LAYOUTS if torch.equal(_packed(sample, each), theirs)), None)


def pack(nibbles: torch.Tensor) -> torch.Tensor:
    """Return the nibbles as this processor's kernel wants them, uint8 (rows filled up, columns / 2).

    torch's own op takes the whole matrix as int32 (758 MB for an output layer) and 31 s for 1.8B; moving bytes gives
    the same in 2 s. It does the work where the layout is not known.
    """
    known = layout()
    return _packed(nibbles, known) if known else _packed_by_torch(nibbles)


def _packed(nibbles: torch.Tensor, layout: Layout) -> torch.Tensor:
    rows, half = nibbles.shape
    packed = torch.empty(filled(rows), half, dtype=torch.uint8)
    for at, end, tile in _tiles(filled(rows), 2 * half, layout):
        part = nibbles[at:end]
        numbers = torch.zeros(end - at, 2 * half, dtype=torch.uint8)  # rows beyond the last are zeros
        numbers[: len(part), :half] = part & 15
        numbers[: len(part), half:] = part >> 4
        low, high = tile.halves(numbers.T)
        packed[at:end].view(-1, 2 * half, tile.block // 2).copy_((low | high << 4).transpose(0, 1))
    return packed


def _packed_by_torch(nibbles: torch.Tensor) -> torch.Tensor:
    rows, half = nibbles.shape
    numbers = torch.zeros(filled(rows), 2 * half, dtype=torch.int32)
    numbers[:rows, :half] = nibbles & 15
    numbers[:rows, half:] = nibbles >> 4
    packed: torch.Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1)
    return packed


def _tiles(rows: int, columns: int, layout: Layout) -> Iterator[tuple[int, int, Layout]]:
    """Where each piece of a packed matrix begins and ends, and its layout: blocks first, then what is left over."""
    whole = rows // layout.block * layout.block
    for at, end in _blocks(whole, columns):
        yield at, end, layout
    if whole < rows:
        yield whole, rows, Layout(rows - whole, True)


# Multiplying


class Int4Linear(nn.Module):
    """A linear layer with 4-bit weights, for inference: x (..., columns) -> (..., rows) in x's dtype.

    `kernel_rows`: so many rows of x at once go through torch's kernel, in bf16 (fp16 and fp32 are 30 to 70 times
    slower there); more are multiplied with de-quantised weights in `product`. Both read the packed weights: in a
    layout that is known they are the only copy.
    """

    packed: torch.Tensor
    scales: torch.Tensor
    nibbles: torch.Tensor | None
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
        self.group = self.in_features // len(scales)
        self.kernel_rows = kernel_rows
        self.product = product
        self.register_buffer("packed", pack(nibbles))
        self.register_buffer("scales", scales)
        self.register_buffer("nibbles", None if layout() else nibbles)
        self.register_buffer("bias", bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, group={self.group}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, self.in_features)
        y = self._by_kernel(flat) if len(flat) <= self.kernel_rows else self._by_product(flat)
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _by_kernel(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.bfloat16(), self.packed, self.group, self.scales
        )
        return y[:, : self.out_features]

    def _by_product(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.empty(len(x), len(self.packed), dtype=x.dtype)
        x = x.to(self.product)
        for at, end, weight in self._dequantised():
            y[:, at:end] = x @ weight.to(self.product)
        return y[:, : self.out_features]

    def _dequantised(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield the rows from `at` to `end` as fp32 (columns, rows), piece by piece in one buffer."""
        known = layout()
        if known is None:
            assert self.nibbles is not None
            for at, end in _blocks(self.out_features, self.in_features):
                yield at, end, dequantise(self.nibbles[at:end], self.scales[:, at:end]).T
            return
        tiles = list(_tiles(len(self.packed), self.in_features, known))
        buffer = torch.empty(max(end - at for at, end, _ in tiles) * self.in_features)
        for at, end, tile in tiles:
            weight = buffer[: self.in_features * (end - at)].view(self.in_features, end - at)
            packed = self.packed[at:end].view(-1, self.in_features, tile.block // 2)
            low, high = tile.halves(weight)
            low.copy_((packed & 15).transpose(0, 1))
            high.copy_((packed >> 4).transpose(0, 1))
            # Each (groups, 1, rows), apart from the other: else the multiplying takes six times as long.
            scale, zero = (each.contiguous() for each in self.scales[:, None, at:end].float().unbind(-1))
            weight.view(len(self.scales), self.group, -1).mul_(scale).add_(zero - _MIDDLE * scale)
            yield at, end, weight
