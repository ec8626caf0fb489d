"""What is said of each trouble, in both languages, with the fix; and that no secret is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import replace

import pytest

from ragkit.config import REPOSITORY, HubAccess
from ragkit.doctor import examine, language_of, render
from ragkit.doctor.report import OUTCOMES, Check, Report, check, guarded, without_secrets
from ragkit.doctor.text import Saying

pytestmark = pytest.mark.usefixtures("one_thread")


# ── What can be said ──


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_both_languages_say_the_same_facts(outcome: str) -> None:
    _, en, zh, fix_en, fix_zh = OUTCOMES[outcome]

    def names(text: str) -> set[str]:
        return set(re.findall(r"{(\w+)", text))

    assert names(en) == names(zh)
    assert not fix_zh or names(fix_en) == names(fix_zh)
    assert fix_zh or not re.search("[a-z] [A-Z]|[.]$", fix_en), "prose has a Chinese twin"


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_is_red_or_yellow_has_a_fix_and_what_is_not_has_none(outcome: str) -> None:
    state, *_, fix_en, _ = OUTCOMES[outcome]
    assert bool(fix_en) == (state in ("warn", "fail"))


def test_every_outcome_is_used() -> None:
    code = "".join(
        file.read_text(encoding="utf-8")
        for file in (REPOSITORY / "ragkit" / "doctor").glob("*.py")
        if not file.name.startswith("text")
    )
    assert [outcome for outcome in OUTCOMES if f'"{outcome}"' not in code] == []


REPORT = Report(
    "9.9",
    (
        check("system.python", "python_ok", version="3.12.1", bits=64),
        check("network.port", "port_busy", port=7860, free=7862),
        Check("storage.disk", "fail", Saying("broken", "坏了"), None, {}, (("", "a"), ("模型", "✓ 1"))),
        check("network.hub", "hub_offline"),
    ),
)


def test_the_report_in_english(monkeypatch) -> None:
    assert re.sub(r"\S+ demo", "PYTHON demo", render(REPORT, "en")) == (
        "ragkit 9.9\n"
        "\n"
        "This machine\n"
        "  ✓ Python 3.12.1, 64-bit\n"
        "\n"
        "Folders and knowledge base\n"
        "  ✗ broken\n"
        "            a\n"
        "      模型  ✓ 1\n"
        "\n"
        "Network\n"
        "  ! port 7860 is taken: the page comes up on the next free one\n"
        "      fix: PYTHON demo.py --port 7862\n"
        "  - HF_HUB_OFFLINE is set: the hub is not asked\n"
        "\n"
        "✓ 1 in order   ! 1 to note   ✗ 1 failed   - 1 skipped"
    )


def test_the_report_in_chinese() -> None:
    lines = render(REPORT, "zh").splitlines()
    assert lines[2:4] == ["本机环境", "  ✓ Python 3.12.1，64 位"]
    assert lines[-1] == "✓ 1 项正常   ! 1 项需留意   ✗ 1 项失败   - 1 项跳过"


def test_the_report_as_json_holds_both_languages() -> None:
    document = json.loads(json.dumps(REPORT.as_json()))
    assert document["counts"] == {"ok": 1, "warn": 1, "fail": 1, "skipped": 1}
    assert document["checks"][0] == {
        "id": "system.python",
        "state": "ok",
        "message": {"en": "Python 3.12.1, 64-bit", "zh": "Python 3.12.1，64 位"},
        "fix": None,
        "facts": {"version": "3.12.1", "bits": 64},
    }


def test_warnings_are_no_failure() -> None:
    assert REPORT.exit_code == 1
    assert Report("9.9", REPORT.checks[:2]).exit_code == 0


def test_an_exception_in_a_check_is_one_red_line() -> None:
    def step() -> Generator[Check, None, None]:
        yield check("system.python", "python_ok", version="3.12", bits=64)
        raise ZeroDivisionError("of a driver")

    good, bad = guarded("system.memory", step)
    assert (good.state, bad.id, bad.state) == ("ok", "system.memory", "fail")
    assert bad.message.zh == "检查本身出错：ZeroDivisionError：of a driver"


def test_what_a_model_answers_does_not_steer_the_terminal() -> None:
    answer = Check("model.answers.en", "ok", Saying("\x1b]0;gotcha\x07", ""))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", render(Report("9.9", (answer,)), "en"))


@pytest.mark.parametrize(
    ("name", "language"),
    [("zh_CN", "zh"), ("Chinese (Simplified)_China", "zh"), ("en_GB", "en"), ("de_DE", "en"), (None, "en")],
)
def test_the_language_follows_the_locale(name: str | None, language: str) -> None:
    assert language_of(name) == language


# ── Secrets ──


def test_no_credential_is_ever_in_the_report(settings, monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://alice:pr0xy/pass@127.0.0.1:1")
    access = HubAccess("https://bob:hub%40pass@hub.example", "hf_T0KEN", offline=False)
    secretive = replace(settings, auth="carol:page-pass", llm_key="sk-llmkey")
    report = examine(secretive, hub=access)
    said = json.dumps(report.as_json()) + render(report, "en") + render(report, "zh")
    assert re.findall("pr0xy|hub%40|hub@pass|T0KEN|page-pass|llmkey|alice|bob", said) == []
    assert "hub.example" in said


def test_a_secret_in_another_ones_error_message_is_blacked_out() -> None:
    told = check("system.torch", "crashed", error="OSError", text="http://u:p@w@host said hf_T0KEN")
    clean = without_secrets(told, ["hf_T0KEN"])
    assert clean.facts["text"] == "http://***@host said ***"
    assert "T0KEN" not in clean.message.zh
