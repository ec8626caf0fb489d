from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ragkit.engine import Engine
from ragkit.retrieval import POOL, bm25, fuse, idf, retrieve
from ragkit.schema import Filters
from ragkit.store import Candidate
from tests.fakes import WordEmbedding


def test_idf_is_never_negative_and_highest_for_what_is_not_there() -> None:
    assert idf(10, 10) > 0
    assert idf(0, 10) == math.log(1 + 10.5 / 0.5)


def test_bm25_rewards_rare_terms_and_short_chunks() -> None:
    weights = {"rare": 3.0, "common": 0.5}
    short = Candidate(1, 1, 10, {"rare": 1.0})
    assert bm25(short, weights, 20.0) > bm25(Candidate(2, 1, 40, {"rare": 1.0}), weights, 20.0)
    assert bm25(short, weights, 20.0) > bm25(Candidate(3, 1, 10, {"common": 3.0}), weights, 20.0)


def test_bm25_is_the_textbook_value() -> None:
    # tf 2, length equal to the mean: norm = k1 = 1.2, so idf * 2 * 2.2 / 3.2.
    assert bm25(Candidate(1, 1, 20, {"a": 2.0}), {"a": 1.5}, 20.0) == pytest.approx(1.5 * 4.4 / 3.2)


def test_fusion_is_a_weighted_sum_of_min_max_scores() -> None:
    lexical, dense = [(1, 10.0), (2, 5.0)], [(2, 0.8), (3, 0.4)]
    # Legs shorter than the pool start at 0.
    assert dict(fuse(lexical, dense, 0.7)) == pytest.approx({1: 0.7, 2: 0.7 * 0.5 + 0.3, 3: 0.3 * 0.5})


def test_a_full_leg_starts_at_its_last_score() -> None:
    lexical = [(n, float(100 - n)) for n in range(POOL)]
    fused = dict(fuse(lexical, [], 1.0))
    assert fused[0] == 1.0 and fused[POOL - 1] == 0.0


def test_an_empty_leg_changes_nothing() -> None:
    assert fuse([(1, 2.0)], [], 1.0) == [(1, 1.0)]
    assert fuse([], [], 1.0) == []


def test_a_hit_says_where_it_is_and_what_each_leg_gave(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "# 假期\n\n年假为十天。\n", "b.md": "# 其他\n\n食堂在二楼。\n"}))
    engine.embed()
    hit = engine.search("年假")[0]
    assert (hit.source, hit.heading) == ("docs/a.md", ("假期",))
    assert engine.text(hit.doc_id)[hit.start : hit.end] == hit.text
    assert hit.lexical is not None and hit.dense is not None and 0 < hit.score <= 1


def test_without_an_embedder_words_alone_decide(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。", "b.md": "食堂在二楼。"}))
    found = retrieve(engine._store, None, "年假", limit=5)
    assert [hit.source for hit in found.hits] == ["docs/a.md"]
    assert found.hits[0].dense is None


def test_the_dense_leg_is_off_for_a_language_the_model_cannot_read(
    engine: Engine, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。"}))
    engine.embed()
    assert engine._dense.answering is not None
    monkeypatch.setattr(engine._dense.answering, "unknown_share", lambda _: 0.6)
    assert engine.search("年假")[0].dense is None


def test_the_fit_is_the_share_of_the_question_that_a_passage_holds(
    engine: Engine, folder: Callable[..., Path]
) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。", "b.md": "食堂在二楼。"}))
    assert retrieve(engine._store, None, "年假", limit=5).fit == pytest.approx(1.0)
    assert 0 < retrieve(engine._store, None, "年假 zebra", limit=5).fit < 0.6
    assert retrieve(engine._store, None, "zebra", limit=5).fit == 0.0


def test_a_question_can_be_kept_to_chosen_documents(engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。", "b.md": "年假须申请。"}))
    engine.embed()
    wanted = next(d.id for d in engine.documents() if d.path == "b.md")
    hits = engine.search("年假", filters=Filters(frozenset([wanted])))
    assert {hit.doc_id for hit in hits} == {wanted}


def test_a_model_that_fails_while_asked_leaves_words_to_answer(
    engine: Engine, embedding: WordEmbedding, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。"}))
    engine.embed()

    def fail(_: str) -> list[float]:
        raise RuntimeError("device lost")

    monkeypatch.setattr(WordEmbedding, "_get_query_embedding", lambda self, query: fail(query))
    assert engine.search("年假")[0].source == "docs/a.md"
    assert engine.embedding.state == "failed" and "device lost" in engine.embedding.error


@pytest.mark.parametrize("question", ["", "？！", "   ", '"', "a' OR 1=1 --", "年" * 3000, "\ud83d"])
def test_any_question_can_be_asked(engine: Engine, folder: Callable[..., Path], question: str) -> None:
    engine.sync(folder(**{"a.md": "年假为十天。"}))
    engine.embed()
    engine.ask(question)
