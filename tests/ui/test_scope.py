"""The places that a question can be kept to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ragkit.engine import Engine
from ragkit.schema import Filters
from ragkit.ui.scope import places


def test_folders_stand_before_files_and_each_keeps_a_question_to_itself(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    root = folder(**{"a.md": "Apples are red."})
    (root / "sub").mkdir()
    (root / "sub" / "b.md").write_text("Bananas are red too.", encoding="utf-8")
    (root / "empty.md").write_text("", encoding="utf-8")
    engine.sync(root)
    assert places(engine.documents()) == ["docs/", "docs/sub/", "docs/a.md", "docs/sub/b.md"]
    for place, found in (("docs/", 2), ("docs/sub/", 1), ("docs/a.md", 1)):
        assert len(engine.search("What is red?", filters=Filters(places=(place,)))) == found
