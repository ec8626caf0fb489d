"""The bundled model in numpy, beside the libraries that are too slow to import for one question."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from ragkit import embedding
from ragkit.config import REPOSITORY
from ragkit.embedding import Embedder

TEXTS = [
    "How long is the pump under warranty?",
    "",
    "naïve café ÀÉ — 水泵 🚰 don't",
    "One sentence follows another. " * 90,  # more tokens than the model reads
    embedding.SAMPLES["en"],
    embedding.SAMPLES["zh"],
]


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Embedder, Embedder]]:
    yield embedding.load("auto", "cpu", few=True), embedding.load("auto", "cpu")


def test_its_vectors_are_those_of_the_libraries(both: tuple[Embedder, Embedder]) -> None:
    plain, whole = both
    assert plain.embed(TEXTS) == pytest.approx(whole.embed(TEXTS), abs=2e-6)
    for text in TEXTS:
        found, wanted = plain.embed_query(text), whole.embed_query(text)
        assert found.dtype == np.float32 and found == pytest.approx(wanted, abs=2e-6)


def test_it_is_known_by_the_same_record_and_knows_the_same_words(both: tuple[Embedder, Embedder]) -> None:
    plain, whole = both
    assert (plain.record, plain.languages, plain.unknown_shares) == (
        whole.record,
        whole.languages,
        whole.unknown_shares,
    )
    long = TEXTS[3] + "水泵的保修期" * 200
    assert plain.unknown_share(long) == whole.unknown_share(long) > 0


def test_a_question_needs_none_of_the_large_libraries() -> None:
    """A search in the terminal took 13 s, nearly all of it for imports."""
    code = (
        "import sys; from ragkit import embedding\n"
        "embedding.load('auto', 'auto', few=True).embed_query('What is it?')\n"
        "print(*{'torch', 'transformers', 'sentence_transformers', 'llama_index'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
