"""What can answer on a machine, and what fits it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragkit import choices, embedding_int8, model_facts, models
from ragkit.choices import Choice, Survey
from ragkit.config import Settings
from ragkit.known_facts import known_facts
from ragkit.load_plan import INTERNLM2_1_8B, DeviceFacts
from ragkit.schema import QUOTES
from tests import tiny, tiny_embedding

GB = 1 << 30
CPU = DeviceFacts(
    kind="cpu",
    device="cpu",
    name="CPU",
    total_bytes=32 * GB,
    free_bytes=24 * GB,
    host_total_bytes=32 * GB,
    host_free_bytes=24 * GB,
)
CARD = replace(
    CPU, kind="cuda", device="cuda:0", name="Card", total_bytes=4 * GB, free_bytes=3 * GB, bf16=True
)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_facts, "device_facts", lambda which="auto": CPU)
    yield


def names(survey: Survey, *, here: bool) -> list[str]:
    return [choice.profile.name for choice in survey.choices if choice.here is here]


def one(survey: Survey, name: str) -> Choice:
    return next(choice for choice in survey.choices if choice.profile.name == name)


def test_an_empty_machine_has_quotes_and_every_known_model_to_download(settings: Settings) -> None:
    found = choices.survey(settings, {})
    assert names(found, here=True) == [QUOTES]
    assert names(found, here=False) == [model.name for model in models.CATALOGUE]
    assert found.devices == (CPU,)
    for known in models.CATALOGUE:
        choice = one(found, known.name)
        assert choice.size_bytes == known.download_bytes and choice.licence and choice.fits
        assert known_facts(known.name)


def test_what_lies_here_comes_with_its_size_and_what_it_takes(settings: Settings, tmp_path: Path) -> None:
    downloaded = tiny.internlm2(settings.data_dir / "models" / "acme--tiny")
    named = tiny.internlm2(tmp_path / "mine")
    found = choices.survey(replace(settings, model=str(named)), {})
    assert names(found, here=True) == [QUOTES, "mine", "acme/tiny"]
    choice = one(found, "acme/tiny")
    assert choice.profile.path == downloaded and choice.size_bytes > 1_000_000 and choice.fits
    assert {wanted: fit.state for wanted, fit in choice.fits.items()} == dict.fromkeys(choices.WANTED, "fits")
    plans = {wanted: fit.plan for wanted, fit in choice.fits.items()}
    assert plans["auto"] == plans["fp32"] and plans["4bit"] and plans["4bit"].quantisation == "int4"


def test_a_model_that_the_settings_name_by_its_place_among_the_downloads_is_listed_once(
    settings: Settings,
) -> None:
    folder = tiny.internlm2(settings.data_dir / "models" / "acme--tiny")
    for named in (str(folder), "acme/tiny"):
        assert names(choices.survey(replace(settings, model=named), {}), here=True) == [QUOTES, "acme/tiny"]


def test_an_id_finds_its_choice_and_a_path_finds_none(settings: Settings) -> None:
    folder = tiny.internlm2(settings.data_dir / "models" / "acme--tiny")
    found = choices.survey(settings, {})
    choice = one(found, "acme/tiny")
    assert found.find(choice.id) is choice and "/" not in choice.id
    assert choices.survey(settings, {}).find(choice.id) == choice  # the same in every survey
    assert found.find(str(folder)) is None and found.find("acme/tiny") is None and found.find("") is None


def test_a_server_that_was_named_is_listed(settings: Settings) -> None:
    found = choices.survey(replace(settings, llm="http://127.0.0.1:8000/v1"), {})
    server = found.find(choices.SERVER)
    assert server and server.profile.name == "127.0.0.1:8000" and server.profile.kind == "server"
    found = choices.survey(replace(settings, llm="http://127.0.0.1:8000/v1", model="served"), {})
    assert names(found, here=True) == [QUOTES, "served"]


def test_a_broken_model_is_listed_with_what_is_wrong_and_harms_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.internlm2(settings.data_dir / "models" / "acme--broken")
    (folder / "model.safetensors").write_bytes(b"not a model at all")
    choice = one(choices.survey(settings, {}), "acme/broken")
    assert choice.fits and choice.fits["auto"].state == "impossible"
    assert "not a complete safetensors file" in choice.fits["auto"].cause


def test_a_device_that_is_not_there_is_said_of_every_model(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    found = choices.survey(replace(settings, device="cuda:77"), {})
    assert found.devices == ()
    fits = one(found, models.DEFAULT).fits
    assert fits and "no CUDA device 77" in fits["4bit"].cause


def test_memory_that_a_model_would_give_back_counts_as_free(settings: Settings) -> None:
    (device,) = choices.survey(settings, {"cpu": GB}).devices
    assert device.free_bytes == 25 * GB
    (device,) = choices.survey(settings, {"cuda:0": GB}).devices
    assert device.free_bytes == 24 * GB


def test_what_does_not_fit_says_how_much_it_wants_and_what_would_fit() -> None:
    small = replace(CPU, free_bytes=4 * GB)
    found = choices.fit(INTERNLM2_1_8B, [small], "fp32", quantiser=True)
    assert found.state == "short" and found.plan and found.instead
    assert found.plan.room_bytes > found.free_bytes == 4 * GB
    assert found.instead.precision == "4bit" and found.instead.room_bytes <= 4 * GB


def test_automatic_tells_of_the_smallest_when_nothing_fits() -> None:
    found = choices.fit(INTERNLM2_1_8B, [replace(CPU, free_bytes=GB)], "auto", quantiser=True)
    assert (found.state, found.instead) == ("short", None)
    assert found.plan and found.plan.precision == "4bit"


def test_what_this_machine_cannot_do_at_all_says_why() -> None:
    found = choices.fit(INTERNLM2_1_8B, [CPU], "8bit", quantiser=False)
    assert found.state == "impossible" and "bitsandbytes" in found.cause


def test_a_model_that_the_card_has_no_room_for_runs_on_the_processor() -> None:
    found = choices.fit(INTERNLM2_1_8B, [CARD, CPU], "fp32", quantiser=True)
    assert found.state == "fits" and found.plan and found.plan.device == "cpu"
    assert found.free_bytes == CPU.free_bytes and "fallback_device" in found.plan.notes


def test_every_embedding_model_here_is_also_offered_in_int8(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tiny_embedding.bert(settings.data_dir / "models" / "acme--mine")
    tiny_embedding.sentence_files(place, pooling="mean", dim=32)
    monkeypatch.setattr(embedding_int8, "find_spec", lambda _: None)
    chosen = replace(settings, embedding="onnx-int8:acme/mine")
    found = {choice.where: choice for choice in choices.embeddings(chosen) if choice.here}
    assert list(found) == ["auto", "onnx-int8:auto", "off", "acme/mine", "onnx-int8:acme/mine"]
    int8 = found["onnx-int8:acme/mine"]
    assert int8.record is not None and int8.record.label == "acme/mine (int8)"
    assert int8.install == embedding_int8.command() and not int8.usable and found["acme/mine"].usable
    monkeypatch.setattr(embedding_int8, "find_spec", lambda _: True)
    assert all(choice.usable for choice in choices.embeddings(settings) if choice.here)


def test_an_unfinished_download_stands_among_the_models_that_are_not_here(settings: Settings) -> None:
    for name in ("internlm/internlm2-chat-7b", "acme/other", "BAAI/bge-m3", "acme/reranker"):
        part = models.part_of(models.folder_of(name, settings.data_dir))
        part.mkdir(parents=True)
        (part / "config.json").write_bytes(b"{}")
    begun = {c.profile.name for c in choices.survey(settings, {}).choices if c.unfinished_bytes == 2}
    assert begun == {"internlm/internlm2-chat-7b", "acme/other"}
    begun = {c.where for c in choices.embeddings(settings) if c.unfinished_bytes == 2 and not c.here}
    assert begun == {"BAAI/bge-m3", "acme/reranker"}
