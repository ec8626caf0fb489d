"""Time to the first page of demo.py against a bare Gradio app: `python tests/bench/startup.py [--rounds N]`.

Prints one JSON document. The two apps start alternately in one run, so that a machine that is busy
for a while is busy for both. demo.py gets an empty RAGKIT_DATA folder, the same one in every round:
`very_first_start_s` is its start on the empty folder, with cold caches, and counts in no ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120
POLL_S = 0.02  # the resolution of the measurement
IMPORT_RUNS = 7

BARE_APP = """\
import sys
import gradio as gr
with gr.Blocks() as app:
    gr.Textbox(label="bare")
app.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), inbrowser=False, quiet=True)
"""

Command = Callable[[int], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    with tempfile.TemporaryDirectory(prefix="ragkit-startup-", ignore_cleanup_errors=True) as folder:
        bare = Path(folder, "bare.py")
        bare.write_text(BARE_APP, encoding="utf-8")
        environment = _environment(Path(folder))
        apps: dict[str, Command] = {
            "bare_gradio": lambda port: [str(bare), str(port)],
            "demo": lambda port: [str(ROOT / "demo.py"), "--no-browser", "--port", str(port)],
        }
        first_page_s: dict[str, list[float]] = {name: [] for name in apps}
        for turn in range(rounds + 1):
            for name in apps if turn % 2 else reversed(apps):  # every other round the other way about
                seconds = time_first_page(apps[name], environment, Path(folder, f"{name}.log"))
                first_page_s[name].append(seconds)
        import_ragkit_s, empty_interpreter_s = time_import(environment)

    demo, plain = first_page_s["demo"][1:], first_page_s["bare_gradio"][1:]  # round 0 fills the caches
    result = {
        "benchmark": "startup",
        "rounds": rounds,
        "demo": _summary(demo),
        "bare_gradio": _summary(plain),
        "very_first_start_s": round(first_page_s["demo"][0], 3),
        "ratio_median": round(statistics.median(demo) / statistics.median(plain), 3),
        "ratio_best": round(min(demo) / min(plain), 3),
        "import_ragkit_s": round(import_ragkit_s - empty_interpreter_s, 4),
        "empty_interpreter_s": round(empty_interpreter_s, 4),
        "poll_s": POLL_S,
        "machine": {
            "python": platform.python_version(),
            "gradio": version("gradio"),
            "cpu_count": os.cpu_count(),
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
    }
    print(json.dumps(result, indent=2))


def time_first_page(command: Command, environment: dict[str, str], log: Path) -> float:
    """Seconds from the start of the process until GET / answers 200 with a Gradio page."""
    port = _free_port()
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command(port)], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            while not _page_is_there(port):
                if process.poll() is not None or time.perf_counter() - started > TIMEOUT_S:
                    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                    sys.exit(f"{' '.join(command(port))}: no page within {TIMEOUT_S} s, or it ended:\n{tail}")
                time.sleep(POLL_S)
            return time.perf_counter() - started
        finally:
            _stop(process)


def time_import(environment: dict[str, str]) -> tuple[float, float]:
    """Median seconds of `python -c 'import ragkit'` and of an interpreter that imports nothing."""
    seconds: dict[str, list[float]] = {"import ragkit": [], "pass": []}
    for turn in range(IMPORT_RUNS + 1):
        for statement, measured in seconds.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], cwd=ROOT, env=environment, check=True)
            if turn:  # the first pair fills the page cache
                measured.append(time.perf_counter() - started)
    return statistics.median(seconds["import ragkit"]), statistics.median(seconds["pass"])


def _environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAGKIT_", "GRADIO_"))}
    return kept | {
        "RAGKIT_DATA": str(folder / "data"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONUTF8": "1",
    }


def _page_is_there(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=TIMEOUT_S) as answer:
            return answer.status == 200 and b"gradio" in answer.read()
    except (urllib.error.URLError, ConnectionError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _summary(seconds: list[float]) -> dict[str, float | list[float]]:
    return {
        "first_page_best_s": round(min(seconds), 3),
        "first_page_median_s": round(statistics.median(seconds), 3),
        "first_page_s": [round(value, 3) for value in seconds],
    }


if __name__ == "__main__":
    main()
