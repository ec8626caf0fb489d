"""The memory of a machine and its GPUs as torch uses it: whether it ran out, what is free, what a model holds."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether a device or the machine had no memory left; on a CPU torch raises a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("allocate memory" in text or "not enough memory" in text)


def release_memory() -> None:
    """Give back what freed tensors leave behind in torch's pools, and in the C library's."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        # glibc keeps freed blocks below 32 MB: of an NF4 model that was closed, four fifths.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim:
            trim(0)


def free_bytes(device: torch.device) -> int:
    """The memory that is free on a device, what torch has set aside and does not use included."""
    import psutil

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = int(psutil.virtual_memory().available)
    if device.type == "mps":
        return min(available, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return available


def held_bytes(model: PreTrainedModel) -> dict[str, int]:
    """How much memory of each device ("cpu", "cuda:0") a model takes, and would give back.

    Weights that lie in a mapped file are not counted, nor, where that cannot be told, any of the CPU's.
    """
    storages = {
        (str(tensor.device), storage.data_ptr()): storage.nbytes()
        for tensor in [*model.parameters(), *model.buffers()]
        for storage in [tensor.untyped_storage()]
    }
    files = _mapped_files()
    held: dict[str, int] = {}
    for (device, address), size in storages.items():
        if device == "cpu" and (files is None or any(low <= address < high for low, high in files)):
            size = 0
        held[device] = held.get(device, 0) + size
    return held


def _mapped_files() -> list[tuple[int, int]] | None:
    """Where files are mapped into this process; None where /proc does not say."""
    try:
        lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    except OSError:
        return None
    spans = [fields[0].split("-") for fields in lines if len(fields) == 6 and fields[5].startswith("/")]
    return [(int(low, 16), int(high, 16)) for low, high in spans]
