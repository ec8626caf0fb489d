"""Which record a folder gets, and what vectors are stored under."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit import embedding, models
from ragkit.config import REPOSITORY
from ragkit.embedding_records import BUNDLED, KNOWN, RECORD_FILE, ModelRecord, find_known, record_of
from ragkit.errors import ModelError
from tests.tiny_embedding import sentence_files, write

FIRST_BUNDLED_KEY = (
    '{"multilingual": false, "name": "sentence-transformers/all-MiniLM-L6-v2", "normalise": true, '
    '"query_prefix": "", "revision": "53aa51172d142c89", "text_prefix": ""}'
)
QWEN_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\\nQuery:"  # as in JSON


def shell(folder: Path, *, dim: int = 32, positions: int = 64, model_type: str = "bert") -> Path:
    """A folder that looks like a model: its weights are nobody's."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"hidden_size": dim, "max_position_embeddings": positions, "model_type": model_type}
    write(folder, config=shape, tokenizer={})
    (folder / "model.safetensors").write_bytes(folder.name.encode())
    return folder


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


# ── Keys ──


def test_the_bundled_models_key_is_the_one_that_libraries_hold_already() -> None:
    assert BUNDLED.key == FIRST_BUNDLED_KEY


def test_the_key_of_a_callers_model_is_the_one_that_libraries_hold_already() -> None:
    assert ModelRecord("WordEmbedding:words", "").key == (
        '{"multilingual": false, "name": "WordEmbedding:words", "normalise": true, "query_prefix": "", '
        '"revision": "", "text_prefix": ""}'
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            '{"dim": 384, "max_tokens": 128, "name": "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", '
            '"normalise": true, "padding": "right", "pooling": "mean", "query_prefix": "", "revision": "0123", '
            '"text_prefix": ""}',
        ),
        (
            "intfloat/multilingual-e5-small",
            '{"dim": 384, "max_tokens": 512, "name": "intfloat/multilingual-e5-small", "normalise": true, '
            '"padding": "right", "pooling": "mean", "query_prefix": "query: ", "revision": "0123", '
            '"text_prefix": "passage: "}',
        ),
        (
            "BAAI/bge-small-zh-v1.5",
            '{"dim": 512, "max_tokens": 512, "name": "BAAI/bge-small-zh-v1.5", "normalise": true, '
            '"padding": "right", "pooling": "cls", "query_prefix": "为这个句子生成表示以用于检索相关文章：", '
            '"revision": "0123", "text_prefix": ""}',
        ),
        (
            "BAAI/bge-m3",
            '{"dim": 1024, "max_tokens": 8192, "name": "BAAI/bge-m3", "normalise": true, "padding": "right", '
            '"pooling": "cls", "query_prefix": "", "revision": "0123", "text_prefix": ""}',
        ),
        (
            "Qwen/Qwen3-Embedding-0.6B",
            '{"dim": 1024, "max_tokens": 32768, "name": "Qwen/Qwen3-Embedding-0.6B", "normalise": true, '
            f'"padding": "left", "pooling": "last", "query_prefix": "{QWEN_QUERY}", "revision": "0123", '
            '"text_prefix": ""}',
        ),
    ],
)
def test_the_key_of_a_known_model_never_changes(name: str, key: str) -> None:
    known = find_known(name)
    assert known and replace(known, revision="0123").key == key


def test_what_makes_no_vector_is_no_part_of_the_key() -> None:
    known = KNOWN[2]
    assert replace(known, languages=(), licence="").key == known.key
    for change in (
        {"dim": 8},
        {"max_tokens": 8},
        {"pooling": "cls"},
        {"padding": "left"},
        {"text_prefix": ""},
    ):
        assert replace(known, **change).key != known.key  # type: ignore[arg-type]


def test_vectors_of_a_folders_model_answer_on_under_its_new_record() -> None:
    """The first ragkit named it by the folder alone; to embed it again would cost its owner an hour."""
    new = replace(KNOWN[1], revision="0123")
    old = {
        "multilingual": False,
        "name": "my-folder",
        "normalise": True,
        "query_prefix": "",
        "revision": "0123",
    }
    assert new.same_vectors(json.dumps(old | {"text_prefix": ""}))
    assert new.same_vectors(new.key) and BUNDLED.same_vectors(FIRST_BUNDLED_KEY)


@pytest.mark.parametrize(
    "change", [{"revision": "9999"}, {"query_prefix": "q: "}, {"text_prefix": "p: "}, {"pooling": "cls"}]
)
def test_vectors_made_otherwise_do_not_answer(change: dict[str, str]) -> None:
    new = replace(KNOWN[1], revision="0123")
    assert not new.same_vectors(replace(new, **change).key)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "{", "[]", "{}", '{"revision": "0123"}'])
def test_a_key_that_says_too_little_is_another_models(key: str) -> None:
    assert not replace(KNOWN[1], revision="0123").same_vectors(key)


# ── Which languages ──


def test_only_a_model_for_both_languages_is_multilingual() -> None:
    assert [record.name for record in KNOWN if not record.multilingual] == [
        BUNDLED.name,
        "BAAI/bge-small-zh-v1.5",
    ]


# ── Where a model is found ──


def test_a_known_model_is_found_by_its_name_or_the_last_part_of_it(tmp_path: Path) -> None:
    place = shell(models.folder_of("BAAI/bge-m3", tmp_path), dim=1024, positions=8194)
    for name in ("BAAI/bge-m3", "bge-m3", "BGE-M3", str(place)):
        folder, record = embedding.find(name, tmp_path)
        assert (folder, record.name, record.pooling) == (place, "BAAI/bge-m3", "cls")
    assert record.revision == (models.file_sha256(place / "model.safetensors") or "")[:16]


def test_a_known_model_is_found_in_the_hubs_cache(tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--intfloat--multilingual-e5-small"
    write(repository, refs__main="")
    (repository / "refs" / "main.json").rename(repository / "refs" / "main")
    (repository / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    place = shell(repository / "snapshots" / ("a" * 40), dim=384, positions=512)
    folder, record = embedding.find("multilingual-e5-small", tmp_path)
    assert (folder, record.query_prefix, record.text_prefix) == (place, "query: ", "passage: ")


def test_the_bundled_model_is_found_by_its_name_too(tmp_path: Path) -> None:
    for name in ("auto", "all-MiniLM-L6-v2", BUNDLED.name):
        assert embedding.find(name, tmp_path) == (embedding.bundled_folder(), BUNDLED)


def test_a_known_model_that_is_not_here_comes_with_the_command_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no embedding model BAAI/bge-m3") as caught:
        embedding.find("bge-m3", tmp_path)
    assert "python -m ragkit download BAAI/bge-m3" in caught.value.hint


def test_a_name_that_nobody_knows_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        embedding.find("nonsense", tmp_path)
    assert "auto" in caught.value.hint and "BAAI/bge-m3" in caught.value.hint


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    place = shell(tmp_path / "bge-m3", dim=1024, positions=8194)
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"without model\.safetensors"):
        embedding.find(str(place), tmp_path)


def test_finding_a_model_loads_no_model_library(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from ragkit import embedding\n"
        f"embedding.find('auto', pathlib.Path({str(tmp_path)!r}))\n"
        "print([m for m in ('torch', 'transformers', 'llama_index') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# ── What a folder says of itself ──


def test_a_folder_of_a_known_name_with_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"dim 768.*BAAI/bge-m3|BAAI/bge-m3.*dim 1024") as caught:
        record_of(shell(tmp_path / "bge-m3", dim=768))
    assert "Rename" in caught.value.hint


def test_a_folder_of_a_known_name_with_another_pooling_is_refused(tmp_path: Path) -> None:
    place = shell(tmp_path / "bge-m3", dim=1024)
    sentence_files(place, pooling="mean", dim=1024)
    with pytest.raises(ModelError, match="pooling mean") as caught:
        record_of(place)
    assert "pooling cls" in caught.value.message


def test_a_models_own_files_tell_its_record(tmp_path: Path) -> None:
    place = shell(tmp_path / "mine", dim=48, positions=100)
    prompts = {"query": "Q: ", "document": "D: "}
    sentence_files(place, pooling="last", dim=48, limit=80, prompts=prompts)
    write(place, tokenizer_config={"padding_side": "left"})
    assert record_of(place) == ModelRecord("mine", "", "Q: ", "D: ", True, 48, 80, "last", "left")


@pytest.mark.parametrize("name", ["passage", "corpus", "text"])
def test_the_prompt_of_passages_goes_by_several_names(tmp_path: Path, name: str) -> None:
    place = shell(tmp_path / "mine")
    sentence_files(place, pooling="mean", dim=32, prompts={name: "P: "})
    assert record_of(place).text_prefix == "P: "


def test_without_a_limit_of_its_own_the_tokenizer_and_the_positions_set_it(tmp_path: Path) -> None:
    place = shell(tmp_path / "mine", positions=514, model_type="xlm-roberta")
    sentence_files(place, pooling="mean", dim=32)
    assert record_of(place).max_tokens == 512
    write(place, tokenizer_config={"model_max_length": 300})
    assert record_of(place).max_tokens == 300


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["mean", "cls"]}, r"mean \+ cls"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": False}, "without the prompt"),
    ],
)
def test_a_pooling_that_ragkit_does_not_know_is_refused(
    tmp_path: Path, pooling: dict[str, object], said: str
) -> None:
    place = shell(tmp_path / "mine")
    sentence_files(place, pooling="mean", dim=32)
    write(place, **{"1_Pooling__config": pooling})
    with pytest.raises(ModelError, match=said):
        record_of(place)


@pytest.mark.parametrize("kind", ["custom_code.Pooling", "sentence_transformers.models.Dense"])
def test_modules_that_bring_code_or_change_the_vector_are_refused(tmp_path: Path, kind: str) -> None:
    place = shell(tmp_path / "mine")
    write(
        place,
        modules=[
            {"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1", "type": kind},
        ],
    )
    with pytest.raises(ModelError, match="is built of"):
        record_of(place)


def test_a_folder_that_says_nothing_is_refused_with_the_json_to_write(tmp_path: Path) -> None:
    place = shell(tmp_path / "mine", dim=48)
    with pytest.raises(ModelError, match="does not say") as caught:
        record_of(place)
    (place / RECORD_FILE).write_text(caught.value.hint[caught.value.hint.index("{") :], encoding="utf-8")
    record = record_of(place)
    assert (record.name, record.dim, record.pooling, record.query_prefix) == ("mine", 48, "mean", "query: ")
    assert record.multilingual


def test_a_family_that_needs_prefixes_is_not_run_without_them(tmp_path: Path) -> None:
    """The files of most e5 models name none: without them they lose a good part of their quality, silently."""
    place = shell(tmp_path / "multilingual-e5-base")
    sentence_files(place, pooling="mean", dim=32)
    with pytest.raises(ModelError, match="names no prefixes"):
        record_of(place)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pooling": "max"},
        {"dim": 0},
        {"dim": "32"},
        {"max_tokens": None},
        {"padding": "top"},
        {"languages": ["fr"]},
        {"languages": "zh"},
        {"colour": "red"},
        {"normalise": 1},
    ],
)
def test_an_explicit_record_that_makes_no_sense_names_the_field(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    place = shell(tmp_path / "mine")
    values = {"dim": 32, "max_tokens": 64, "pooling": "mean"} | wrong
    (place / RECORD_FILE).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=next(iter(wrong))) as caught:
        record_of(place)
    assert RECORD_FILE in caught.value.hint


def test_an_explicit_record_goes_before_a_known_name(tmp_path: Path) -> None:
    place = shell(tmp_path / "multilingual-e5-small", dim=384)
    values = {"dim": 384, "max_tokens": 64, "pooling": "mean", "query_prefix": "mine: "}
    (place / RECORD_FILE).write_text(json.dumps(values), encoding="utf-8")
    assert record_of(place).query_prefix == "mine: "


@pytest.mark.parametrize("record", [BUNDLED, KNOWN[-1], replace(BUNDLED, backend="onnx-int8")])
def test_a_record_without_the_hash_of_its_weights_knows_its_vectors(record: ModelRecord) -> None:
    key = replace(record, revision="0123").key
    assert replace(record, revision="").is_kind_of(key)
    others = (
        replace(record, name="me/mine"),
        replace(record, text_prefix="passage: "),
        replace(record, backend="torch" if record.backend != "torch" else "onnx-int8"),
    )
    assert not any(other.is_kind_of(key) for other in others)
    assert not record.is_kind_of("of an earlier ragkit")
