from __future__ import annotations

import re

import pytest

from ragkit import errors


def _tree() -> list[type[errors.RagkitError]]:
    found, todo = [], [errors.RagkitError]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += one.__subclasses__()
    return [cls for cls in found if cls.__module__ == "ragkit.errors"]


@pytest.mark.parametrize("cls", _tree())
def test_every_error_is_drawn_in_the_tree_of_the_docstring(cls: type[errors.RagkitError]) -> None:
    assert errors.__doc__ is not None
    assert re.search(rf"\b{cls.__name__}\b", errors.__doc__)


def test_an_error_carries_message_hint_and_a_stable_code() -> None:
    error = errors.FileTooLarge("it has 300 MB", "Split it.")
    assert (error.message, error.hint, error.code) == ("it has 300 MB", "Split it.", "file_too_large")
    assert str(error) == "it has 300 MB\nSplit it."
