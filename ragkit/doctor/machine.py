"""The doctor's look at this machine: Python, packages, folders, knowledge base, network.

Every check takes the facts that it judges as arguments; the defaults read this machine. Nothing is changed: no folder
is made, no library migrated, and no credential is read.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ragkit import models
from ragkit.config import REPOSITORY, HubAccess, Settings
from ragkit.doctor.report import Check, check, quoted
from ragkit.load_plan import INTERNLM2_1_8B
from ragkit.migrations import MIGRATIONS
from ragkit.readers import ocr

_SQLITE = (3, 32, 0)  # iif()
_LOW_DISK_BYTES = 1 << 30
_HUB_TIMEOUT_S = 3.0

# ── This machine ──


def python(version: Sequence[int] = sys.version_info[:3], is_64_bit: bool = sys.maxsize > 1 << 32) -> Check:
    """Python itself."""
    fit = tuple(version) >= (3, 11) and is_64_bit
    return check(
        "system.python",
        "python_ok" if fit else "python_unfit",
        version=".".join(map(str, version)),
        bits=64 if is_64_bit else 32,
    )


def installed_version(name: str) -> str | None:
    """The version of an installed package, without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def packages(
    requirements: Path = REPOSITORY / "requirements.txt",
    installed: Callable[[str], str | None] = installed_version,
) -> Check:
    """The pinned packages against those that are installed."""
    if not requirements.is_file():
        return check("system.packages", "packages_unknown", file=requirements.name)
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", requirements.read_text(encoding="utf-8"), re.M)
    found = {name: installed(name) for name, _ in pins}
    missing = [name for name, _ in pins if found[name] is None]
    # "2.13.0+cpu" is 2.13.0, built for something.
    different = [
        f"{name} {here} (tested: {pin})"
        for name, pin in pins
        if (here := found[name]) and here.partition("+")[0] != pin
    ]
    wrong = [f"{name}=={pin}" for name, pin in pins if (found[name] or "").partition("+")[0] != pin]
    return check(
        "system.packages",
        "packages_missing" if missing else "packages_differ" if different else "packages_ok",
        pinned=len(pins),
        missing=missing,
        different=different,
        wanted=" ".join(wrong),
        versions=found,
    )


class TorchFacts(NamedTuple):
    version: str
    cuda: str | None  # the version that torch was built for
    cuda_usable: bool
    capability: str
    threads: int


def torch_facts() -> TorchFacts:
    """Read what torch can do here. Imports torch."""
    import torch

    return TorchFacts(
        str(torch.__version__),
        torch.version.cuda,
        torch.cuda.is_available(),
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
    )


def torch(facts: TorchFacts | None = None, nvidia_driver: bool | None = None) -> Check:
    """Torch, and whether it can use the NVIDIA card that is here."""
    facts = facts or torch_facts()
    driver = bool(shutil.which("nvidia-smi")) if nvidia_driver is None else nvidia_driver
    outcome = "torch_no_cuda" if driver and not facts.cuda_usable else "torch_ok"
    return check("system.torch", outcome, **facts._asdict(), cores=os.cpu_count() or 1)


def has_fts5() -> bool:
    """Whether this Python's SQLite can search texts."""
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.execute("CREATE VIRTUAL TABLE probe USING fts5 (text)")
        except sqlite3.OperationalError:
            return False
    return True


def sqlite(
    version: tuple[int, int, int] = sqlite3.sqlite_version_info, fts5: Callable[[], bool] = has_fts5
) -> Check:
    """The SQLite that this Python brings."""
    able = fts5()
    return check(
        "system.sqlite",
        "sqlite_ok" if able and version >= _SQLITE else "sqlite_unfit",
        version=".".join(map(str, version)),
        fts5=able,
        needed=".".join(map(str, _SQLITE)),
    )


def recognition(able: bool | None = None) -> Check:
    """Whether scanned pages can be read: an option, so that its absence is no fault."""
    able = ocr.available() if able is None else able
    return check("system.ocr", "ocr_ok" if able else "ocr_missing", available=able)


# ── Folders and knowledge base ──


def folders(settings: Settings) -> Check:
    """Whether ragkit can write where it keeps its things; nothing is left there."""
    data = settings.data_dir
    places = (data, settings.kb, data / "models", data / "tmp", data / "log")
    closed = [str(place) for place in places if not _can_write(place)]
    command = "mkdir -p {0} && chmod -R u+rwX {0}".format(" ".join(map(quoted, closed)))
    if os.name == "nt":
        command = " && ".join(f'icacls {quoted(place)} /grant "%USERNAME%":(OI)(CI)F' for place in closed)
    return check(
        "storage.folders",
        "folders_closed" if closed else "folders_ok",
        folders=[str(place) for place in places],
        closed=closed,
        command=command,
    )


def _standing(place: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(p for p in (place, *place.parents) if p.exists())


def _can_write(place: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=_standing(place)):
            return True
    except OSError:
        return False


def disk(folder: Path, free_bytes: int | None = None) -> Check:
    """Room on the disk of the data folder."""
    free = shutil.disk_usage(_standing(folder)).free if free_bytes is None else free_bytes
    return check(
        "storage.disk",
        "disk_low" if free < _LOW_DISK_BYTES else "disk_ok",
        free_bytes=free,
        folder=str(folder),
        model=INTERNLM2_1_8B.name,
        model_bytes=INTERNLM2_1_8B.disk_bytes,
    )


def library(folder: Path) -> Check:
    """The knowledge base, opened for reading only: whole, its layout, and how much is in it."""
    file = folder / "kb.sqlite"
    if not file.exists():
        return check("storage.library", "library_none", folder=str(folder))
    newest = len(MIGRATIONS)
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=3)) as db:
            (layout,) = db.execute("PRAGMA user_version").fetchone()
            if layout > newest:
                return check("storage.library", "library_newer", layout=layout, newest=newest)
            (problem,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            if problem != "ok":
                return _damaged(file, problem)
            if layout < newest:
                return check("storage.library", "library_older", layout=layout, newest=newest)
            counts = dict.fromkeys(("document", "chunk", "vector"), 0)
            for table in counts:
                (counts[table],) = db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
            (failed,) = db.execute("SELECT COUNT(*) FROM document WHERE error_code <> ''").fetchone()
    except sqlite3.OperationalError as error:  # locked, no right to read
        return check("storage.library", "library_unreadable", file=str(file), problem=str(error))
    except sqlite3.DatabaseError as error:
        return _damaged(file, str(error))
    return check(
        "storage.library",
        "library_ok",
        layout=layout,
        documents=counts["document"],
        failed=failed,
        chunks=counts["chunk"],
        vectors=counts["vector"],
    )


def _damaged(file: Path, problem: str) -> Check:
    move = "move" if os.name == "nt" else "mv"
    return check(
        "storage.library",
        "library_damaged",
        file=str(file),
        problem=problem,
        command=f"{move} {quoted(file)} {quoted(f'{file}.damaged')}",
    )


# ── Network ──


def hub(access: HubAccess, *, timeout_s: float = _HUB_TIMEOUT_S) -> Check:
    """Ask the model hub one short question, without the user's token."""
    import httpx

    if access.offline:
        return check("network.hub", "hub_offline")
    url = f"{access.endpoint.rstrip('/')}/api/models/{models.DEFAULT}/revision/main"

    def ask() -> tuple[int, bool]:
        answer = httpx.get(url, timeout=timeout_s, follow_redirects=True, headers={"User-Agent": "ragkit"})
        try:
            return answer.status_code, "sha" in answer.json()
        except (ValueError, TypeError):
            return answer.status_code, False

    try:
        status, is_hub = _within(timeout_s, ask)
    except ImportError as error:
        return check("network.hub", "hub_no_proxy_support", reason=str(error))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
        # What is said of an address that makes no sense quotes it, and it may be a proxy's, password and all.
        told = str(error) if isinstance(error, httpx.HTTPError) else ""
        reason = f"{type(error).__name__} {told}".strip()
        return check(
            "network.hub", "hub_silent", endpoint=access.endpoint, reason=reason, model=models.DEFAULT
        )
    # 401 and 404 are a hub's own words for a model that it does not give.
    is_hub = is_hub or status in (401, 404)
    return check("network.hub", "hub_ok" if is_hub else "hub_other", endpoint=access.endpoint, status=status)


def _within(seconds: float, call: Callable[[], tuple[int, bool]]) -> tuple[int, bool]:
    """Wait so long for `call` in a thread: the look-up of a name has no timeout of its own."""
    future: Future[tuple[int, bool]] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001  # raised again below, where the call was made
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds + 0.5)


def proxies(found: Mapping[str, str] | None = None) -> Check:
    """Which proxies are set, by name only: their addresses may hold passwords."""
    known = urllib.request.getproxies() if found is None else found
    names = sorted(f"{name.upper()}_PROXY" for name, address in known.items() if name != "no" and address)
    if not names:
        return check("network.proxy", "proxy_none", names=names)
    spared = bool(urllib.request.proxy_bypass_environment("127.0.0.1", dict(known)))  # type: ignore[attr-defined]
    return check("network.proxy", "proxy_ok" if spared else "proxy_loopback", names=names, no_proxy=spared)


def port(wanted: int) -> Check:
    """Whether the page's port is free on this machine."""
    if _is_free(wanted):
        return check("network.port", "port_ok", port=wanted)
    free = next((number for number in range(wanted + 1, 65_536) if _is_free(number)), 0)
    return check("network.port", "port_busy", port=wanted, free=free)


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        if os.name != "nt":  # there it would take a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
