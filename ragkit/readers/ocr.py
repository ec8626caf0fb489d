"""Text recognition by rapidocr where it is installed: with the models in its package, so nothing is downloaded.

The engine is made once a process, with the first page that needs it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ragkit.readers.base import clean
from ragkit.readers.ocr_layout import Line, arranged

log = logging.getLogger(__name__)

# A dense page takes 2 to 6 s on two cores: some 300 pages. Below the caller's limit for one file (30 min).
BUDGET_S = 1500.0
MAX_SIDE_PIXELS = 2000  # rapidocr makes larger pictures smaller, to this; A4 has 170 dpi then
# Beside the reader's own limit: fifteen dense pages took 1.9 GB of address space, 0.9 of them in use.
_MORE_BYTES = 1 << 30
_MAX_THREADS = 8  # each takes address space, which is limited, and speeds a page up less
REMEDY = (
    "To read it here: pip install rapidocr onnxruntime, then read the file again. "
    "Or recognise its text first, for example: ocrmypdf scan.pdf text.pdf"
)
CHECK_THE_SCAN = "Scan it again, upright and with at least 200 dpi."

_MODELS = {"Det": "*_det_*.onnx", "Cls": "*_cls_*.onnx", "Rec": "*_rec_*.onnx"}


def available() -> bool:
    """Tell whether pages can be recognised here; it loads nothing."""
    return find_spec("onnxruntime") is not None and bool(_models())


def recognise(image: Any) -> str:
    """The text of a picture (numpy, height x width x blue-green-red) in reading order, or ""."""
    engine = _engine()
    if engine is None:
        return ""
    try:
        result = engine(image)
    except Exception:  # cv2 and onnxruntime have errors of their own: one page is unread, the others go on
        log.exception("a page could not be recognised")
        return ""
    if result.boxes is None or result.txts is None:  # nothing on it
        return ""
    lines = []
    for box, text in zip(result.boxes, result.txts, strict=True):
        xs, ys = [float(x) for x, _ in box], [float(y) for _, y in box]
        lines.append(Line(clean(text), min(xs), min(ys), max(xs), max(ys)))
    return arranged(lines)


def _models() -> dict[str, str]:
    """The models that came with the package: all three, or none."""
    package = find_spec("rapidocr")
    if package is None or package.origin is None:
        return {}
    folder = Path(package.origin).parent / "models"
    found = {part: sorted(folder.glob(pattern)) for part, pattern in _MODELS.items()}
    return {part: str(files[0]) for part, files in found.items() if files} if all(found.values()) else {}


@cache
def _engine() -> Callable[[Any], Any] | None:
    threads = min(_MAX_THREADS, max(1, (os.cpu_count() or 2) - 1))  # one is left for who asks meanwhile
    # numpy and OpenCV would start a thread for each core, and each of those takes address space.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _take_more_memory()
    # By path: without one rapidocr looks its models up by their hash and fetches what does not fit.
    models = {f"{part}.model_path": path for part, path in _models().items()}
    try:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        engine: Callable[[Any], Any] = RapidOCR(
            params=models
            | {
                "Global.log_level": "critical",
                "Global.max_side_len": MAX_SIDE_PIXELS,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
    except Exception:  # a system library is missing, the versions do not fit: as good as not installed
        log.exception("rapidocr is installed but does not start")
        return None
    return engine


def _take_more_memory() -> None:
    """Raise the limit that the parsing process has set itself; pictures are bounded, so is what they take."""
    if sys.platform == "linux":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            more = soft + _MORE_BYTES
            resource.setrlimit(
                resource.RLIMIT_AS, (more if hard == resource.RLIM_INFINITY else min(more, hard), hard)
            )
