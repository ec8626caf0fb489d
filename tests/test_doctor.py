"""The doctor: what is said of each trouble, in both languages, with the fix; and that it keeps secrets."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from llama_index.core.base.llms.types import ChatMessage, ChatResponse

from ragkit import models
from ragkit.config import REPOSITORY, HubAccess, Settings
from ragkit.doctor import examine, language_of, machine, models_here, render, selfcheck
from ragkit.doctor.report import OUTCOMES, Check, Report, check, guarded, without_secrets
from ragkit.doctor.text import Saying
from ragkit.doctor.text_models import STEPS
from ragkit.engine import Engine
from ragkit.errors import ModelError, UsageError
from ragkit.load_plan import DeviceFacts
from ragkit.models import FileRecord, Manifest
from tests import tiny
from tests.hub import FakeHub

GB = 1 << 30
ONLINE = HubAccess("https://hub.example", None, False)


def device(free_gb: float, kind: str = "cpu") -> DeviceFacts:
    size = round(free_gb * GB)
    return DeviceFacts(kind, kind, "Tester", 2 * size, size, 2 * size, size, bf16=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def internlm2(tmp_path_factory) -> Path:
    return tiny.internlm2(tmp_path_factory.mktemp("models") / "internlm2-chat-tiny")


@pytest.fixture
def copy(internlm2, tmp_path) -> Path:
    return shutil.copytree(internlm2, tmp_path / "copy")


def by_id(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}


def reached(settings: Settings, where: Path, **options: bool) -> dict[str, Check]:
    return by_id(selfcheck.self_check(replace(settings, precision="fp32", device="cpu"), where, **options))


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


# ── This machine ──


def test_an_old_or_32_bit_python_fails() -> None:
    assert machine.python((3, 11, 4), True).state == "ok"
    assert machine.python((3, 10, 14), True).message.en.startswith("Python 3.10.14, 64-bit: 3.11 or newer")
    assert machine.python((3, 12, 0), False).state == "fail"


def test_packages_are_held_against_their_pins(tmp_path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# comment\ntorch==2.13.0\nOpenCC==1.4.2\nlxml==6.1.3\n")
    here = {"torch": "2.13.0+cpu", "OpenCC": "1.4.2", "lxml": "6.1.3"}
    assert machine.packages(file, here.get).state == "ok"
    older = machine.packages(file, (here | {"lxml": "5.0"}).get)
    assert (older.state, older.message.en) == (
        "warn",
        "other versions than tested: lxml 5.0 (tested: 6.1.3)",
    )
    lacking = machine.packages(file, {"torch": "2.0.0", "lxml": "6.1.3"}.get)
    assert (lacking.state, lacking.message.zh) == ("fail", "缺少依赖包：OpenCC")
    assert lacking.fix.en.endswith(" -m pip install torch==2.13.0 OpenCC==1.4.2")


def test_a_copy_without_requirements_is_no_fault(tmp_path) -> None:
    assert machine.packages(tmp_path / "requirements.txt").state == "skipped"


def test_an_nvidia_card_that_torch_cannot_use_is_told() -> None:
    facts = machine.TorchFacts("2.13.0+cpu", None, False, "AVX512", 2)
    assert machine.torch(facts, nvidia_driver=False).state == "ok"
    assert machine.torch(facts, nvidia_driver=True).state == "warn"


def test_sqlite_without_fts5_or_too_old_fails() -> None:
    assert machine.sqlite().state == "ok"
    assert machine.sqlite(fts5=lambda: False).state == "fail"
    assert machine.sqlite(version=(3, 31, 1)).message.en.startswith("SQLite 3.31.1")


def test_memory_is_held_against_every_model_and_precision() -> None:
    found = models_here.memory(device(10), quantiser=True)
    assert found.table[0] == ("", "4bit", "8bit", "bf16", "fp16", "fp32")
    rows = {row[0]: row[1:] for row in found.table[1:]}
    assert rows["internlm2-chat-1_8b"] == ("✓ 2.1", "✓ 2.8", "✓ 4.2", "✓ 4.2", "✓ 8.1")
    assert [cell[0] for cell in rows["internlm2-chat-7b"]] == list("✓✓✗✗✗")
    assert rows["smollm2-135m"][:2] == ("-", "-")
    assert found.state == "ok"


def test_no_4_bit_without_bitsandbytes() -> None:
    assert models_here.memory(device(10), quantiser=False).table[1][1:3] == ("-", "-")


def test_a_machine_too_small_for_internlm2_is_yellow() -> None:
    found = models_here.memory(device(1.5), quantiser=True)
    assert found.state == "warn"
    assert "放不下 internlm2-chat-1_8b" in found.message.zh


def test_the_figures_of_the_known_models_are_those_of_the_catalogue() -> None:
    figures = {facts.name: facts.disk_bytes for facts in models_here.KNOWN}
    assert figures == {
        model.name.removeprefix("internlm/"): pytest.approx(model.download_bytes, rel=0.001)
        for model in models.CATALOGUE
    }


# ── Folders and knowledge base ──


def test_folders_that_can_be_written_are_left_as_they_were(settings, tmp_path) -> None:
    assert machine.folders(settings).state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(settings, tmp_path) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "log").write_text("a file where a folder belongs")
    found = machine.folders(settings)
    assert found.facts["closed"] == [str(settings.data_dir / "log")]
    assert found.state == "fail"


def test_a_full_disk_is_yellow(tmp_path) -> None:
    assert machine.disk(tmp_path / "not" / "yet").state == "ok"
    assert machine.disk(tmp_path, free_bytes=GB // 2).message.en.startswith("only 0.5 GB free")


def test_a_library_is_counted_and_none_is_made(settings, engine: Engine, folder: Callable[..., Path]) -> None:
    engine.sync(folder(**{"a.md": "# Pump\n\nThe pump is red."}))
    engine.embed()
    found = machine.library(settings.kb)
    assert found.facts == {"layout": 2, "documents": 1, "failed": 0, "chunks": 1, "vectors": 1}
    assert machine.library(settings.kb / "other").state == "skipped"
    assert not (settings.kb / "other").exists()


def test_a_library_of_another_layout_is_told_and_not_touched(tmp_path) -> None:
    file = tmp_path / "kb.sqlite"
    for version, state in ((0, "ok"), (99, "fail")):
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"PRAGMA user_version = {version}")
        before = file.read_bytes()
        assert machine.library(tmp_path).state == state
        assert file.read_bytes() == before


def test_a_damaged_library_comes_with_the_command_that_moves_it(tmp_path) -> None:
    (tmp_path / "kb.sqlite").write_bytes(b"no database at all" * 100)
    found = machine.library(tmp_path)
    assert found.state == "fail"
    assert str(tmp_path / "kb.sqlite.damaged") in found.fix.zh


def test_a_library_that_cannot_be_read_is_not_called_damaged(tmp_path) -> None:
    (tmp_path / "kb.sqlite").mkdir()
    assert "cannot be read" in machine.library(tmp_path).message.en


# ── Network ──


def test_an_offline_hub_is_not_asked() -> None:
    with FakeHub({}) as fake:
        assert machine.hub(HubAccess(fake.endpoint, None, True)).state == "skipped"
        assert fake.asked == []


def test_a_hub_is_asked_without_the_token() -> None:
    with FakeHub({}) as fake:
        assert machine.hub(HubAccess(fake.endpoint, "hf_secret", False)).state == "ok"
        assert [headers for _, headers in fake.asked if "authorization" in headers] == []


def test_a_log_in_page_is_no_hub() -> None:
    with FakeHub({}) as fake:
        fake.html = True
        assert "not as a model hub does" in machine.hub(ONLINE._replace(endpoint=fake.endpoint)).message.en


def test_a_silent_hub_costs_no_more_than_its_time() -> None:
    with FakeHub({}) as fake:
        fake.silent = True
        found = machine.hub(ONLINE._replace(endpoint=fake.endpoint), timeout_s=0.2)
    assert found.state == "warn"
    assert "HF_ENDPOINT=https://hf-mirror.com" in found.fix.zh


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "ftp://hub.example", "no address"])
def test_a_hub_out_of_reach_is_yellow(endpoint: str) -> None:
    assert machine.hub(ONLINE._replace(endpoint=endpoint)).state == "warn"


def test_proxies_are_named_without_their_addresses() -> None:
    spared = machine.proxies({"https": "http://me:pass@proxy:3128", "no": "localhost,127.0.0.1"})
    assert (spared.state, spared.facts["names"]) == ("ok", ["HTTPS_PROXY"])
    assert "proxy:3128" not in str(spared)
    assert machine.proxies({"all": "socks5://proxy:1080"}).state == "warn"
    assert machine.proxies({}).message.en == "no proxy is set"


def test_a_busy_port_comes_with_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        found = machine.port(number)
    assert found.state == "warn"
    assert found.fix.en.endswith(f"demo.py --port {found.facts['free']}")
    assert machine.port(number).state == "ok"


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


# ── The whole ──


def test_an_ordinary_run_reports_every_group_and_fails_nowhere(settings) -> None:
    told: list[str] = []
    report = examine(settings, on_check=lambda found: told.append(found.id))
    assert [found.id for found in report.checks if found.state == "fail"] == []
    assert told == [found.id for found in report.checks]
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
    for part in ("plain", "tokenizer"):
        shutil.copytree(tiny.GOLDEN / part, tmp_path / "golden", dirs_exist_ok=True)
    found = reached(settings, tmp_path / "golden")
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
    split = shutil.copytree(tiny.GOLDEN / "plain", tmp_path / "split")
    shutil.copytree(tiny.GOLDEN / "tokenizer", split, dirs_exist_ok=True)
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
