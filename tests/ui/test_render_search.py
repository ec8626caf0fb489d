"""HTML of the settings of the search by meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragkit.choices import EmbeddingChoice
from ragkit.embedding_records import BUNDLED
from ragkit.schema import Coverage, EmbeddingStatus
from ragkit.ui import render_search
from ragkit.ui.strings import Strings

EN, ZH = Strings("en"), Strings("zh")
INT8 = EmbeddingChoice("onnx-int8:auto", replace(BUNDLED, backend="onnx-int8"))
AUTO = EmbeddingChoice("auto", BUNDLED)
NOW = render_search.Now("auto", EmbeddingStatus("ready", BUNDLED.name), missing={}, next=Coverage(3, 9, 9))
COMING = render_search.Now(
    "onnx-int8:auto",
    EmbeddingStatus("ready", BUNDLED.name, replacement=f"{BUNDLED.name} (int8)"),
    missing={"onnx-int8:auto": 6},
    next=Coverage(3, 9, 3),
)


class Nothing:
    """No download is under way."""

    name, running, cancelling = "", False, False
    step = error = None


def shown(choice: EmbeddingChoice, now: render_search.Now, strings: Strings = EN) -> str:
    return render_search.embeddings([choice], now, Nothing(), strings)


@pytest.mark.parametrize("strings", [EN, ZH], ids=["en", "zh"])
def test_int8_without_its_packages_shows_the_command_and_no_button(strings: Strings) -> None:
    html = shown(replace(INT8, install="python -m pip install <this>"), NOW, strings)
    assert "<code>python -m pip install &lt;this&gt;</code>" in html and "data-action" not in html
    assert 'data-action="embed"' in shown(INT8, NOW, strings)
    assert f"{BUNDLED.name} (int8)" in html and strings("embedding_int8") in html


def test_a_model_that_could_not_be_loaded_says_so_while_the_old_vectors_answer() -> None:
    status = replace(NOW.status, error="a package is missing", hint="Install it.")
    html = shown(INT8, replace(NOW, where="onnx-int8:auto", status=status))
    assert "a package is missing Install it." in html and "Vectors: 9 of 9 passages" in html
    assert EN("in_use") not in html


def card(html: str, name: str) -> str:
    """The one item of the list."""
    return next(part for part in html.split("<li ") if f'data-model="{name}"' in part)


@pytest.mark.parametrize("strings", [EN, ZH], ids=["en", "zh"])
def test_a_model_is_in_use_once_its_vectors_are_whole_and_until_then_the_one_before_it_is(
    strings: Strings,
) -> None:
    """The new one was "in use" from the click on, and the one that answered was not."""
    in_use, coming = strings("in_use"), strings("embedding_coming")
    html = render_search.embeddings([AUTO, INT8], replace(COMING, per_second=2.0), Nothing(), strings)
    old, new = card(html, BUNDLED.name), card(html, f"{BUNDLED.name} (int8)")
    assert in_use in old and coming not in old
    assert coming in new and in_use not in new and "used" not in new.partition(">")[0]
    assert strings("left_seconds", n=5) in new and "3" in new and "<progress" in new
    whole = replace(COMING, status=EmbeddingStatus("ready", f"{BUNDLED.name} (int8)"), next=Coverage(3, 9, 9))
    html = render_search.embeddings([AUTO, INT8], whole, Nothing(), strings)
    assert in_use in card(html, f"{BUNDLED.name} (int8)") and in_use not in card(html, BUNDLED.name)


def test_before_the_model_is_loaded_none_is_said_to_be_in_use() -> None:
    html = shown(AUTO, replace(NOW, status=EmbeddingStatus("loading", BUNDLED.name)))
    assert EN("in_use") not in html and EN("embedding_coming") in html


def test_a_change_announces_the_vectors_that_are_missing_and_asks_nothing_where_none_are() -> None:
    assert "data-confirm" not in shown(AUTO, COMING)
    assert 'data-action="embed"' in shown(AUTO, COMING)
    assert "New vectors are made for 2 passages" in shown(AUTO, replace(COMING, missing={"auto": 2}))
    assert "New vectors are made for 6 passages" in shown(INT8, replace(COMING, where="auto"))
    off = replace(COMING, where="off", status=EmbeddingStatus("off"))
    assert "Vectors are made for 6 passages" in shown(INT8, off) and "data-confirm" not in shown(AUTO, off)


@pytest.mark.parametrize("strings", [EN, ZH], ids=["en", "zh"])
def test_while_a_model_is_prepared_the_page_says_so_and_how_long_and_it_can_be_cancelled(
    strings: Strings,
) -> None:
    now = replace(NOW, changing="onnx-int8:auto", seconds=12.3)
    html = render_search.embeddings([AUTO, INT8], now, Nothing(), strings)
    new = card(html, f"{BUNDLED.name} (int8)")
    assert strings("embedding_changing_int8", n=12) in new
    assert f'data-action="cancel" data-id="{INT8.id}"' in new
    assert html.count("data-action") == 1  # and nothing else meanwhile
    cancelling = shown(INT8, replace(now, cancelling=True), strings)
    assert strings("job_cancelling") in cancelling and "data-action" not in cancelling
    assert strings("embedding_changing", n=12) in shown(AUTO, replace(now, changing="auto"), strings)
