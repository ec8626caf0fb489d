"""The doctor on embedding models: how one is used, whether its vectors make sense, and what to do when they do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ragkit import embedding, embedding_int8, models
from ragkit.__main__ import main
from ragkit.config import Settings
from ragkit.doctor import examine
from ragkit.doctor.embedding_here import embedder, sense
from ragkit.doctor.models_here import local_models
from ragkit.doctor.report import Check
from ragkit.embedding_int8 import PACKAGES
from ragkit.embedding_records import KNOWN, RECORD_FILE
from ragkit.errors import ModelError
from ragkit.schema import Language
from tests import tiny_embedding
from tests.fakes import WordEmbedding


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def look(settings: Settings) -> Callable[[str], dict[str, Check]]:
    """Check a model as the one in use."""

    def run(where: str) -> dict[str, Check]:
        return {check.id: check for check in embedder(replace(settings, embedding=where, device="cpu"))}

    return run


def known(settings: Settings, name: str) -> Path:
    """A stand-in for a known model where a download would have put it."""
    record = next(record for record in KNOWN if record.name == name)
    made = tiny_embedding.known(settings.data_dir / "models", record)
    return made.rename(models.folder_of(name, settings.data_dir))


def test_an_embedding_model_that_is_off_is_skipped(look: Callable[[str], dict[str, Check]]) -> None:
    assert [check.state for check in look("off").values()] == ["skipped"]


def test_the_bundled_model_makes_sense_of_english_and_says_that_chinese_is_not_for_it(
    look: Callable[[str], dict[str, Check]],
) -> None:
    found = look("auto")
    assert {id: check.state for id, check in found.items()} == {
        "embedding.files": "ok",
        "embedding.record": "ok",
        "embedding.run": "ok",
        "embedding.int8": "skipped",
        "embedding.sense_zh": "skipped",
        "embedding.sense_en": "ok",
    }
    run, record = found["embedding.run"].facts, found["embedding.record"].facts
    assert (run["dimensions"], run["unknown_en"]) == (384, 0) and float(str(run["unknown_zh"])) > 0.5
    assert (record["pooling"], record["max_tokens"], record["licence"]) == ("mean", 256, "Apache-2.0")
    assert "before a question: nothing; before a passage: nothing" in found["embedding.record"].message.en
    assert found["embedding.sense_zh"].message.zh.startswith("中文：未检查")


def test_int8_is_named_with_what_switches_it_on(
    look: Callable[[str], dict[str, Check]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_int8, "find_spec", lambda _: None)
    assert (
        f"-m pip install onnxruntime=={PACKAGES['onnxruntime']}" in look("auto")["embedding.int8"].message.en
    )
    monkeypatch.setattr(embedding_int8, "find_spec", lambda _: True)
    assert look("auto")["embedding.int8"].message.en.endswith("RAGKIT_EMBEDDING=onnx-int8:auto")


@pytest.mark.skipif(bool(embedding_int8.lacking()), reason="ONNX Runtime and its tools are not installed")
def test_a_model_in_int8_is_checked_as_one(look: Callable[[str], dict[str, Check]]) -> None:
    found = look("onnx-int8:auto")
    assert {check.state for id, check in found.items() if id != "embedding.sense_zh"} == {"ok"}
    assert found["embedding.run"].facts["model"] == "sentence-transformers/all-MiniLM-L6-v2 (int8)"
    assert Path(str(found["embedding.int8"].facts["file"])).is_file()


def test_a_known_model_is_shown_with_its_prefixes(
    settings: Settings, look: Callable[[str], dict[str, Check]]
) -> None:
    known(settings, "intfloat/multilingual-e5-small")
    found = look("multilingual-e5-small")
    assert (
        "before a question: 'query: '; before a passage: 'passage: '" in found["embedding.record"].message.en
    )
    assert "问题前缀：'query: '" in found["embedding.record"].message.zh


def test_words_that_a_model_should_know_and_does_not_are_told(
    settings: Settings, look: Callable[[str], dict[str, Check]]
) -> None:
    """The stand-in's vocabulary has a few words: as a model whose tokenizer came from elsewhere."""
    known(settings, "intfloat/multilingual-e5-small")
    found = look("multilingual-e5-small")["embedding.sense_zh"]
    assert found.state == "warn" and "Chinese" in found.message.en and "中文" in found.message.zh
    assert found.fix and found.fix.en.endswith("download intfloat/multilingual-e5-small")


class Backwards(WordEmbedding):
    """A question lies where its answer does not, as with a prefix or a pooling of another model."""

    def _get_query_embedding(self, query: str) -> list[float]:
        away = [-value for value in self._vector(" ".join(embedding.SAMPLES.values()))]
        return away


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_question_that_is_not_near_its_answer_is_red_with_the_next_step(language: Language) -> None:
    record = replace(KNOWN[2], dim=64)
    right, wrong = (
        sense(embedding.Embedder(model(), record), language) for model in (WordEmbedding, Backwards)
    )
    assert (right.state, wrong.state) == ("ok", "fail")
    assert wrong.fix and wrong.fix.en.endswith("-m ragkit download intfloat/multilingual-e5-small")
    assert wrong.fix.zh.startswith("请对照模型卡")


def test_a_model_that_names_no_language_is_only_warned_of() -> None:
    record = replace(KNOWN[2], dim=64, languages=())
    assert sense(embedding.Embedder(Backwards(), record), "zh").state == "warn"


def test_a_model_that_gives_all_texts_one_vector_is_red(
    tmp_path: Path, look: Callable[[str], dict[str, Check]]
) -> None:
    folder = tiny_embedding.bert(tmp_path / "mine")
    tiny_embedding.sentence_files(folder, pooling="cls", dim=32)
    (folder / RECORD_FILE).write_text(json.dumps({"dim": 32, "max_tokens": 2, "pooling": "cls"}), "utf-8")
    found = look(str(folder))["embedding.run"]
    assert found.state == "fail" and found.fix and "sentence-transformers" in found.fix.en


def test_a_model_that_is_not_here_is_red_with_the_download(settings: Settings) -> None:
    with pytest.raises(ModelError) as caught:
        list(embedder(replace(settings, embedding="bge-m3")))
    assert "download BAAI/bge-m3" in caught.value.hint
    report = examine(settings, embedding=str(settings.data_dir / "nowhere"))
    (found,) = [check for check in report.checks if check.id == "embedding.run"]
    assert found.state == "fail" and found.fix and report.exit_code == 1


def test_a_downloaded_embedding_model_is_listed_as_one(settings: Settings) -> None:
    known(settings, "intfloat/multilingual-e5-small")
    found = {check.id: check.state for check in local_models(settings.data_dir, settings.data_dir / "none")}
    assert found == {"embedding.intfloat/multilingual-e5-small": "ok", "models.none": "warn"}


def test_the_command_line_checks_another_model_than_the_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAGKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RAGKIT_EMBEDDING", "off")
    folder = tiny_embedding.bert(tmp_path / "bare")
    assert main(["doctor", "--json", "--embedding", str(folder)]) == 1
    checks = {check["id"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["embedding.run"]["state"] == "fail"
    assert '"pooling": "mean"' in checks["embedding.run"]["fix"]["en"]  # the JSON to write
