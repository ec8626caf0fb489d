"""Passages as LlamaIndex nodes. Imports llama_index: only what deals in nodes gets here."""

from __future__ import annotations

from llama_index.core.schema import NodeWithScore, TextNode

from ragkit.schema import Hit


def as_node(hit: Hit) -> TextNode:
    """A passage as LlamaIndex knows it: its place and figures are metadata that models do not get to read."""
    told = {
        "source": hit.source,
        "page": hit.page,
        "heading": list(hit.heading),
        "start": hit.start,
        "end": hit.end,
        "lexical": hit.lexical,
        "dense": hit.dense,
        "fused": hit.fused,
        "rerank": hit.rerank,
    }
    return TextNode(
        id_=str(hit.chunk_id),
        text=hit.text,
        metadata=told,
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        excluded_embed_metadata_keys=list(told),
        excluded_llm_metadata_keys=list(told),
    )


def scored(hit: Hit, *, headed: bool = False) -> NodeWithScore:
    """A passage with its score; `headed`: under its headings, as it is embedded."""
    node = as_node(hit)
    if headed and hit.heading:
        node.set_content(f"{' > '.join(hit.heading)}\n{hit.text}")
    return NodeWithScore(node=node, score=hit.score)
