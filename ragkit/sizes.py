"""Sizes in words, the same on the page, in the terminal, in the doctor's report and in errors."""

from __future__ import annotations

from typing import Final

GB: Final = 1 << 30  # as systems tell memory; a hub's own pages count 1,000,000,000


def gigabytes(size_bytes: float) -> str:
    """1932735283 -> '1.8 GB'; below 0.1 GB in MB."""
    if size_bytes < 0.1 * GB:
        return f"{size_bytes / (1 << 20):.0f} MB"
    return f"{size_bytes / GB:.1f} GB"
