"""Every known model as a tiny one of its build: what reaches its tokenizer, how it pools, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from ragkit import embedding
from ragkit.embedding_records import KNOWN, RECORD_FILE, ModelRecord
from ragkit.errors import ModelError
from tests import tiny_embedding
from tests.tiny_embedding import sentence_files

OTHERS = [record for record in KNOWN if record != embedding.BUNDLED]
TEXTS = ["年 假 十 天", "the pump warranty is ten days " * 6, "annual leave", "what"]
QUESTION = "what is annual leave"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelRecord], Path]:
    """The folder of a known model's stand-in, made once."""
    made: dict[str, Path] = {}

    def get(record: ModelRecord) -> Path:
        if record.name not in made:
            made[record.name] = tiny_embedding.known(tmp_path_factory.mktemp("known"), record)
        return made[record.name]

    return get


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A BERT of no known name that pools by the mean."""
    folder = tiny_embedding.bert(tmp_path / "mine")
    sentence_files(folder, pooling="mean", dim=32)
    return folder


def network(embedder: embedding.Embedder) -> SentenceTransformer:
    found: SentenceTransformer = embedder.model.network  # type: ignore[attr-defined]
    return found


def by_hand(embedder: embedding.Embedder, text: str) -> np.ndarray:
    """One text alone, without padding, pooled as its record says."""
    tokenizer, transformer = network(embedder).tokenizer, network(embedder)[0].model
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=embedder.record.max_tokens)
    with torch.no_grad():
        states = transformer(**ids).last_hidden_state[0]  # (tokens, dim)
    pooled = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[embedder.record.pooling]
    return (pooled / pooled.norm()).numpy()


@pytest.mark.parametrize("record", OTHERS, ids=lambda record: record.name)
def test_a_known_model_reads_its_prefixes_and_pools_as_it_was_trained(
    record: ModelRecord, stand_in: Callable[[ModelRecord], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = embedding.load(str(stand_in(record)), "cpu")
    assert (embedder.record.name, embedder.record.pooling) == (record.name, record.pooling)
    seen: list[str] = []
    kind = type(network(embedder).tokenizer)
    original = kind.__call__

    def recording(self: object, text: list[str], *rest: object, **options: object) -> object:
        seen.extend(text)
        return original(self, text, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "__call__", recording)
        embedder.embed(TEXTS)
        # Twice each: to be counted, and to be read. The prefix alone is counted by the library.
        read = [text for text in seen if text != record.text_prefix]
        assert sorted(read) == sorted(2 * [record.text_prefix + text for text in TEXTS])
        seen.clear()
        query = embedder.embed_query(QUESTION)
    assert [text for text in seen if text != record.query_prefix] == [record.query_prefix + QUESTION]

    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), record.dim) and vectors.dtype == np.float32
    hand = np.stack([by_hand(embedder, record.text_prefix + text) for text in TEXTS])
    assert vectors == pytest.approx(hand, abs=2e-5)
    assert query == pytest.approx(by_hand(embedder, record.query_prefix + QUESTION), abs=2e-5)
    assert network(embedder).max_seq_length == record.max_tokens
    assert network(embedder).tokenizer.padding_side == record.padding


def test_the_poolings_differ_so_that_a_wrong_one_would_show(tmp_path: Path) -> None:
    found = []
    for pooling in ("mean", "cls", "last"):
        folder = tiny_embedding.bert(tmp_path / pooling)
        sentence_files(folder, pooling=pooling, dim=32)
        found.append(embedding.load(str(folder), "cpu").embed(TEXTS[:1])[0])
    assert all(found[a] @ found[b] < 0.99 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_tokenizer_that_falls_back_on_bytes_knows_every_language(
    stand_in: Callable[[ModelRecord], Path],
) -> None:
    embedder = embedding.load(str(stand_in(OTHERS[-1])), "cpu")
    assert embedder.unknown_share("龘靐齉爩 ?") == 0.0
    assert embedder.languages == ("zh", "en") and embedder.unknown_shares == {"zh": 0.0, "en": 0.0}


def test_a_language_whose_words_the_tokenizer_lacks_is_not_known(
    stand_in: Callable[[ModelRecord], Path],
) -> None:
    """The stand-in has a handful of words: what its record promises does not count."""
    embedder = embedding.load(str(stand_in(OTHERS[1])), "cpu")
    assert embedder.record.multilingual and embedder.languages == ()
    assert min(embedder.unknown_shares.values()) > embedding.UNKNOWN_LIMIT


def test_half_precision_weights_run_in_full_on_a_cpu(stand_in: Callable[[ModelRecord], Path]) -> None:
    embedder = embedding.load(str(stand_in(OTHERS[-1])), "cpu")
    assert next(network(embedder).parameters()).dtype == torch.float32


def test_a_long_text_is_cut_at_the_limit(bert: Path) -> None:
    values = {"dim": 32, "max_tokens": 6, "pooling": "mean"}
    (bert / RECORD_FILE).write_text(json.dumps(values), encoding="utf-8")
    embedder = embedding.load(str(bert), "cpu")
    vectors = embedder.embed(
        ["annual leave is ten days", "annual leave is ten the pump the pump", "ten days"]
    )
    assert vectors[0] @ vectors[1] == pytest.approx(1.0, abs=1e-5)
    assert vectors[0] @ vectors[2] < 0.99


def test_a_models_own_prompts_reach_it(bert: Path) -> None:
    """LlamaIndex's class blanks them: its question vectors had a cosine of 0.63 to the model's own."""
    sentence_files(bert, pooling="mean", dim=32, prompts={"query": "instruct : ", "document": "passage : "})
    embedder, plain = embedding.load(str(bert), "cpu"), SentenceTransformer(str(bert), device="cpu")
    for ours, theirs, bare in (
        (embedder.embed_query(QUESTION), plain.encode_query(QUESTION), plain.encode(QUESTION)),
        (embedder.embed([QUESTION])[0], plain.encode_document(QUESTION), plain.encode(QUESTION)),
    ):
        assert ours @ theirs == pytest.approx(1.0, abs=1e-5)
        assert ours @ bare < 0.999


def test_a_default_prompt_is_not_put_before_the_records(bert: Path) -> None:
    tiny_embedding.write(
        bert,
        config_sentence_transformers={
            "prompts": {"query": "what ", "text": ""},
            "default_prompt_name": "query",
        },
    )
    embedder, plain = embedding.load(str(bert), "cpu"), SentenceTransformer(str(bert), device="cpu")
    assert embedder.embed([QUESTION])[0] @ plain.encode(QUESTION, prompt="") == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_an_explicit_record_sets_the_pooling_of_a_bare_transformer(tmp_path: Path, pooling: str) -> None:
    make = tiny_embedding.qwen if pooling == "last" else tiny_embedding.bert
    folder = make(tmp_path / "bare")
    values = {"dim": 32, "max_tokens": 64, "pooling": pooling, "query_prefix": "what ", "padding": "left"}
    (folder / RECORD_FILE).write_text(json.dumps(values), encoding="utf-8")
    embedder = embedding.load(str(folder), "cpu")
    vectors = embedder.embed(["annual leave", "ten days"])
    assert vectors[0] == pytest.approx(by_hand(embedder, "annual leave"), abs=2e-5)
    assert embedder.embed_query("is") == pytest.approx(by_hand(embedder, "what is"), abs=2e-5)


def test_a_record_that_says_another_pooling_than_the_modules_is_refused(bert: Path) -> None:
    values = {"dim": 32, "max_tokens": 64, "pooling": "cls"}
    (bert / RECORD_FILE).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=r"has pooling mean.*says pooling cls") as caught:
        embedding.load(str(bert), "cpu")
    assert RECORD_FILE in caught.value.hint


def test_a_record_that_says_another_dimension_is_refused(bert: Path) -> None:
    (bert / RECORD_FILE).write_text(
        json.dumps({"dim": 64, "max_tokens": 64, "pooling": "mean"}), encoding="utf-8"
    )
    with pytest.raises(ModelError, match=r"has dim 32.*says dim 64"):
        embedding.load(str(bert), "cpu")


def test_a_record_that_promises_more_tokens_than_there_are_positions_is_refused(bert: Path) -> None:
    (bert / RECORD_FILE).write_text(
        json.dumps({"dim": 32, "max_tokens": 65, "pooling": "mean"}), encoding="utf-8"
    )
    with pytest.raises(ModelError, match="reads 64 tokens"):
        embedding.load(str(bert), "cpu")


def test_weights_with_holes_are_an_error_and_no_vector(bert: Path) -> None:
    embedder = embedding.load(str(bert), "cpu")
    with torch.no_grad():
        next(network(embedder).parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="no numbers"):
        embedder.embed(["annual leave"])


def test_a_failure_is_told_at_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LlamaIndex's class tries three times and sleeps between: 8 s and more for a memory that is full."""
    embedder = embedding.load(str(bert), "cpu")
    tries: list[int] = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(network(embedder)[0], "forward", fail)
    with pytest.raises(ModelError, match="out of memory"):
        embedder.embed(["annual leave"])
    with pytest.raises(ModelError, match="out of memory"):
        embedder.embed_query("annual leave")
    assert len(tries) == 2
