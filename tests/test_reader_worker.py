"""The parsing process: what a crash, a hang, a bomb or a dead parent costs. Nothing is patched in our process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragkit.errors import EmptyFile, EncryptedFile, ReaderFailed
from ragkit.readers import read
from ragkit.readers.client import MEMORY_BYTES, ReaderProcess, resident_bytes
from ragkit.readers.worker import pack, receive
from tests.fakes_documents import handbook, pdf, word, write

ROOT = Path(__file__).parents[1]
WORKER = [sys.executable, "-m", "ragkit.readers.worker", str(MEMORY_BYTES)]
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path, "good.md", "# 标题\n\n正文。".encode())


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Three million paragraphs: seconds of work, and several hundred megabytes."""
    return write(tmp_path, "slow.txt", b"a\n\n" * 3_000_000)


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def started(reader: ReaderProcess, good: Path) -> int:
    """The id of a worker that has read one file."""
    reader.read(good)
    assert reader.pid is not None
    return reader.pid


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", "# 标题\n\n| a | b |\n|---|---|\n| 1 | 2 |\n".encode()),
        ("a.txt", "第一段。\n\n第二段 🎉".encode("gb18030")),
        ("a.pdf", pdf("第一页。", "two", title="A title")),
        ("a.docx", word(handbook())),
    ],
)
def test_the_worker_gives_what_reading_in_this_process_gives(
    tmp_path: Path, name: str, content: bytes
) -> None:
    file = write(tmp_path, name, content)
    with ReaderProcess() as reader:
        assert reader.read(file) == read(file)


def test_the_worker_starts_with_the_first_file_and_ends_with_the_block(good: Path) -> None:
    with ReaderProcess() as reader:
        assert reader.pid is None
        started(reader, good)
    assert reader.pid is None


def test_stored_originals_are_read_by_the_name_that_is_given(tmp_path: Path) -> None:
    with ReaderProcess() as reader:
        assert reader.read(write(tmp_path, "3f2a", b"# Title"), name="notes.md").title == "Title"


def test_errors_come_back_as_they_are_and_keep_the_worker(tmp_path: Path, good: Path) -> None:
    with ReaderProcess() as reader:
        pid = started(reader, good)
        with pytest.raises(EncryptedFile) as caught:
            reader.read(write(tmp_path, "locked.pdf", pdf("secret", password="pw")))
        assert "qpdf" in caught.value.hint
        with pytest.raises(EmptyFile):
            reader.read(write(tmp_path, "empty.txt", b""))
        assert reader.pid == pid


def test_a_relative_path_is_meant_from_here(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good.parent)
    with ReaderProcess() as reader:
        assert reader.read(Path(good.name)).title == "标题"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, os.fsdecode(b"\xc4\xe3.md"), b"# Title")
    with ReaderProcess() as reader:
        assert reader.read(file).title == "Title"


def test_the_worker_is_replaced_after_its_share_of_files(good: Path) -> None:
    with ReaderProcess(files_per_worker=2) as reader:
        first = started(reader, good)
        reader.read(good)
        assert reader.pid is None
        assert started(reader, good) != first


@posix
def test_a_crash_costs_the_file_in_hand_and_no_other(good: Path) -> None:
    with ReaderProcess() as reader, ThreadPoolExecutor() as pool:
        pid = started(reader, good)
        os.kill(pid, signal.SIGSTOP)  # so that it dies with the file in its hands
        reading = pool.submit(reader.read, good)
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ReaderFailed, match="crashed"):
            reading.result(timeout=20)
        assert reader.read(good).title == "标题"


@posix
def test_a_worker_that_dies_between_two_files_costs_nothing(good: Path) -> None:
    with ReaderProcess() as reader:
        pid = started(reader, good)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert started(reader, good) != pid


@posix
def test_a_hang_ends_with_the_time_limit(good: Path) -> None:
    with ReaderProcess(timeout_s=3.0) as reader:
        pid = started(reader, good)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ReaderFailed, match="longer than 3 s"):
            reader.read(good)
        assert started(reader, good) != pid


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the system's on Linux only")
def test_a_memory_bomb_fails_and_the_next_file_is_read(slow: Path, good: Path) -> None:
    with ReaderProcess(memory_bytes=100_000_000) as reader:
        with pytest.raises(ReaderFailed, match="out of memory"):
            reader.read(slow)
        assert reader.pid is None
        assert reader.read(good).title == "标题"


def test_the_memory_of_a_process_is_known_where_psutil_is(good: Path) -> None:
    pytest.importorskip("psutil")
    assert resident_bytes(os.getpid()) > 1_000_000
    with ReaderProcess() as reader:
        pid = started(reader, good)
    assert resident_bytes(pid) == 0


def test_many_threads_share_one_worker(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{number}.md", f"# {number}".encode()) for number in range(40)]
    with ReaderProcess() as reader, ThreadPoolExecutor(8) as pool:
        assert [parsed.title for parsed in pool.map(reader.read, files)] == [
            str(number) for number in range(40)
        ]


def test_closing_ends_a_read_in_another_thread_at_once(slow: Path) -> None:
    reader = ReaderProcess()
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(reader.read, slow)
        assert wait_for(lambda: reader.pid is not None)
        reader.close()
        with pytest.raises(ReaderFailed, match="closed"):
            reading.result(timeout=20)
    with pytest.raises(ReaderFailed, match="closed"):
        reader.read(slow)


def test_what_a_library_prints_does_not_reach_the_answers(good: Path) -> None:
    code = (
        "import os, ragkit.readers.worker as worker\n"
        "quiet = worker.read\n"
        "def noisy(path, *, name):\n"
        "    print('noise', flush=True)\n"
        "    os.write(1, b'more noise')\n"
        "    return quiet(path, name=name)\n"
        "worker.read = noisy\n"
        "worker.main(1 << 31)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(pack({"path": str(good), "name": None}))
        process.stdin.flush()
        answer = receive(process.stdout)
        process.stdin.close()
        assert answer is not None and answer["parsed"]["title"] == "标题"
        assert process.stderr.read().split() == [b"noise", b"more", b"noise"]


def test_the_end_of_its_input_ends_the_worker_in_the_middle_of_a_file(slow: Path) -> None:
    with subprocess.Popen(WORKER, cwd=ROOT, stdin=-1, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate(pack({"path": str(slow), "name": None}), timeout=20)
        assert (process.returncode, output) == (0, b"")


@posix
def test_the_worker_dies_with_a_parent_that_is_killed(good: Path) -> None:
    psutil = pytest.importorskip("psutil")
    code = (
        "import sys, time; from pathlib import Path; from ragkit.readers.client import ReaderProcess\n"
        "reader = ReaderProcess(); reader.read(Path(sys.argv[1])); print(reader.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(good)], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    # Where nobody reaps orphans (in some containers) a dead one stays as a zombie.
    assert wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_the_worker_loads_no_model_and_no_page() -> None:
    code = (
        "import sys, ragkit.readers.worker, ragkit.readers.pdf, ragkit.readers.docx, ragkit.readers.html\n"
        "print(*({'torch', 'gradio', 'llama_index', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == ""


def test_no_thread_is_left_behind(good: Path) -> None:
    before = threading.active_count()
    with ReaderProcess() as reader:
        reader.read(good)
    assert threading.active_count() == before
