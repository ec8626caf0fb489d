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
NOW = render_search.Now(
    "auto", EmbeddingStatus("ready", BUNDLED.name), coverage=Coverage(3, 9, 9), next=Coverage(3, 9, 9)
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
