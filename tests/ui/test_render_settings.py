"""HTML of the Settings tab: what can be chosen, what it would take, and what is going on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ragkit import choices
from ragkit.choices import Choice, Fit
from ragkit.errors import ModelError, RagkitError
from ragkit.known_facts import known_facts
from ragkit.load_plan import INTERNLM2_1_8B, NOTES, DeviceFacts
from ragkit.profiles import QUOTES_PROFILE, Profile
from ragkit.transfer import Transfer
from ragkit.ui import render, render_settings
from ragkit.ui.render_downloads import Fetching
from ragkit.ui.slot import ModelStatus
from ragkit.ui.strings import Strings

EN, ZH = Strings("en"), Strings("zh")
GB = 1 << 30
HOSTILE = "<script>alert('${document.title}')</script>\"&{{value}}"
CPU = DeviceFacts("cpu", "cpu", "Tester", 16 * GB, 12 * GB, 16 * GB, 12 * GB, bf16=True)
QUOTES = Choice("quotes", QUOTES_PROFILE)
QUOTING = ModelStatus("quotes", QUOTES_PROFILE)


def fits(free_gb: float = 12) -> dict[choices.Wanted, Fit]:
    device = replace(CPU, free_bytes=round(free_gb * GB))
    return {
        wanted: choices.fit(INTERNLM2_1_8B, [device], wanted, quantiser=True) for wanted in choices.WANTED
    }


def local(name: str = "acme/one", free_gb: float = 12, **profile: object) -> Choice:
    made = Profile("local", name, path=Path("/secret/place") / name, **profile)  # type: ignore[arg-type]
    return Choice(f"id-{name}", made, size_bytes=3 * GB, fits=fits(free_gb))


@dataclass
class Nothing:
    """A download that is not, or that stands as it is told."""

    running: bool = False
    name: str = ""
    step: Transfer | None = None
    cancelling: bool = False
    error: RagkitError | None = None


def ready(choice: Choice, precision: str = "auto") -> ModelStatus:
    return ModelStatus("ready", choice.profile, precision, "fp32, cpu", 8 * GB)


def row(html: str, name: str) -> str:
    found = re.search(rf'<li class="model[^"]*" data-model="{re.escape(name)}".*?</li>', html, re.S)
    assert found
    return found[0]


def actions(html: str) -> list[str]:
    return re.findall(r'data-action="([^"]+)"', html)


def listed(
    *rows: Choice,
    status: ModelStatus = QUOTING,
    wanted: choices.Wanted = "auto",
    strings: Strings = EN,
    moving: bool = False,
    downloads: Fetching | None = None,
) -> str:
    return render_settings.choices(rows, status, wanted, strings, downloads or Nothing(), moving=moving)


def test_a_model_that_fits_says_what_it_takes_and_can_be_loaded() -> None:
    html = row(listed(QUOTES, local()), "acme/one")
    assert "3.0 GB on disk · Chinese and English" in html
    assert "Fits: fp32 on cpu takes about 8.1 GB of memory." in html
    assert actions(html) == ["load"] and 'data-id="id-acme/one"' in html


def test_one_that_does_not_fit_says_why_and_offers_what_does() -> None:
    html = row(listed(QUOTES, local(free_gb=4), wanted="fp32"), "acme/one")
    assert (
        "Does not fit: fp32 takes about 8.1 GB of memory, and 0.5 GB must stay free; there are 4.0 GB. "
        in html
    )
    assert "4-bit int4 would fit, with about 2.3 GB." in html
    assert actions(html) == ["load:4bit"]
    assert actions(row(listed(QUOTES, local(free_gb=0.5)), "acme/one")) == []


def test_one_that_cannot_run_here_at_all_says_why_and_cannot_be_chosen() -> None:
    broken = replace(local(), fits=dict.fromkeys(choices.WANTED, Fit("impossible", cause="it is " + HOSTILE)))
    html = row(listed(QUOTES, broken, wanted="4bit"), "acme/one")
    assert "Not possible (4-bit)." in html and "&lt;script&gt;" in html and actions(html) == []


def test_the_one_in_use_is_marked_and_can_be_unloaded() -> None:
    one, two = local(), local("acme/two")
    html = listed(QUOTES, one, two, status=ready(one))
    assert html.count("in use") == 1 and "in use" in row(html, "acme/one")
    assert "Running: fp32, cpu, about 8.0 GB of memory" in html
    assert actions(row(html, "acme/one")) == ["unload"] and actions(row(html, "acme/two")) == ["load"]
    assert actions(row(html, "Quotes")) == ["load"]


def test_another_precision_of_the_one_in_use_can_be_loaded() -> None:
    one = local()
    html = row(listed(QUOTES, one, status=ready(one), wanted="bf16"), "acme/one")
    assert "Load in bf16" in html and actions(html) == ["load", "unload"]


@pytest.mark.parametrize("state", ["quotes", "loading", "failed"])
def test_quotes_are_in_use_whenever_no_model_is_ready(state: str) -> None:
    one = local()
    html = listed(QUOTES, one, status=replace(ready(one), state=state), moving=state == "loading")  # type: ignore[arg-type]
    assert "in use" in row(html, "Quotes") and "Running" not in html
    assert actions(row(html, "acme/one")) == ([] if state == "loading" else ["load"])


def test_a_server_is_in_use_by_its_models_name_and_says_where_passages_go() -> None:
    server = Choice("server", Profile("server", "host:8000", url="http://host:8000/v1"))
    status = ModelStatus("ready", Profile("server", "served", url="http://host:8000/v1", leaves_machine=True))
    html = listed(QUOTES, server, local(), status=status)
    assert "passages are sent to http://host:8000/v1" in row(html, "served")
    assert (
        "Disconnect" in row(html, "served")
        and actions(row(html, "served")) == ["unload"]
        and actions(row(html, "acme/one")) == ["load"]
    )
    assert "Connect" in row(listed(QUOTES, server), "host:8000")


def test_what_is_not_here_comes_with_its_size_its_licence_and_can_be_fetched() -> None:
    absent = replace(local("internlm/internlm2-chat-7b"), here=False, size_bytes=14 * GB)
    html = row(listed(QUOTES, absent), "internlm/internlm2-chat-7b")
    assert "14.0 GB to download" in html and "commercial use on application" in html
    assert actions(html) == ["fetch"]
    small = replace(local("smollm2-135m", languages=("en",)), here=False, licence="Apache-2.0")
    assert "English only · Apache-2.0" in listed(QUOTES, small)
    assert known_facts("internlm/internlm2-chat-7b")


def test_no_path_is_ever_in_the_page() -> None:
    one = local()
    assert "/secret" not in listed(QUOTES, one, status=ready(one)) + render_settings.machine(
        (CPU,), "auto", EN
    )


@pytest.mark.parametrize("strings", [EN, ZH])
def test_hostile_names_stay_text(strings: Strings) -> None:
    one = replace(local(), profile=Profile("local", HOSTILE, path=Path("/x")), id=HOSTILE)
    status = replace(ready(one), state="failed", error=ModelError(HOSTILE, HOSTILE))
    attempt = replace(status, state="failed")
    device = replace(CPU, name=HOSTILE)
    html = "".join(
        [
            listed(QUOTES, one, replace(one, here=False), status=ready(one), strings=strings),
            render_settings.progress(QUOTING, attempt, 0, strings),
            render_settings.progress(replace(status, state="loading", label=HOSTILE), None, 0, strings),
            render_settings.machine((device,), HOSTILE, strings),
        ]
    )
    assert "<script" not in html and "&lt;script&gt;" in html
    assert not re.search(r'data-id="[^"]*<', html)


# ── What is going on ──


def progress(status: ModelStatus, attempt: ModelStatus | None = None, **more: str) -> str:
    return render_settings.progress(status, attempt, 112.4, EN, **more)


def test_nothing_is_said_while_nothing_goes_on() -> None:
    assert progress(QUOTING) == progress(ready(local())) == ""


def test_a_load_is_a_bar_with_percent_memory_and_time_and_can_be_cancelled() -> None:
    status = replace(ready(local()), state="loading", stage="weights", done=0.427, started_at=100.0)
    html = progress(status)
    assert '<progress max="100" value="43"' in html and "43 %" in html
    assert "Loading acme/one: reading the weights" in html and "fp32, cpu · 8.0 GB · 12 s" in html
    assert actions(html) == ["cancel"]


def test_the_row_of_a_model_that_is_being_loaded_has_its_bar_too() -> None:
    one, two = local(), local("acme/two")
    html = listed(QUOTES, one, two, status=replace(ready(one), state="loading", stage="weights", done=0.4))
    assert 'value="40"' in row(html, "acme/one") and "<progress" not in row(html, "acme/two")
    assert "<progress></progress>" in listed(QUOTES, one, status=replace(ready(one), state="loading"))


def test_before_the_first_stage_the_bar_has_no_end() -> None:
    html = progress(replace(ready(local()), state="loading", started_at=100.0))
    assert "<progress></progress>" in html and "%" not in html


def test_planning_is_shown_and_can_be_cancelled() -> None:
    html = progress(QUOTING, ModelStatus("choosing", local().profile))
    assert "Working out whether acme/one fits" in html and actions(html) == ["cancel"]


def test_a_refusal_says_who_goes_on_and_why() -> None:
    refused = ModelStatus("failed", local("acme/two").profile, error=ModelError("needs 9 GB", "close others"))
    html = progress(ready(local()), refused)
    assert "acme/two was not loaded; acme/one goes on answering." in html and "needs 9 GB" in html
    assert "Quotes goes on answering" in progress(QUOTING, refused)


def test_a_choice_that_is_not_kept_and_the_pages_own_trouble_are_said() -> None:
    assert "could not be saved" in progress(replace(ready(local()), saved=False))
    assert "not now" in progress(QUOTING, trouble="not now")


def test_the_machine_shows_its_devices_and_the_commands_for_what_only_its_owner_can_name() -> None:
    html = render_settings.machine((CPU,), "auto", EN)
    assert "Tester" in html and "12.0 GB of 16.0 GB free" in html and "Device: Automatic" in html
    assert "python demo.py --model FOLDER" in html and "python demo.py --llm URL" in html


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("strings", [EN, ZH])
def test_every_note_of_a_plan_is_said_in_both_languages(note: str, strings: Strings) -> None:
    assert strings(f"plan_{note}")


@pytest.mark.parametrize("stage", ["start", "weights", "quantise", "save", "warm_up"])
def test_every_stage_of_a_load_is_said_in_both_languages(stage: str) -> None:
    assert "X" in EN(f"load_{stage}", name="X") and "X" in ZH(f"load_{stage}", name="X")


@pytest.mark.parametrize(
    ("size", "shown"), [(50 << 20, "50 MB"), (GB // 8, "0.1 GB"), (round(7.25 * GB), "7.2 GB")]
)
def test_sizes_are_short(size: int, shown: str) -> None:
    assert render_settings.gigabytes(size) == shown


def test_the_badge_has_a_bar_while_a_model_loads() -> None:
    loading = render.Status("busy", "Loading acme/one…", "43 %", done=0.43)
    assert '<progress max="100" value="43"' in render.top_bar(loading, EN)
    assert "<progress" not in render.top_bar(replace(loading, done=None), EN)


def test_a_download_shows_how_far_it_is_how_fast_and_how_long_it_still_takes() -> None:
    absent = Choice("id", Profile("local", "acme/far"), here=False, size_bytes=2 * GB)
    going = Nothing(True, "acme/far", Transfer("model.safetensors", GB, 2 * GB, GB / 100))
    html = row(listed(QUOTES, absent, downloads=going), "acme/far")
    assert "1.0 GB / 2.0 GB · 10.7 MB/s · about 2 min left" in html and 'value="50"' in html
    assert actions(html) == ["cancel"]
    begun = row(listed(QUOTES, absent, downloads=Nothing(True, "acme/far")), "acme/far")
    assert "<progress></progress>" in begun
    other = row(listed(QUOTES, absent, downloads=Nothing(True, "acme/other")), "acme/far")
    assert actions(other) == [] and "progress" not in other
    failed = Nothing(name="acme/far", error=ModelError("the hub <is> silent", "Set HF_ENDPOINT."))
    html = row(listed(QUOTES, absent, downloads=failed), "acme/far")
    assert "the hub &lt;is&gt; silent" in html and "HF_ENDPOINT" in html and "Try again" in html


def test_an_unfinished_download_says_how_much_is_here_and_goes_on_or_is_deleted() -> None:
    absent = Choice("id", Profile("local", "acme/far"), here=False, unfinished_bytes=30 << 20)
    html = row(listed(QUOTES, absent), "acme/far")
    assert "Unfinished download: 30 MB of it are on this computer." in html and "Go on" in html
    assert actions(html) == ["fetch", "discard"] and "Delete what has come of acme/far (30 MB)?" in html
    assert "to download" not in html  # nobody knows how much it is
    going = Nothing(True, "acme/far", Transfer("model.safetensors", GB, 2 * GB, GB / 100))
    assert actions(row(listed(QUOTES, absent, downloads=going), "acme/far")) == ["cancel"]


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("internlm2-chat-1_8b", "about 1 minute "), ("internlm2-chat-20b", "about 11 minutes ")],
)
def test_the_first_rounding_of_a_larger_model_is_said_to_take_longer(name: str, minutes: str) -> None:
    """A minute was said of 20B too."""
    large, facts = replace(CPU, free_bytes=64 * GB), known_facts(name)
    assert facts
    fit = choices.fit(facts, [large], "4bit", quantiser=True)
    html = row(listed(QUOTES, replace(local(), fits={"4bit": fit}), wanted="4bit"), "acme/one")
    assert f"takes {minutes}the first time" in html
