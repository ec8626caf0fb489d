"""Folders that are dropped in parts, and those that can be mirrored from the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr
import pytest

from ragkit.config import Settings
from ragkit.ui import render_folders, render_library
from ragkit.ui.boot import Boot
from ragkit.ui.folders import Folders, offered
from ragkit.ui.library import Desk, Library
from ragkit.ui.overview import folders
from ragkit.ui.strings import Strings

Make = Callable[..., Path]
REQUEST: Any = None
EN = Strings("en")


def event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


def tab(boot: Boot) -> Folders:
    library = Library(boot, lambda _: EN, lambda strings, view: "", "log")
    return Folders(boot, lambda _: EN, library, "log")


@pytest.fixture
def boot(settings: Settings, folder: Make) -> Iterator[Boot]:
    """A page that offers a folder."""
    made = Boot(settings, folders=[folder(**{"a.md": "甲。", "sub/<b>.md": "乙。"})])
    made.start()
    assert made.wait(60)
    yield made
    made.close()


def sources(boot: Boot) -> list[str]:
    return [document.source for document in boot.engine().documents()]


# ── Dropped ──


def test_uploads_get_the_names_that_were_announced_for_them(boot: Boot) -> None:
    library, desk = Library(boot, lambda _: EN, lambda strings, view: "", "log"), Desk()
    paths = ["docs/a/x.md", "docs/b/x.md", 7]
    job, parcel = library.announce(desk, event(batch="q-0", total="3", paths=paths), REQUEST)
    assert "0 / 3" in job and 'data-batch="q-0" data-state="announced"' in parcel
    _, _, parcel = library.take(["/tmp/1/q-0-0", "/tmp/2/q-0-1", "/tmp/3/else.md"], desk, REQUEST)
    assert desk.waiting == [(Path("/tmp/3/else.md"), "else.md")] and 'data-state="here"' in str(parcel)
    assert library.unpack(desk) != ""
    assert desk.waiting[1:] == [
        (Path("/tmp/1/q-0-0"), PurePosixPath("docs/a/x.md")),
        (Path("/tmp/2/q-0-1"), PurePosixPath("docs/b/x.md")),
    ]


def test_a_folder_of_which_nothing_came_leaves_no_job_behind(boot: Boot) -> None:
    library, desk = Library(boot, lambda _: EN, lambda strings, view: "", "log"), Desk()
    library.announce(desk, event(batch="<i>", total="many", paths="none"), REQUEST)
    assert library.unpack(desk) == "" and desk.waiting == []
    assert "<i>" not in render_folders.parcel("<i>")[3:] and "many" not in render_folders.uploading(
        0, "many", EN
    )


def test_a_job_that_finds_nothing_to_add_leaves_the_report_of_the_one_that_did(boot: Boot) -> None:
    """A generator that yields nothing blanks its outputs: the report of a dropped folder was gone at once."""
    library = Library(boot, lambda _: EN, lambda strings, view: "", "log")
    assert list(library.add(Desk(), REQUEST)) == [(gr.skip(), gr.skip())]


def test_all_that_could_not_be_read_goes_in_one_go_and_nothing_else(boot: Boot, folder: Make) -> None:
    docs = folder(**{"x.pdf": "no pdf", "y.pdf": "none either", "good.md": "丙。"})
    boot.engine().sync(docs)
    (docs / "good.md").write_bytes(b"")  # fails now; what it said before still answers
    boot.engine().sync(docs)
    failed = {one.path for one in boot.engine().documents() if one.state == "failed"}
    assert failed == {"x.pdf", "y.pdf", "good.md"}
    library = Library(boot, lambda _: EN, lambda strings, view: "", "log")
    list(library.row(Desk(), event(action="reread", id=render_library.UNREAD), REQUEST))
    assert len(sources(boot)) == 5
    list(library.row(Desk(), event(action="delete", id=render_library.UNREAD), REQUEST))
    assert sorted(sources(boot)) == ["docs/a.md", "docs/good.md", "docs/sub/<b>.md"]


# ── Mirrored ──


def test_folders_that_were_named_or_are_mirrored_are_offered_by_an_id(
    boot: Boot, folder: Make, tmp_path: Path
) -> None:
    gone, other = tmp_path / "gone", tmp_path / "other"
    for place in (gone, other):
        place.mkdir()
        (place / "x.md").write_text("丙。", encoding="utf-8")
        boot.engine().sync(place)
    (gone / "x.md").unlink()
    gone.rmdir()
    assert [root.label for root in offered(boot)] == ["docs", "other"]
    rows = folders(boot, EN)
    assert [(row.label, row.state) for row in rows] == [
        ("docs", "not in the knowledge base yet"),
        ("other", "in the knowledge base"),
    ]
    html = render_folders.folders(rows, EN)
    assert f'data-id="{rows[0].id}"' in html and "/" not in rows[0].id
    boot.engine().sync(folder())
    assert folders(boot, EN)[0].state == "in the knowledge base" and folders(boot, EN)[0].id == rows[0].id


def test_a_check_shows_what_a_sync_would_do_and_changes_nothing(boot: Boot) -> None:
    desk = Desk()
    *_, shown = tab(boot).check(desk, event(id=offered(boot)[0].id), REQUEST)
    assert "New: 2" in shown and "<li>sub/&lt;b&gt;.md</li>" in shown and 'data-action="apply"' in shown
    assert sources(boot) == []
    *_, (job, _, left) = tab(boot).apply(desk, REQUEST)
    assert "added: 2" in str(job) and left == ""
    assert sources(boot) == ["docs/a.md", "docs/sub/<b>.md"]
    *_, shown = tab(boot).check(desk, event(id=offered(boot)[0].id), REQUEST)
    assert "Nothing has changed in docs." in shown and "apply" not in shown


@pytest.mark.parametrize("id", ["", "/etc", "../docs", 3, None])
def test_the_browser_cannot_name_a_folder(boot: Boot, id: object) -> None:
    desk = Desk()
    assert list(tab(boot).check(desk, event(id=id), REQUEST)) == [""]
    list(tab(boot).apply(desk, REQUEST))
    assert desk.checked is None and sources(boot) == []


def test_a_check_that_was_dropped_is_not_applied(boot: Boot) -> None:
    desk = Desk()
    list(tab(boot).check(desk, event(id=offered(boot)[0].id), REQUEST))
    assert tab(boot).drop(desk) == ""
    list(tab(boot).apply(desk, REQUEST))
    assert sources(boot) == []


def emptied(boot: Boot, docs: Path) -> None:
    for file in docs.glob("n*.md"):
        file.unlink()


def test_most_of_a_folder_is_forgotten_only_where_that_was_shown(boot: Boot, folder: Make) -> None:
    docs = folder(**{f"n{n}.md": f"第{n}份。" for n in range(12)})
    boot.engine().sync(docs)
    id, desk = offered(boot)[0].id, Desk()
    (docs / "z.md").write_text("丁。", encoding="utf-8")
    list(tab(boot).check(desk, event(id=id), REQUEST))
    emptied(boot, docs)  # after the user looked
    list(tab(boot).apply(desk, REQUEST))
    assert "docs/n0.md" in sources(boot) and "docs/z.md" in sources(boot)
    *_, shown = tab(boot).check(desk, event(id=id), REQUEST)
    assert "Gone: 12" in shown and "<li>+ 4</li>" in shown
    assert "Most of this folder is gone." in shown and "data-confirm" in shown
    list(tab(boot).apply(desk, REQUEST))
    assert "docs/n0.md" not in sources(boot) and "docs/z.md" in sources(boot)


def test_a_folder_that_went_away_is_told_as_an_error(boot: Boot, folder: Make) -> None:
    id = offered(boot)[0].id
    folder().rename(folder().parent / "elsewhere")
    *_, shown = tab(boot).check(Desk(), event(id=id), REQUEST)
    assert "job failed" in shown and "not a folder that can be read" in shown
    (row,) = folders(boot, EN)
    assert not row.there and row.state == "not there; nothing is removed"
    assert "data-action" not in render_folders.folders([row], EN)


def test_a_held_folder_gets_a_button_that_asks_first() -> None:
    row = render_folders.Row("7f", "<docs>", "/x", "held", there=True, gone=12)
    html = render_folders.folders([row], EN)
    assert 'data-action="forget"' in html and "12 files are gone from “&lt;docs&gt;”" in html
    assert "<docs>" not in html
