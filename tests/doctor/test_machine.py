"""This machine as the doctor sees it: versions, memory, folders, libraries, the network."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ragkit import models
from ragkit.config import HubAccess
from ragkit.doctor import machine, models_here
from ragkit.engine import Engine
from tests.doctor.parts import GB, ONLINE, device
from tests.hub import FakeHub

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert machine.recognition(True).state == "ok"
    assert machine.recognition(False).state == "skipped"
    assert "rapidocr onnxruntime" in machine.recognition(False).message.en
    assert machine.sqlite().state == "ok"
    assert machine.sqlite(fts5=lambda: False).state == "fail"
    assert machine.sqlite(version=(3, 31, 1)).message.en.startswith("SQLite 3.31.1")


def test_memory_is_held_against_every_model_and_precision() -> None:
    found = models_here.memory(device(10), quantiser=True)
    assert found.table[0] == ("", "4bit", "8bit", "bf16", "fp16", "fp32")
    rows = {row[0]: row[1:] for row in found.table[1:]}
    assert rows["internlm2-chat-1_8b"] == ("✓ 2.3", "✓ 2.8", "✓ 4.2", "✓ 4.2", "✓ 8.1")
    assert [cell[0] for cell in rows["internlm2-chat-7b"]] == list("✓✓✗✗✗")
    assert rows["smollm2-135m"][:2] == ("-", "-")
    assert found.state == "ok"


def test_no_8_bit_without_bitsandbytes_and_no_4_bit_on_a_card() -> None:
    assert models_here.memory(device(10), quantiser=False).table[1][2] == "-"
    assert models_here.memory(device(10, "cuda"), quantiser=False).table[1][1:3] == ("-", "-")


def test_a_machine_too_small_for_internlm2_is_yellow() -> None:
    found = models_here.memory(device(1.5), quantiser=True)
    assert found.state == "warn"
    assert "放不下 internlm2-chat-1_8b" in found.message.zh


def test_the_figures_of_the_known_models_are_those_of_the_catalogue() -> None:
    figures = {facts.name: facts.disk_bytes for facts in models_here.KNOWN}
    assert figures == {
        model.name.removeprefix("internlm/"): pytest.approx(
            model.download_bytes,
            rel=0.06 if model.name == models.SMOLLM2 else 0.001,  # it comes packed
        )
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
