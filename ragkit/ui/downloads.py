"""A model that is being fetched for the page: one at a time, with progress, and to be cancelled."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ragkit import config
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


def discard(name: str, data_dir: Path) -> None:
    """Delete what has come of a download that did not end. Raises UsageError, ModelError."""
    from ragkit.download import delete

    delete(name, data_dir, whole=False)


class Downloads(Task[Transfer]):
    """What is being fetched, how far it is, or why it failed. What has come is kept: the next try goes on from there."""

    def __init__(self, fetch: Fetch) -> None:
        super().__init__()
        self._fetch = fetch
        self.ended = 0  # grows with every download that has, however it ended

    def begin(self, name: str) -> bool:
        """Begin to fetch a model; False while another one is under way."""

        def work(note: OnTransfer, cancel: object) -> None:
            try:
                self._fetch(name, progress=note, cancel=cancel)
            finally:
                self.ended += 1

        return self.start(name, work)

    def close(self) -> None:
        """Stop it."""
        self.cancel()
        self.wait(10)
