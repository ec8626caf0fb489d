"""What is made of stored chunks afterwards: vectors, and terms when the analyser changed. Nothing is parsed for it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ragkit.chunking import index_text
from ragkit.embedding import Embedder
from ragkit.store import Store, StoredChunk
from ragkit.text import ANALYSER_VERSION, index_terms

logger = logging.getLogger(__name__)

SLICE = 256  # chunks embedded between two commits: what is new gets its turn, and a crash costs no more


def embed_slice(
    store: Store, embedder: Embedder, missing: list[tuple[str, int]], *, cancelled: Callable[[], bool]
) -> int:
    """Embed up to SLICE of the chunks that have no vector of this model, and count them.

    Stops soon after `cancelled` says so; what is done by then is kept. Raises ModelError, StoreError.
    """
    stored = list(store.chunks([chunk_id for _, chunk_id in missing[:SLICE]]).values())
    done: list[int] = []
    vectors: list[NDArray[np.float32]] = []
    for rows, found in embedder.batches([_index_text(chunk) for chunk in stored], cancelled=cancelled):
        done += rows
        vectors.append(found)
    if done:
        store.put_vectors(embedder.record.key, [stored[row].hash for row in done], np.concatenate(vectors))
    return len(done)


def terms_are_old(store: Store) -> bool:
    """Whether an earlier analyser made the terms."""
    return store.meta("analyser") != str(ANALYSER_VERSION)


def refresh_terms(store: Store) -> None:
    """Make all terms anew."""
    logger.info("terms are made anew by analyser %d", ANALYSER_VERSION)
    store.put_terms(
        (
            (c.id, index_terms(_index_text(c)), index_terms(c.source.partition("/")[2]))
            for c in list(store.all_chunks())
        ),
        ANALYSER_VERSION,
    )


def _index_text(stored: StoredChunk) -> str:
    return index_text(stored.title, stored.heading, stored.lead + stored.text)
