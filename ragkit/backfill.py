"""What is made of stored chunks afterwards: vectors, and terms when the analyser changed. Nothing is parsed for it."""

from __future__ import annotations

import logging
from collections.abc import Callable

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
    stored = store.chunks([chunk_id for _, chunk_id in missing[:SLICE]])
    # By length, so that no short text is padded to a long neighbour.
    texts = sorted(((_index_text(c), c.hash) for c in stored.values()), key=lambda item: len(item[0]))
    vectors = embedder.embed([text for text, _ in texts], cancelled=cancelled)
    hashes = [hash for _, hash in texts[: len(vectors)]]
    if hashes:
        store.put_vectors(embedder.record.key, hashes, vectors)
    return len(hashes)


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
