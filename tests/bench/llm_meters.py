"""Memory and bandwidth of the machine while a model is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BANDWIDTH_BYTES = 1 << 30


def read_bandwidth(device: str) -> float:
    """Bytes a second at which a large matrix is read: summed, and multiplied by a vector as decoding does."""
    import torch

    matrix = torch.ones(BANDWIDTH_BYTES // 4 // 4096, 4096, device=device)
    vector = torch.ones(4096, device=device)
    best = float("inf")
    for read in (torch.sum, lambda each: (each @ vector)[0]) * 4:
        started = time.perf_counter()
        read(matrix).item()
        best = min(best, time.perf_counter() - started)
    return BANDWIDTH_BYTES / best


@contextmanager
def peak_memory(device: str) -> Iterator[dict[str, int]]:
    """Fill in the highest memory use of this process, looked at every 20 ms, and of the GPU."""
    import psutil
    import torch

    process, over, peak = psutil.Process(), threading.Event(), dict[str, int]()

    def look() -> None:
        while not over.wait(0.02):
            seen = {"resident_bytes": process.memory_info().rss}
            status = Path("/proc/self/status")
            if status.exists():  # without the pages of mapped files, which the system can drop
                line = next(
                    x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("RssAnon")
                )
                seen["anonymous_bytes"] = int(line.split()[1]) * 1024
            for name, value in seen.items():
                peak[name] = max(value, peak.get(name, 0))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    if device.startswith("cuda"):
        torch.cuda.resetpeak_memory_stats()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        if device.startswith("cuda"):
            peak["gpu_bytes"] = torch.cuda.max_memory_allocated()
