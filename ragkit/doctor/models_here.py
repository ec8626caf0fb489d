"""The doctor's look at models: what fits this machine, and what lies here.

Every check takes the facts that it judges as arguments; nothing is fetched, and no language model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from ragkit import models
from ragkit.doctor.report import Check, check, quoted
from ragkit.embedding_records import searches
from ragkit.errors import ModelError
from ragkit.known_facts import KNOWN
from ragkit.load_plan import (
    CONTEXT,
    INTERNLM2_1_8B,
    MARGIN_BYTES,
    PRECISIONS,
    DeviceFacts,
    fitting,
    plan_load,
)

_UNLIMITED = 1 << 60


def devices() -> list[DeviceFacts]:
    """Every device that can run a model, the best first. Imports torch."""
    import torch

    from ragkit.model_facts import device_facts

    best = device_facts()
    if best.kind == "cuda":
        return [*(device_facts(f"cuda:{n}") for n in range(torch.cuda.device_count())), device_facts("cpu")]
    return [best] if best.kind == "cpu" else [best, device_facts("cpu")]


def memories() -> Iterator[Check]:
    """Every device against every known model."""
    from ragkit.model_facts import has_quantiser

    for device in devices():
        yield memory(device, quantiser=has_quantiser())


def memory(device: DeviceFacts, *, quantiser: bool) -> Check:
    """A device's free memory against every known model in every precision."""
    needs: dict[str, dict[str, dict[str, object]]] = {}
    rows: list[tuple[str, ...]] = [("", *PRECISIONS)]
    for model in KNOWN:
        fit = {plan.precision for plan in fitting(model, device, quantiser=quantiser)}
        cells: list[str] = []
        needs[model.name] = {}
        for precision in PRECISIONS:
            try:  # on a device without limits, so that what does not fit has its number too
                endless = replace(device, free_bytes=_UNLIMITED)
                plan = plan_load(model, endless, precision, quantiser=quantiser)
            except ModelError:
                cells.append("-")
                continue
            needs[model.name][precision] = {"needed_bytes": plan.needed_bytes, "fits": precision in fit}
            cells.append(f"{'✓' if precision in fit else '✗'} {plan.needed_bytes / (1 << 30):.1f}")
        rows.append((model.name, *cells))
    try:
        chosen = plan_load(INTERNLM2_1_8B, device, quantiser=quantiser).label
    except ModelError:
        chosen = ""
    return check(
        f"system.memory.{device.device}",
        "memory_ok" if chosen else "memory_short",
        table=tuple(rows),
        device=device.device,
        name=device.name,
        free_bytes=device.free_bytes,
        total_bytes=device.total_bytes,
        model=INTERNLM2_1_8B.name,
        precision=chosen,
        context=CONTEXT,
        spare_bytes=MARGIN_BYTES,
        needs=needs,
        int4=asdict(device.int4) if device.int4 else None,
    )


def local_models(data_dir: Path, hub_cache: Path | None = None) -> Iterator[Check]:
    """The models that lie here, their files against their hashes, and the downloads that did not end."""
    whole = list(models.local_models(data_dir, hub_cache=hub_cache))
    for model in whole:
        yield _local(model)
    for folder in models.downloads(data_dir):
        name = folder.name.replace("--", "/", 1)
        group = "embedding" if searches(name, folder) else "models"
        if lacking := models.missing(folder):
            yield check(f"{group}.{name}", "local_incomplete", name=name, missing=lacking)
        elif folder not in {model.path for model in whole}:
            yield _local(models.LocalModel(name, folder), group)
    for part in models.unfinished(data_dir):
        group = "embedding" if searches(part.name, part.folder) else "models"
        yield check(f"{group}.{part.name}", "local_unfinished", name=part.name, here_bytes=part.size_bytes)
    if not whole:
        yield check("models.none", "models_none", model=models.DEFAULT)


def _local(model: models.LocalModel, group: str = "models") -> Check:
    id, folder = f"{group}.{model.name}", str(model.path)
    if rotten := models.damaged(model.path):
        return check(
            id,
            "local_damaged",
            name=model.name,
            folder=folder,
            damaged=rotten,
            command=remove(model.path, rotten),
        )
    files = [model.path] if model.path.is_file() else [f for f in model.path.iterdir() if f.is_file()]
    hashed = models.Manifest.load(model.path) is not None
    size = sum(file.stat().st_size for file in files)
    return check(
        id, "local_hashed" if hashed else "local_ok", name=model.name, folder=folder, disk_bytes=size
    )


def remove(folder: Path, names: list[str]) -> str:
    """The command that deletes these files, so that a download brings them again."""
    return f"{'del' if os.name == 'nt' else 'rm'} " + " ".join(quoted(folder / name) for name in names)
