"""Both languages say the same things, and every error has its remedy in both."""

from __future__ import annotations

import re
import string

import pytest

from ragkit import errors
from ragkit.errors import ReadError
from ragkit.readers.pdf_fallback import damaged, locked
from ragkit.ui import strings
from ragkit.ui.strings import TABLES, Strings, choose


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


# A figure right before a word in the plural; dimensions and tokens of a model are never one.
_COUNTED = re.compile(
    r"\{(?:n|done|total|told|chars|documents|chunks)(?::,)?\} (?!files/)(?:\w+ )?\w+s\b|pages \{"
)


def _codes() -> list[str]:
    classes = [item for item in vars(errors).values() if isinstance(item, type)]
    return [item("").code for item in classes if issubclass(item, errors.RagkitError)]


def test_both_languages_have_the_same_keys() -> None:
    assert TABLES["en"].keys() == TABLES["zh"].keys()


def test_no_key_stands_in_two_parts_of_which_one_would_hide_the_other() -> None:
    parts = [module for name, module in vars(strings).items() if name.startswith("strings_")]
    keys = [key for table in (*(part.EN for part in parts), strings._EN) for key in table]
    assert len(parts) > 3 and len(keys) == len(set(keys)) == len(TABLES["en"])


@pytest.mark.parametrize("key", TABLES["en"])
def test_a_string_has_the_same_placeholders_in_both_languages(key: str) -> None:
    assert _placeholders(TABLES["en"][key]) == _placeholders(TABLES["zh"][key])


@pytest.mark.parametrize("key", TABLES["en"])
def test_a_count_has_its_word_in_both_forms(key: str) -> None:
    """The page said "1 documents" and "1 passages"."""
    assert not _COUNTED.search(TABLES["en"][key])
    assert "|" not in TABLES["zh"][key]


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    told = [Strings("en")("shelf_documents", n=n, size="1 KB") for n in (0, 1, 21)]
    assert told == ["0 documents · 1 KB", "1 document · 1 KB", "21 documents · 1 KB"]
    assert Strings("zh")("shelf_documents", n=1, size="1 KB") == "1 份文档 · 1 KB"


@pytest.mark.parametrize("code", _codes())
def test_every_error_is_explained_in_both_languages(code: str) -> None:
    assert f"error_{code}" in TABLES["en"] and f"error_{code}" in TABLES["zh"]


def test_an_unknown_error_is_explained_too() -> None:
    assert Strings("en").error("never_heard_of") == TABLES["en"]["error_ragkit_error"]


@pytest.mark.parametrize(
    ("forced", "cookies", "accept", "chosen"),
    [
        ("", {}, "", "en"),
        ("", {}, "*", "en"),
        ("", {}, "zh-CN,zh;q=0.9", "zh"),
        ("zh", {}, "en-GB", "zh"),
        ("zh", {"ragkit-lang": "en"}, "zh", "en"),
        ("", {"ragkit-lang": "zh-CN"}, "en", "zh"),
    ],
)
def test_what_the_page_shows_comes_before_the_setting_and_that_before_the_browser(
    forced: str, cookies: dict[str, str], accept: str, chosen: str
) -> None:
    assert choose(forced, cookies, accept).language == chosen


@pytest.mark.parametrize("error", [damaged(b""), damaged(b"%%EOF"), locked()], ids=lambda error: error.code)
def test_the_terminal_says_of_a_pdf_what_the_page_says_and_how_to_mend_it(error: ReadError) -> None:
    told = f"{error.message} {error.hint}"
    assert told.startswith(Strings("en").error(error.code).rstrip(".")) and "qpdf" in told
