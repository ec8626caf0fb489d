"""demo.py's flags, and what it does not import before the page is there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import demo
from ragkit.config import REPOSITORY


def test_the_defaults_are_this_computer_and_no_public_link() -> None:
    flags = demo.parse([])
    assert (flags.host, flags.port, flags.share, flags.auth, flags.lang) == (
        "127.0.0.1",
        7860,
        False,
        None,
        None,
    )


def test_a_language_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        demo.parse(["--lang", "fr"])
    assert refused.value.code == 2 and "zh" in capsys.readouterr().err


def test_folders_are_watched_or_only_offered() -> None:
    flags = demo.parse(["--watch", "a", "--folder", "b", "--folder", "c"])
    assert (flags.watch, flags.folder) == ([Path("a")], [Path("b"), Path("c")])


def test_a_login_that_is_none_ends_with_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAGKIT_DATA", str(tmp_path))
    kept = signal.getsignal(signal.SIGTERM)
    try:
        assert demo.main(["--auth", "nobody"]) == 2
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert "hint:" in capsys.readouterr().err


def test_nothing_heavy_is_imported_up_to_the_first_paint(tmp_path: Path) -> None:
    script = """
import sys
from ragkit import config
config.prepare_process()
from ragkit.ui import serving
from ragkit.ui.app import build_app, launch
from ragkit.ui.boot import Boot
settings = config.Settings.load()
app = build_app(Boot(settings), settings)
served = launch(app, settings, port=serving.free_port("127.0.0.1", 27860))
import httpx
assert "gradio" in httpx.get(served.url).text
heavy = {"torch", "transformers", "sentence_transformers", "llama_index", "accelerate"}
print("heavy:", sorted(heavy & {name.split(".")[0] for name in sys.modules}))
app.close(verbose=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "RAGKIT_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "heavy: []" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_busy_port_is_told_a_public_host_gets_a_password_and_a_signal_ends_it_cleanly(
    tmp_path: Path,
) -> None:
    with socket.socket() as busy:
        busy.bind(("0.0.0.0", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        process = subprocess.Popen(
            [
                sys.executable,
                "demo.py",
                "--no-browser",
                "--host",
                "0.0.0.0",
                "--port",
                str(taken),
                "--lang",
                "en",
            ],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "RAGKIT_DATA": str(tmp_path),
                "RAGKIT_EMBEDDING": "off",
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if "Ctrl+C" in line:
                break
        url = re.search(r"Page:\s+(\S+)", told)
        assert url and f"Port {taken} is in use" in told, told
        with urllib.request.urlopen(url[1], timeout=30) as page:  # the login page, not the documents
            assert b'"auth_required":true' in page.read()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(timeout=30) == 0
    assert re.search(r"Login:\s+user ragkit, password \S{16}", told) and "Quotes" in told
    assert "Stopped." in rest and "Traceback" not in told + rest
    assert (tmp_path / "log" / "ragkit.log").is_file()
