"""HTML of the settings of the search by meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragkit.choices import EmbeddingChoice
from ragkit.embedding_records import BUNDLED
from ragkit.schema import Coverage, EmbeddingStatus
from ragkit.transfer import Transfer
from ragkit.ui import render_search
from ragkit.ui.strings import Strings

INT8 = EmbeddingChoice("onnx-int8:auto", replace(BUNDLED, backend="onnx-int8"))
NOW = render_search.Now(
    "auto", EmbeddingStatus("ready", BUNDLED.name), coverage=Coverage(9, 9), next=Coverage(9, 9)
)


class Nothing:
    """No download."""

    name = error = ""
    running = False
    progress: Transfer | None = None


def shown(choice: EmbeddingChoice, now: render_search.Now, language: str = "en") -> str:
    return render_search.embeddings([choice], now, Nothing(), Strings(language))  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_int8_without_its_packages_shows_the_command_and_no_button(language: str) -> None:
    html = shown(replace(INT8, install="python -m pip install <this>"), NOW, language)
    assert "<code>python -m pip install &lt;this&gt;</code>" in html and "data-action" not in html
    assert 'data-action="embed"' in shown(INT8, NOW, language)
    assert f"{BUNDLED.name} (int8)" in html and Strings(language)("embedding_int8") in html  # type: ignore[arg-type]


def test_a_model_that_could_not_be_loaded_says_so_while_the_old_vectors_answer() -> None:
    status = replace(NOW.status, error="a package is missing", hint="Install it.")
    html = shown(INT8, replace(NOW, where="onnx-int8:auto", status=status))
    assert "a package is missing Install it." in html and "Vectors: 9 of 9 passages" in html
