from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragkit.schema import Document
from ragkit.ui.table import ROWS, View, page_of


def row(number: int, source: str = "", **values: object) -> Document:
    facts = {
        "state": "ready",
        "size_bytes": 1,
        "chunks": 1,
        "pages": None,
        "seconds": 0.0,
        "updated_at": 0.0,
    } | values
    path = source or f"file{number:04}.txt"
    return Document(number, "r", path, f"docs/{path}", encoding=None, title="", **facts)  # type: ignore[arg-type]


def test_what_failed_stands_first_then_the_newest() -> None:
    rows = [row(1, updated_at=1.0), row(2, updated_at=2.0), row(3, state="failed")]
    assert [one.id for one in page_of(rows, View()).rows] == [3, 2, 1]


def test_every_word_of_the_filter_must_stand_in_the_source_whatever_its_width_and_case() -> None:
    rows = [row(1, "Ａ组/年假.md"), row(2, "a组/病假.md"), row(3, "b组/年假.md")]
    assert [one.id for one in page_of(rows, View(words=" a 年假 ")).rows] == [1]
    assert page_of(rows, View(words="没有")).rows == []


def test_a_column_sorts_upwards_downwards_and_not_at_all() -> None:
    rows = [row(1, chunks=5), row(2, chunks=9), row(3, chunks=7)]
    up = View(page=4).sorted_by("chunks")
    down = up.sorted_by("chunks")
    assert [one.id for one in page_of(rows, up).rows] == [1, 3, 2]
    assert [one.id for one in page_of(rows, down).rows] == [2, 3, 1]
    assert down.sorted_by("chunks").sort == "" and up.page == 1
    assert View().sorted_by("__class__") == View()


@given(st.integers(0, 450), st.integers(-3, 99))
def test_the_pages_hold_every_row_once_and_a_page_beyond_is_the_last(count: int, page: int) -> None:
    rows = [row(number) for number in range(count)]
    pages = page_of(rows, View()).pages
    seen = [one.id for number in range(1, pages + 1) for one in page_of(rows, View(page=number)).rows]
    assert sorted(seen) == list(range(count))
    shown = page_of(rows, View(page=page))
    assert 1 <= shown.number <= pages and len(shown.rows) <= ROWS and shown.found == count


def test_a_page_that_the_browser_made_up_changes_nothing() -> None:
    for made_up in ("", "-1", "x", "9" * 99, "１"):
        assert View(page=2).turned_to(made_up).page in (1, 2)
