from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragkit.config import (
    REPOSITORY,
    Settings,
    default_data_dir,
    prepare_environment,
    prepare_process,
    save,
    saved,
)
from ragkit.errors import UsageError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGKIT_DATA", str(tmp_path))
    return tmp_path


def test_the_data_folder_is_the_repositorys_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_data_dir() == REPOSITORY / "data"
    assert Settings.load().kb == REPOSITORY / "data" / "library" / "default"


def test_the_later_source_of_a_value_wins(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "settings.json").write_text(json.dumps({"passages": 3, "context_chars": 2000, "device": "cpu"}))
    monkeypatch.setenv("RAGKIT_PASSAGES", "4")
    monkeypatch.setenv("RAGKIT_CONTEXT_CHARS", "2500")
    settings = Settings.load(passages=5, kb=None)
    assert (settings.device, settings.context_chars, settings.passages) == ("cpu", 2500, 5)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ('{"passages": "many"}', "passages"),
        ('{"pasages": 3}', "pasages"),
        ("[1]", "JSON object"),
        ("{", "cannot read"),
        ('{"passages": 0}', "passages"),
        ('{"gate": 1.5}', "gate"),
        ('{"temperature": NaN}', "temperature"),
        ('{"max_tokens": Infinity}', "max_tokens"),
        (json.dumps({"instructions": "x" * 4001}), "instructions"),
    ],
)
def test_a_bad_settings_file_is_named_with_the_way_out(data: Path, content: str, word: str) -> None:
    (data / "settings.json").write_text(content)
    with pytest.raises(UsageError, match=word) as caught:
        Settings.load()
    assert caught.value.hint


def test_loopback_stays_out_of_proxies_and_nothing_phones_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    prepare_environment()
    assert os.environ["NO_PROXY"] == "example.org,localhost,127.0.0.1,::1"
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["TQDM_DISABLE"] == "1"


def test_upload_folders_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    dead, alive = tmp_path / "tmp" / child.stdout.strip(), tmp_path / "tmp" / str(os.getppid())
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "upload.txt").write_text("x")
    mine = prepare_process(tmp_path)
    assert mine.is_dir() and alive.is_dir() and not dead.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == str(mine)


def test_what_the_page_saves_is_read_at_the_next_start_and_the_rest_stays(data: Path) -> None:
    save(data, model="acme/tiny", precision="4bit")
    (data / "settings.json").write_text(json.dumps({"passages": 3, "later": "设置", **saved(data)}))
    save(data, model="quotes")
    assert saved(data) == {"passages": 3, "later": "设置", "model": "quotes", "precision": "4bit"}
    assert list(data.glob("settings.json*")) == [data / "settings.json"]
    (data / "settings.json").write_text(json.dumps({"model": "acme/tiny", "precision": "4bit"}))
    settings = Settings.load()
    assert (settings.model, settings.precision) == ("acme/tiny", "4bit")
    assert Settings.load(model="quotes").model == "quotes"  # a flag wins


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_saving_keeps_a_file_that_only_its_owner_may_read_so(data: Path) -> None:
    (data / "settings.json").write_text('{"llm_key": "secret"}')
    (data / "settings.json").chmod(0o600)
    save(data, model="quotes")
    assert (data / "settings.json").stat().st_mode & 0o777 == 0o600


def test_a_settings_file_that_cannot_be_read_is_not_written_over(data: Path) -> None:
    (data / "settings.json").write_text("{")
    with pytest.raises(UsageError):
        save(data, model="quotes")
    assert (data / "settings.json").read_text() == "{"


@pytest.mark.parametrize(
    ("kept", "given", "model"),
    [
        (
            {"model": "quotes"},
            {"llm": "http://h/v1"},
            "",
        ),  # saved for answers here: no name of a server's model
        ({"model": "quotes", "llm": ""}, {"llm": "http://h/v1"}, ""),
        ({"model": "quotes"}, {"llm": "http://h/v1", "model": "served"}, "served"),
        ({"model": "served", "llm": "http://h/v1"}, {}, "served"),
    ],
)
def test_a_model_that_was_saved_is_not_taken_for_the_one_of_a_server(
    data: Path, kept: dict[str, str], given: dict[str, str], model: str
) -> None:
    (data / "settings.json").write_text(json.dumps(kept))
    settings = Settings.load(**given)
    assert (settings.llm, settings.model) == ("http://h/v1", model)


def test_a_value_that_is_saved_as_none_is_the_default_again(data: Path) -> None:
    save(data, passages=9, gate=0.2)
    save(data, passages=None)
    assert saved(data) == {"gate": 0.2}
    assert Settings.load().passages == Settings(data_dir=data, kb=data).passages


def test_a_change_takes_what_a_form_holds_and_refuses_what_is_out_of_bounds(data: Path) -> None:
    settings = Settings.load().changed("the form", passages=4.0, temperature=1, instructions="Be formal.")
    assert (settings.passages, settings.temperature, settings.instructions) == (4, 1.0, "Be formal.")
    with pytest.raises(UsageError, match="the form"):
        settings.changed("the form", passages=99)


def test_a_saved_knowledge_base_that_is_gone_is_not_made_anew_somewhere_else(data: Path) -> None:
    """Its name was taken for a folder of the working directory."""
    save(data, kb="gone")
    assert Settings.load().kb == data / "library" / "default"
    (data / "library" / "gone").mkdir(parents=True)
    (data / "library" / "gone" / "kb.sqlite").touch()
    assert Settings.load().kb == data / "library" / "gone"


def test_a_bare_name_is_a_knowledge_base_under_the_data_folder_and_a_path_a_folder(
    data: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new name became a folder of the working directory, which `list --all` did not see."""
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    (here / "papers").mkdir()  # documents, no knowledge base
    assert Settings.load(kb="papers").kb == data / "library" / "papers"
    assert Settings.load(kb="Meine Bücher").kb == data / "library" / "Meine Bücher"
    for path in ("./papers", "papers/", str(here / "papers")):
        assert Settings.load(kb=path).kb == here / "papers"
    assert (Settings.load(kb=".").kb, Settings.load(kb="..").kb) == (here, here.parent)


def test_a_knowledge_base_that_is_a_folder_here_is_still_opened_by_its_bare_name(
    data: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    (here / "old").mkdir()
    (here / "old" / "kb.sqlite").touch()
    assert Settings.load(kb="old").kb == here / "old"
