"""ragkit's retrieval as a LlamaIndex retriever, so that its query engines run on our index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from ragkit.nodes import scored
from ragkit.schema import Filters

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
        return [scored(hit) for hit in hits]
