"""The library as a LlamaIndex retriever: its own query engine answers from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer

from ragkit import HybridRetriever
from ragkit.engine import Engine
from tests.fakes import ScriptedLLM


def test_nodes_carry_the_place_and_keep_it_from_the_model(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    engine.sync(folder(**{"a.md": "# 假期\n\n年假为十天。\n"}))
    (found,) = HybridRetriever(engine).retrieve("年假")
    assert found.score == 1.0
    assert found.node.metadata["fused"] == 1.0 and found.node.metadata["lexical"] > 0
    assert found.node.metadata["source"] == "docs/a.md" and found.node.metadata["heading"] == ["假期"]
    assert "docs/a.md" not in found.node.get_content(metadata_mode="llm")  # type: ignore[arg-type]


def test_a_query_engine_of_llamaindex_runs_on_it(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。"}))
    llm = ScriptedLLM().enqueue("十天。")
    query_engine = RetrieverQueryEngine.from_args(
        HybridRetriever(engine),
        llm=llm,
        response_synthesizer=get_response_synthesizer(llm=llm, response_mode=ResponseMode.COMPACT),
    )
    response = query_engine.query("年假有多少天？")
    assert "年假为十天" in response.source_nodes[0].node.get_content()
