"""The knowledge bases under data/library: names that are folders everywhere, and nothing else is ever deleted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ragkit import shelf
from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.errors import LibraryBusy, UsageError
from ragkit.locks import ProcessLock


def make(settings: Settings, name: str, text: str = "") -> Path:
    kb = shelf.place_of(name, settings.data_dir)
    with Engine.open(replace(settings, kb=kb)) as engine:
        if text:
            file = settings.data_dir / "a.md"
            file.write_text(text, encoding="utf-8")
            engine.add([(file, "a.md")])
    return kb


@pytest.mark.parametrize("name", ["合同 2026", "Team-A_b", "x" * 60, "C++", "v1.2"])
def test_a_plain_name_becomes_a_folder(settings: Settings, name: str) -> None:
    assert make(settings, f"  {name} ") == settings.data_dir / "library" / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "/etc",
        "C:x",
        "a\0b",
        "x" * 61,
        "con",
        "NUL.txt",
        "a.",
        "~x",
        "-rf",
    ],
)
def test_what_is_a_path_or_means_more_to_some_system_is_no_name(settings: Settings, name: str) -> None:
    with pytest.raises(UsageError):
        shelf.place_of(name, settings.data_dir)


def test_a_name_is_taken_whatever_its_case(settings: Settings) -> None:
    make(settings, "Team")
    with pytest.raises(UsageError, match="already"):
        shelf.place_of("team", settings.data_dir)
    assert shelf.free_place("team", settings.data_dir).name == "team 2"
    assert shelf.free_place("../../etc/passwd", settings.data_dir).parent == settings.data_dir / "library"
    assert shelf.free_place("///", settings.data_dir).name == "library"


def test_the_list_names_all_with_their_size_and_the_open_one_wherever_it_lies(settings: Settings) -> None:
    make(settings, "b", "# 年假\n\n十天。")
    make(settings, "A")
    with Engine.open(settings):
        listed = shelf.listed(settings.data_dir, settings.kb)
    assert [(one.name, one.documents) for one in listed] == [("A", 0), ("b", 1), ("kb", 0)]
    assert all(one.size_bytes > 0 for one in listed) and len({one.id for one in listed}) == 3
    (settings.data_dir / "library" / "A" / "kb.sqlite").write_bytes(
        b"no database at all, but long enough" * 9
    )
    assert shelf.listed(settings.data_dir, settings.kb)[0].documents is None


def test_a_deleted_one_is_gone_with_its_copies_and_only_knowledge_bases_are_deleted(
    settings: Settings,
) -> None:
    kb, other = make(settings, "old", "# 年假\n\n十天。"), make(settings, "kept")
    shelf.delete(kb, settings.data_dir)
    assert sorted(folder.name for folder in kb.parent.iterdir()) == ["kept"]
    for wrong in (settings.data_dir, other.parent, settings.data_dir.parent, kb):
        with pytest.raises(UsageError):
            shelf.delete(wrong, settings.data_dir)
    assert other.is_dir()


def test_one_that_is_written_to_is_not_deleted(settings: Settings) -> None:
    kb = make(settings, "busy")
    with ProcessLock(kb / "lock").trying(0) as mine, pytest.raises(LibraryBusy):
        assert mine
        shelf.delete(kb, settings.data_dir)
    assert kb.is_dir()
