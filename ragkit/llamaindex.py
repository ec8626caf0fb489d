"""ragkit's retrieval as a LlamaIndex retriever, so that its query engines run on our index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from ragkit.schema import Filters, Hit

if TYPE_CHECKING:
    from ragkit.engine import Engine


class HybridRetriever(BaseRetriever):
    """`RetrieverQueryEngine.from_args(HybridRetriever(engine), llm=llm)` answers from the library."""

    def __init__(self, engine: Engine, *, limit: int = 6, filters: Filters | None = None) -> None:
        super().__init__()
        self._engine = engine
        self._limit = limit
        self._filters = filters

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._engine.search(query_bundle.query_str, limit=self._limit, filters=self._filters)
        return [NodeWithScore(node=as_node(hit), score=hit.score) for hit in hits]


def as_node(hit: Hit) -> TextNode:
    """A passage as LlamaIndex knows it: its place is metadata that models do not get to read."""
    place = {
        "source": hit.source,
        "page": hit.page,
        "heading": list(hit.heading),
        "start": hit.start,
        "end": hit.end,
    }
    return TextNode(
        id_=str(hit.chunk_id),
        text=hit.text,
        metadata=place,
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        excluded_embed_metadata_keys=list(place),
        excluded_llm_metadata_keys=list(place),
    )
