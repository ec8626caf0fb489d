"""A model that is being fetched for the page: one at a time, with progress, and to be cancelled."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ragkit import config
from ragkit.errors import RagkitError
from ragkit.transfer import OnTransfer, Transfer
from ragkit.ui.task import Task


class Fetch(Protocol):
    """`ragkit.download.download`, as far as it is asked here."""

    def __call__(self, name: str, *, progress: OnTransfer, cancel: object) -> Path: ...


def fetch(data_dir: Path) -> Fetch:
    """Fetch from the hub that the environment names."""

    def fetched(name: str, *, progress: OnTransfer, cancel: object) -> Path:
        from ragkit.download import download  # imports httpx: only here
        from ragkit.hub import Hub

        hub = Hub(**config.hub_access()._asdict())
        return download(name, data_dir=data_dir, hub=hub, progress=progress, cancel=cancel)  # type: ignore[arg-type]

    return fetched


class Downloads:
    """What is being fetched, how far it is, or why it failed. What has come is kept: the next try goes on from there."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._task: Task[Transfer] = Task()
        self.finished = 0  # grows with every model that has come

    @property
    def moving(self) -> bool:
        return self._task.running

    @property
    def name(self) -> str:
        """The model that is being fetched, or that was last."""
        return self._task.name

    @property
    def at(self) -> Transfer | None:
        return self._task.step

    @property
    def cancelling(self) -> bool:
        return self._task.cancelling

    @property
    def error(self) -> RagkitError | None:
        return self._task.error

    def start(self, name: str) -> bool:
        """Begin to fetch; False while another one is under way."""

        def work(note: OnTransfer, cancel: object) -> None:
            self._fetch(name, progress=note, cancel=cancel)
            self.finished += 1

        return self._task.start(name, work)

    def cancel(self) -> None:
        self._task.cancel()

    def close(self) -> None:
        """Stop it."""
        self._task.cancel()
        self._task.wait(10)
