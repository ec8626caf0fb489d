"""The handlers of the Settings tab: hostile requests change nothing, and nothing heavy is done while one waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ragkit import choices, models, profiles
from ragkit.config import Settings
from ragkit.errors import ModelError, RagkitError
from ragkit.profiles import Profile
from ragkit.transfer import Transfer
from ragkit.ui.boot import Boot
from ragkit.ui.downloads import Downloads
from ragkit.ui.search_settings import SearchSettings
from ragkit.ui.settings import ModelSettings
from ragkit.ui.slot import ModelSlot, ModelStatus
from ragkit.ui.strings import Strings

REQUEST: Any = None  # the language is all that a handler takes of it
ONE = Profile("local", "acme/one", path=Path("/secret/one"))


def never(name: str, *, progress: object, cancel: object) -> Path:
    raise AssertionError(f"{name} is not to be fetched")


class RecordingBoot:
    """A Boot that notes what it was told to switch to."""

    def __init__(self, settings: Settings) -> None:
        self.slot = ModelSlot(settings)
        self.downloads = Downloads(never)
        self.slot.status = ModelStatus("quotes", profiles.QUOTES_PROFILE)
        self.switched: list[tuple[Profile, str]] = []
        self.answer: bool | RagkitError = True

    def switch(self, wanted: Profile, precision: str) -> bool:
        if isinstance(self.answer, RagkitError):
            raise self.answer
        self.switched.append((wanted, precision))
        return self.answer


@pytest.fixture
def boot(settings: Settings) -> RecordingBoot:
    return RecordingBoot(settings)


@pytest.fixture
def surveyed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The times at which this machine was looked at."""
    times: list[float] = []
    absent = Profile("local", "acme/absent")

    def survey(settings: Settings, released: dict[str, int]) -> choices.Survey:
        times.append(time.monotonic())
        fits = dict.fromkeys(choices.WANTED, choices.Fit("impossible", cause="no"))
        return choices.Survey(
            (
                choices.Choice("quotes", profiles.QUOTES_PROFILE),
                choices.Choice("id1", ONE, fits=fits),
                choices.Choice("id2", absent, here=False, fits=fits),
            ),
            (),
        )

    monkeypatch.setattr(choices, "survey", survey)
    yield times


@pytest.fixture
def tab(boot: RecordingBoot, settings: Settings, surveyed: list[float]) -> ModelSettings:
    return ModelSettings(boot, settings, lambda request: Strings("en"), "log")  # type: ignore[arg-type]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def opened(tab: ModelSettings) -> ModelSettings:
    tab.open("auto", REQUEST)
    until(tab.settled)
    return tab


def press(tab: ModelSettings, data: object, precision: Any = "auto") -> tuple[str, str, str]:
    return tab.act(precision, gr.EventData(None, data), REQUEST)


def test_nothing_is_looked_at_before_the_tab_is_opened(tab: ModelSettings, surveyed: list[float]) -> None:
    assert tab.settled() and "Working out" in tab.paint("auto", REQUEST)[1] and not surveyed


def test_the_list_is_made_behind_the_page(
    tab: ModelSettings, boot: RecordingBoot, surveyed: list[float]
) -> None:
    with boot.slot.libraries:  # as while a model is loaded
        assert "Working out" in tab.open("auto", REQUEST)[1]
        time.sleep(0.1)
        assert not tab.settled() and not surveyed
    until(tab.settled)
    assert "acme/one" in tab.paint("auto", REQUEST)[1]


def test_a_list_that_is_fresh_is_not_made_again_unless_it_is_asked_for(
    opened: ModelSettings, surveyed: list[float]
) -> None:
    opened.open("auto", REQUEST)
    until(opened.settled)
    assert len(surveyed) == 1
    press(opened, {"action": "look"})
    until(opened.settled)
    assert len(surveyed) == 2


def test_when_another_model_answers_the_list_is_made_again(
    opened: ModelSettings, boot: RecordingBoot, surveyed: list[float]
) -> None:
    boot.slot.status = ModelStatus("ready", ONE, "fp32")
    opened.paint("auto", REQUEST)
    until(opened.settled)
    opened.paint("auto", REQUEST)
    until(opened.settled)
    assert len(surveyed) == 2


def test_a_choice_is_named_by_its_id(opened: ModelSettings, boot: RecordingBoot) -> None:
    press(opened, {"action": "load", "id": "id1"}, "4bit")
    press(opened, {"action": "load:bf16", "id": "id1"}, "4bit")
    press(opened, {"action": "unload", "id": "whatever"})
    assert boot.switched == [(ONE, "4bit"), (ONE, "bf16"), (profiles.QUOTES_PROFILE, "auto")]


@pytest.mark.parametrize(
    "data",
    [
        {"action": "load", "id": "/secret/one"},
        {"action": "load", "id": "../../one"},
        {"action": "load", "id": "acme/one"},
        {"action": "load", "id": ""},
        {"action": "load", "id": ["id1"]},
        {"action": "load"},
        {"action": "load", "id": "id2"},  # not here
        {"action": "delete", "id": "id1"},
        {"action": ["load"], "id": "id1"},
        "load",
        None,
        17,
    ],
)
def test_what_is_not_on_the_list_switches_nothing(
    opened: ModelSettings, boot: RecordingBoot, data: object
) -> None:
    press(opened, data)
    assert not boot.switched


@pytest.mark.parametrize("precision", ["", None, "1bit", 7, ["4bit"], {"a": 1}])
def test_a_precision_that_there_is_not_is_taken_as_automatic(
    opened: ModelSettings, boot: RecordingBoot, precision: object
) -> None:
    press(opened, {"action": "load", "id": "id1"}, precision)
    press(opened, {"action": f"load:{precision}", "id": "id1"})
    assert boot.switched == [(ONE, "auto"), (ONE, "auto")]


def test_before_there_is_a_list_nothing_can_be_chosen(tab: ModelSettings, boot: RecordingBoot) -> None:
    press(tab, {"action": "load", "id": "quotes"})
    assert not boot.switched


def test_a_second_change_is_refused_in_words(opened: ModelSettings, boot: RecordingBoot) -> None:
    boot.answer = False
    assert "still under way" in press(opened, {"action": "load", "id": "id1"})[0]


def test_an_engine_that_is_not_there_is_said(opened: ModelSettings, boot: RecordingBoot) -> None:
    boot.answer = RagkitError("not yet")
    assert Strings("en").error("ragkit_error") in press(opened, {"action": "load", "id": "id1"})[0]


def test_cancel_gives_up_the_load(opened: ModelSettings, boot: RecordingBoot) -> None:
    press(opened, {"action": "cancel"})
    assert boot.slot._give_up.is_set()


def test_a_look_that_fails_is_said_and_the_next_one_may_work(
    tab: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, again = choices.survey, threading.Event()

    def broken(*_: object) -> choices.Survey:
        if again.is_set():
            return good(*_)  # type: ignore[arg-type]
        raise RuntimeError("torch cannot be imported")

    monkeypatch.setattr(choices, "survey", broken)
    tab.open("auto", REQUEST)
    until(tab.settled)
    assert "went wrong inside ragkit" in tab.paint("auto", REQUEST)[1]
    again.set()
    press(tab, {"action": "look"})
    until(tab.settled)
    assert "acme/one" in tab.paint("auto", REQUEST)[1]


def test_the_settings_that_are_shown_are_those_of_the_start(
    boot: RecordingBoot, settings: Settings, surveyed: list[float]
) -> None:
    tab = ModelSettings(boot, replace(settings, device="cuda:1"), lambda request: Strings("zh"), "log")  # type: ignore[arg-type]
    assert "cuda:1" in tab.paint("auto", REQUEST)[2]


def test_the_clock_goes_on_when_something_settled_while_it_was_painted_and_never_stops(
    settings: Settings,
) -> None:
    """A list that came between the painting and the look at it stood unpainted for ever."""
    from ragkit.ui import app
    from ragkit.ui.library import Desk

    page: Any = app._Page(Boot(settings), settings, shared=False)
    answers = iter([False, True, True, True])
    page._settings_tab = SimpleNamespace(settled=lambda: next(answers), paint=lambda *_: ("", "", ""))
    page._overview = SimpleNamespace(
        settled=lambda: True, **dict.fromkeys(("top_bar", "about"), str), documents=lambda *_: ""
    )
    request = SimpleNamespace(cookies={}, headers={})
    assert page._tick("auto", Desk(), request)[-1].value == app.TICK_S
    last = page._tick("auto", Desk(), request)[-1]
    assert last.active and last.value == app.IDLE_TICK_S


def test_a_download_is_started_by_its_id_one_at_a_time_and_cancelled(
    boot: RecordingBoot, settings: Settings, surveyed: list[float]
) -> None:
    asked: list[str] = []

    def fetch(name: str, *, progress: Callable[[Transfer], None], cancel: Any) -> Path:
        asked.append(name)
        progress(Transfer("model.safetensors", 30 << 20, 300 << 20, 1e6))
        if not cancel.wait(20):
            raise AssertionError("nobody cancelled")
        raise ModelError("the download was stopped", "")

    downloads = boot.downloads = Downloads(fetch)
    tab = ModelSettings(boot, settings, lambda request: Strings("en"), "log")  # type: ignore[arg-type]
    tab.open("auto", REQUEST)
    until(tab.settled)
    press(tab, {"action": "fetch", "id": "id1"})  # it is here
    press(tab, {"action": "fetch", "id": "nowhere"})
    assert asked == []
    press(tab, {"action": "fetch", "id": "id2"})
    until(lambda: downloads.step)
    assert "30 MB / 0.3 GB" in tab.paint("auto", REQUEST)[1] and not tab.settled()
    assert "Another model is being downloaded" in press(tab, {"action": "fetch", "id": "id2"})[0]
    press(tab, {"action": "cancel", "id": "id2"})
    until(lambda: not downloads.running)
    assert downloads.error is None and asked == ["acme/absent"]
    downloads.close()


def test_a_model_that_was_downloaded_is_deleted_unless_it_answers(
    boot: RecordingBoot, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.data_dir / "models" / "acme--own"
    folder.mkdir(parents=True)
    mine = Profile("local", "acme/own", path=folder)
    listed = choices.Survey(
        (choices.Choice("own", mine, own=True), choices.Choice("not-ours", replace(mine, name="x"))), ()
    )
    monkeypatch.setattr(choices, "survey", lambda *_: listed)
    tab = ModelSettings(boot, settings, lambda request: Strings("en"), "log")  # type: ignore[arg-type]
    tab.open("auto", REQUEST)
    until(tab.settled)
    boot.slot.status = ModelStatus("ready", mine)
    press(tab, {"action": "delete", "id": "own"})
    assert folder.is_dir()
    boot.slot.status = ModelStatus("quotes")
    press(tab, {"action": "delete", "id": "not-ours"})
    assert folder.is_dir()
    shown = press(tab, {"action": "delete", "id": "own"})[1]
    assert "acme/own" in shown and not folder.exists()


def unfinished(settings: Settings, name: str) -> Path:
    part = models.part_of(models.folder_of(name, settings.data_dir))
    part.mkdir(parents=True)
    (part / "model.safetensors.part").write_bytes(b"weights")
    return part


def test_what_has_come_of_a_download_is_deleted_by_its_id(opened: ModelSettings, settings: Settings) -> None:
    part = unfinished(settings, "acme/absent")
    for id in ("id1", "nowhere", "acme/absent"):
        press(opened, {"action": "discard", "id": id})
    assert part.is_dir()
    press(opened, {"action": "discard", "id": "id2"})
    assert not part.exists()


def test_what_has_come_of_an_embedding_model_is_deleted_where_those_are(
    boot: RecordingBoot, settings: Settings
) -> None:
    part = unfinished(settings, "BAAI/bge-m3")
    boot.settings, boot.peek = settings, lambda: None  # type: ignore[attr-defined]
    tab = SearchSettings(boot, lambda request: Strings("en"))  # type: ignore[arg-type]
    (begun,) = [one for one in choices.embeddings(settings) if one.unfinished_bytes is not None]
    assert (begun.where, begun.unfinished_bytes) == ("BAAI/bge-m3", 7)
    boot.downloads.running = True
    tab.act(gr.EventData(None, {"action": "discard", "id": begun.id}), REQUEST)
    assert part.is_dir()
    boot.downloads.running = False
    tab.act(gr.EventData(None, {"action": "discard", "id": begun.id}), REQUEST)
    assert not part.exists()
