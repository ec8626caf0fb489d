"""The rerank hook: its order and figures count; what fails leaves the fused order and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import Field

from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.retrieval import RERANKED
from tests import tiny_embedding


class Shortest(BaseNodePostprocessor):
    """Likes the shortest passage best; `seen` keeps what it was given."""

    top_n: int = 1 << 30
    logits: bool = False
    failure: str = ""
    seen: list[str] = Field(default_factory=list)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if self.failure:
            raise RuntimeError(self.failure)
        self.seen += [node.node.get_content() for node in nodes]
        for node in nodes:
            length = len(node.node.get_content())
            node.score = 5.0 - length if self.logits else 1 / length
        return sorted(nodes, key=lambda node: -(node.score or 0))[: self.top_n]


@pytest.fixture
def ask_with(settings: Settings, folder: Callable[..., Path]) -> Any:
    docs = folder(
        **{"a.md": "年假年假年假，年假为十天。", "b.md": "年假须先申请，再休。", "c.md": "年假表。"}
    )

    def search(reranker: BaseNodePostprocessor) -> Engine:
        engine = Engine.open(settings, reranker=reranker)
        engine.sync(docs)
        return engine

    return search


def sources(engine: Engine) -> list[str]:
    return [hit.source for hit in engine.search("年假")]


def test_its_order_is_the_order_and_its_figures_are_kept(ask_with: Any) -> None:
    with ask_with(Shortest()) as engine:
        hits = engine.search("年假")
        assert [hit.source for hit in hits] == ["docs/c.md", "docs/b.md", "docs/a.md"]
        assert [hit.rerank for hit in hits] == [1 / len(hit.text) for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx([1 / len(hit.text) for hit in hits], abs=1e-6)
        assert all(hit.fused is not None for hit in hits)
        assert engine.reranking.state == "ready"


def test_what_it_leaves_out_comes_after_in_the_fused_order(ask_with: Any) -> None:
    """LlamaIndex's own reranker gives two back unless it is told otherwise."""
    with ask_with(Shortest(top_n=1)) as engine:
        hits = engine.search("年假")
        assert len(hits) == 3 and hits[0].source == "docs/c.md"
        assert hits[1].rerank is None and hits[1].fused is not None
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_scores_without_bounds_become_shares(ask_with: Any) -> None:
    with ask_with(Shortest(logits=True)) as engine:
        hits = engine.search("年假")
        assert hits[0].rerank == 1.0 and all(0 <= hit.score <= 1 for hit in hits)


def test_it_reads_a_passage_under_its_headings(settings: Settings, folder: Callable[..., Path]) -> None:
    reranker = Shortest()
    with Engine.open(settings, reranker=reranker) as engine:
        engine.sync(folder(**{"a.md": "# 假期\n\n## 年假\n\n为十天。\n"}))
        engine.search("年假")
    assert reranker.seen[0].startswith("假期 > 年假\n")


def test_only_the_best_chunks_are_given_to_it(settings: Settings, folder: Callable[..., Path]) -> None:
    reranker = Shortest()
    with Engine.open(settings, reranker=reranker) as engine:
        engine.sync(folder(**{f"{n}.md": f"年假第{n}条。" for n in range(RERANKED + 5)}))
        assert len(engine.search("年假", limit=100)) == RERANKED + 5
    assert len(reranker.seen) == RERANKED


def test_one_that_fails_leaves_the_fused_order_and_says_so(ask_with: Any) -> None:
    with ask_with(Shortest(failure="device lost")) as engine:
        assert sources(engine)[0] == "docs/a.md"
        assert engine.reranking.state == "failed" and "device lost" in engine.reranking.error
        assert engine.reranking.hint and engine.ask("年假有多少天？").citations


def test_by_itself_none_is_loaded_where_there_is_none(
    settings: Settings, folder: Callable[..., Path]
) -> None:
    with Engine.open(settings) as engine:
        engine.sync(folder(**{"a.md": "年假为十天。"}))
        assert engine.search("年假")[0].rerank is None
        assert engine.reranking.state == "off"


def test_one_that_is_not_on_this_machine_is_said_with_the_command(
    settings: Settings, folder: Callable[..., Path]
) -> None:
    with Engine.open(replace(settings, rerank="nobody/reranker")) as engine:
        engine.sync(folder(**{"a.md": "年假为十天。"}))
        assert engine.search("年假")[0].source == "docs/a.md"
        assert engine.reranking.state == "failed"
        assert "python -m ragkit download nobody/reranker" in engine.reranking.hint


@pytest.mark.usefixtures("one_thread")
def test_a_cross_encoder_in_a_folder_reranks(
    settings: Settings, folder: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    place = tiny_embedding.bert(tmp_path / "reranker")
    shape = BertConfig.from_pretrained(place)
    shape.num_labels = 1
    BertForSequenceClassification(shape).save_pretrained(place)
    with Engine.open(replace(settings, rerank=str(place), device="cpu")) as engine:
        engine.sync(folder(**{"a.md": "年假为十天。", "b.md": "年假的保修期。"}))
        hits = engine.search("年假")
        assert engine.reranking.state == "ready", engine.reranking.error
    assert len(hits) == 2
    assert all(hit.rerank is not None and 0 < hit.rerank < 1 for hit in hits)
