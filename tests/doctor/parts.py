"""What the tests of the doctor share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ragkit.config import HubAccess, Settings
from ragkit.doctor import selfcheck
from ragkit.doctor.report import Check
from ragkit.load_plan import DeviceFacts

GB = 1 << 30
ONLINE = HubAccess("https://hub.example", None, False)


def device(free_gb: float, kind: str = "cpu") -> DeviceFacts:
    size = round(free_gb * GB)
    return DeviceFacts(kind, kind, "Tester", 2 * size, size, 2 * size, size, bf16=True)


def by_id(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}


def reached(settings: Settings, where: Path, **options: bool) -> dict[str, Check]:
    return by_id(selfcheck.self_check(replace(settings, precision="fp32", device="cpu"), where, **options))
