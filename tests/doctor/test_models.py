"""The models that lie here, the self-check of one, and an ordinary run of everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse

from ragkit import models
from ragkit.doctor import examine, models_here, part, selfcheck
from ragkit.doctor.report import Check, guarded
from ragkit.doctor.text_models import STEPS
from ragkit.errors import ModelError, UsageError
from ragkit.models import FileRecord, Manifest
from tests import tiny
from tests.doctor.parts import by_id, reached

pytestmark = pytest.mark.usefixtures("one_thread")


# ── Models here ──


def test_no_model_at_all_comes_with_the_download(tmp_path) -> None:
    (found,) = models_here.local_models(tmp_path, hub_cache=tmp_path)
    assert found.fix.en.endswith("-m ragkit download internlm/internlm2-chat-1_8b")


def test_models_here_are_whole_damaged_or_not_complete(tmp_path) -> None:
    for name in ("acme/whole", "acme/rotten", "acme/half"):
        folder = models.folder_of(name, tmp_path)
        folder.mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / file).write_text("{}")
        record = FileRecord(2, models.file_sha256(folder / "config.json"))
        Manifest(name, "hub", "1", {"config.json": record}).save(folder)
    (models.folder_of("acme/rotten", tmp_path) / "config.json").write_text("{ ")
    (models.folder_of("acme/half", tmp_path) / "model.safetensors").unlink()
    found = by_id(models_here.local_models(tmp_path, hub_cache=tmp_path))
    assert {id: one.state for id, one in found.items()} == {
        "models.acme/whole": "ok",
        "models.acme/rotten": "fail",
        "models.acme/half": "warn",
    }
    assert "config.json && " in found["models.acme/rotten"].fix.en
    assert found["models.acme/half"].message.en == "acme/half: not complete, model.safetensors missing"


def test_an_unfinished_download_is_called_so_with_both_ways_on_and_a_lock_is_no_model(tmp_path) -> None:
    """Both were told as models that are not complete, an embedding model among those that chat."""
    for name in ("acme/half", "BAAI/bge-m3"):
        begun = models.part_of(models.folder_of(name, tmp_path))
        begun.mkdir(parents=True)
        (begun / "model.safetensors.part").write_bytes(b"w" * (3 << 20))
        (begun.parent / f".{begun.stem}.lock").touch()
    found = by_id(models_here.local_models(tmp_path, hub_cache=tmp_path))
    assert list(found) == ["embedding.BAAI/bge-m3", "models.acme/half", "models.none"]
    told = found["embedding.BAAI/bge-m3"]
    assert told.message.en == "BAAI/bge-m3: an unfinished download, 3 MB of it are here"
    for fix in told.fix:
        assert "-m ragkit download BAAI/bge-m3 " in fix and fix.endswith("download BAAI/bge-m3 --delete")


def test_a_whole_reranker_is_no_model_that_lacks_its_last_step(tmp_path) -> None:
    folder = models.folder_of("acme/scores", tmp_path)
    folder.mkdir(parents=True)
    built = {"architectures": ["XLMRobertaForSequenceClassification"]}
    for file, text in {
        "config.json": json.dumps(built),
        "tokenizer.json": "{}",
        "model.safetensors": "",
    }.items():
        (folder / file).write_text(text)
    found = by_id(models_here.local_models(tmp_path, hub_cache=tmp_path))
    assert found["embedding.acme/scores"].state == "ok"


# ── The whole ──


def test_an_ordinary_run_reports_every_group_and_fails_nowhere(settings) -> None:
    told: list[str] = []
    report = examine(settings, on_check=lambda found: told.append(found.id))
    assert [found.id for found in report.checks if found.state == "fail"] == []
    assert told == [found.id for found in report.checks]
    shown = {part(found, "en") for found in report.checks}
    assert "Network …" in shown and not shown & set(told)
    assert {id.partition(".")[0] for id in told} == {"system", "storage", "network", "embedding", "models"}


def test_a_model_that_is_nowhere_cannot_be_checked(settings) -> None:
    with pytest.raises(UsageError, match="no model nobody/nothing"):
        examine(settings, model="nobody/nothing")


def test_the_tokenizer_of_a_model_that_lies_here_is_checked_without_being_asked(settings, internlm2) -> None:
    shutil.copytree(internlm2, models.folder_of("internlm/internlm2-chat-1_8b", settings.data_dir))
    found = {one.id: one for one in examine(settings).checks}["models.tokenizer"]
    assert (found.state, found.facts["stop_ids"]) == ("ok", [2, 1508])


# ── The self-check of a model ──


def test_a_good_folder_is_run_from_its_files_to_its_answers(settings, internlm2) -> None:
    found = reached(settings, internlm2)
    states = {id.removeprefix("model."): one.state for id, one in found.items()}
    gibberish = {"answers.zh": "warn", "answers.en": "warn", "answers.end": "warn"}
    assert states == dict.fromkeys([step for step in STEPS if step != "answers"], "ok") | gibberish
    assert found["model.config"].facts["architecture"] == "InternLM2ForCausalLM"
    assert found["model.tokenizer"].facts["ids"]["<|im_end|>"] == 1508
    assert found["model.template"].facts["bos"] == 1
    assert "length" in found["model.answers.end"].facts["endings"]
    assert f"--model {internlm2} --json" in found["model.answers.zh"].fix.zh


def test_another_chat_model_is_checked_by_the_same_steps(settings, tmp_path) -> None:
    found = reached(settings, tiny.llama(tmp_path / "llama"))
    assert [id for id, one in found.items() if one.state in ("fail", "skipped")] == []
    assert found["model.tokenizer"].facts["ids"] == {"<|im_start|>": 257, "<|im_end|>": 258}


def test_without_loading_the_rest_is_checked_all_the_same(settings, internlm2) -> None:
    found = reached(settings, internlm2, load=False)
    assert [id for id, one in found.items() if one.state == "skipped"] == [
        "model.load",
        "model.forward",
        "model.answers",
    ]
    assert found["model.load"].message == ("loading: not run (--no-load)", "加载：未运行（--no-load）")


def test_tokenizer_and_weights_of_two_models_are_told_apart(settings, tmp_path) -> None:
    found = reached(settings, tiny.golden(tmp_path / "golden"))
    assert found["model.files"].facts["files"] == 2
    assert found["model.tokenizer"].message.en == (
        "the tokenizer gives ids up to 1,509, the model knows 512 tokens"
    )
    assert found["model.load"].state == "skipped"


def test_a_chat_token_with_another_id_fails(settings, copy) -> None:
    file = copy / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    del config["added_tokens_decoder"]["1508"]
    file.write_text(json.dumps(config), encoding="utf-8")
    found = reached(settings, copy, load=False)["model.tokenizer"]
    assert (found.state, found.facts["stop_ids"]) == ("fail", [2])


def test_a_template_that_begins_twice_fails(settings, copy) -> None:
    file = copy / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"chat_template": "<s><s>{{ messages[0].content }}"}))
    found = reached(settings, copy)["model.template"]
    assert (found.state, found.facts["bos"]) == ("fail", 2)


def test_files_that_are_missing_cut_off_or_not_as_indexed_fail(settings, copy, tmp_path) -> None:
    split = tiny.golden(tmp_path / "split")
    index = split / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"output.weight"', '"outside.weight"'))
    found = reached(settings, split, load=False)["model.files"]
    assert (found.facts["differing"], found.facts["first"]) == (2, "output.weight")

    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "100 bytes are missing" in reached(settings, copy, load=False)["model.files"].message.en
    weights.unlink()
    gone = reached(settings, copy)
    assert gone["model.files"].facts["missing"] == ["model.safetensors"]
    assert [one.state for one in gone.values()].count("skipped") == len(STEPS) - 2


def test_a_model_that_does_not_fit_is_not_loaded(settings, internlm2) -> None:
    found = by_id(selfcheck.self_check(replace(settings, precision="fp32", device="cuda:7"), internlm2))
    assert found["model.plan"].state == "fail"
    assert found["model.round_trip"].state == "ok"
    assert found["model.load"].state == "skipped"


@dataclass
class WellTrained:
    """Answers as real weights do."""

    context_window: int = 2048

    def stream_chat(self, messages: list[ChatMessage], **options: object) -> Iterator[ChatResponse]:
        text = "中国的首都是北京。" if "中国" in str(messages[0].content) else "It is Paris."
        for n, finish in ((3, None), (7, "stop")):
            raw = {"usage": {"completion_tokens": n}, "finish_reason": finish}
            yield ChatResponse(message=ChatMessage(content=text), raw=raw)


def test_right_answers_that_end_by_themselves_are_green() -> None:
    found = list(selfcheck.answers(WellTrained(), [2, 92542], Path("folder")))
    assert [one.state for one in found] == ["ok", "ok", "ok"]
    assert found[0].facts["tokens"] == 7


def test_errors_of_ours_bring_their_hint() -> None:
    def step() -> Generator[Check, None, None]:
        raise ModelError("it is too large", "Use --precision 4bit.")
        yield

    (found,) = guarded("model.plan", step)
    assert (found.message.en, found.fix) == ("it is too large", ("Use --precision 4bit.",) * 2)
