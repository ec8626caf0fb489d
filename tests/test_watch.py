"""A watched folder stays mirrored: quietly, soon, and without losing anything by mistake."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragkit.engine import Engine
from ragkit.schema import SyncReport
from ragkit.watch import Watcher

Make = Callable[..., Path]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sources(engine: Engine) -> list[str]:
    return [document.source for document in engine.documents()]


class Watching:
    def __init__(self, engine: Engine, folder: Path) -> None:
        self.reports: list[SyncReport] = []
        self.watcher = Watcher(
            engine, [folder], on_sync=lambda _, report: self.reports.append(report), quiet_s=0.2
        )
        self.watcher.start()

    @property
    def state(self) -> str:
        return self.watcher.watched()[0].state


@pytest.fixture
def watch(engine: Engine) -> Iterator[Callable[[Path], Watching]]:
    made: list[Watching] = []

    def start(folder: Path) -> Watching:
        made.append(Watching(engine, folder))
        until(lambda: made[-1].state != "starting")
        return made[-1]

    yield start
    for one in made:
        one.watcher.close()


def test_what_comes_changes_or_goes_is_followed(
    engine: Engine, folder: Make, watch: Callable[[Path], Watching]
) -> None:
    docs = folder(**{"a.md": "甲。", "sub/b.md": "乙。"})
    watch(docs)
    assert sources(engine) == ["docs/a.md", "docs/sub/b.md"]
    folder(**{"new/c.md": "丙的内容。"})
    until(lambda: "docs/new/c.md" in sources(engine))
    folder(**{"a.md": "甲的新内容。"})
    until(lambda: bool(engine.search("新内容")) and "新内容" in engine.search("新内容")[0].text)
    (docs / "sub" / "b.md").unlink()
    until(lambda: "docs/sub/b.md" not in sources(engine))


def test_many_files_at_once_are_one_sync(
    engine: Engine, folder: Make, watch: Callable[[Path], Watching]
) -> None:
    docs = folder(**{"a.md": "甲。"})
    watching = watch(docs)
    before = len(watching.reports)
    folder(**{f"{n}.md": f"第{n}份。" for n in range(50)})
    until(lambda: len(sources(engine)) == 51)
    assert len(watching.reports) - before <= 2


def test_a_folder_that_is_not_there_removes_nothing_and_is_found_again(
    engine: Engine, folder: Make, watch: Callable[[Path], Watching], tmp_path: Path
) -> None:
    docs = folder(**{"a.md": "甲。"})
    watching = watch(docs)
    docs.rename(tmp_path / "away")
    until(lambda: watching.state == "missing")
    assert watching.watcher.watched()[0].error is not None
    assert sources(engine) == ["docs/a.md"]
    (tmp_path / "away").rename(docs)
    until(lambda: watching.state == "mirrored")
    folder(**{"b.md": "乙。"})
    until(lambda: sources(engine) == ["docs/a.md", "docs/b.md"])


def test_most_of_a_folder_gone_at_once_waits_for_a_person_and_the_rest_goes_on(
    engine: Engine, folder: Make, watch: Callable[[Path], Watching]
) -> None:
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(20)})
    watching = watch(docs)
    for n in range(15):
        (docs / f"{n}.md").unlink()
    until(lambda: watching.state == "held")
    folder(**{"new.md": "新的一份。"})
    until(lambda: "docs/new.md" in sources(engine))
    assert len(sources(engine)) == 21
    assert len(watching.watcher.watched()[0].preview.removed) == 15
    watching.watcher.confirm(docs)
    until(lambda: len(sources(engine)) == 6)
    until(lambda: watching.state == "mirrored")


def test_a_few_files_gone_are_forgotten_by_themselves(
    engine: Engine, folder: Make, watch: Callable[[Path], Watching]
) -> None:
    docs = folder(**{f"{n}.md": f"第{n}份。" for n in range(8)})
    watching = watch(docs)
    shutil.rmtree(docs)
    docs.mkdir()
    until(lambda: sources(engine) == [])
    until(lambda: watching.state == "mirrored")
