"""The parsing process: what a crash, a hang, a bomb or a dead parent costs. Nothing is patched in our process."""

from __future__ import annotations

import io
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

from ragkit.errors import EmptyFile, EncryptedFile, FileTooLarge, ReaderFailed
from ragkit.readers import read
from ragkit.readers.client import MEMORY_BYTES, ReaderProcess, resident_bytes
from ragkit.readers.frames import MAX_BLOCKS, MAX_FRAME_BYTES, BadFrame, as_json, as_parsed, pack, receive
from ragkit.schema import Block, Parsed
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
        process.stdin.write(pack({"id": 1, "path": str(good), "name": None}))
        process.stdin.flush()
        answer = receive(process.stdout)
        process.stdin.close()
        assert answer is not None and answer["parsed"]["title"] == "标题"
        assert process.stderr.read().split() == [b"noise", b"more", b"noise"]


def test_signs_of_life_go_out_before_the_answer(good: Path) -> None:
    code = (
        "import ragkit.readers.worker as worker\n"
        "quick = worker.read\n"
        "def slow(path, *, name):\n"
        "    worker.pace.alive()\n"
        "    return quick(path, name=name)\n"
        "worker.read = slow\n"
        "worker.main(1 << 31)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1) as process:
        assert process.stdin and process.stdout
        process.stdin.write(pack({"id": 7, "path": str(good), "name": None}))
        process.stdin.flush()
        first, second = receive(process.stdout), receive(process.stdout)
        process.stdin.close()
    assert first == {"id": 7, "alive": True}
    assert second is not None and second["id"] == 7 and "parsed" in second


def test_the_end_of_its_input_ends_the_worker_in_the_middle_of_a_file(slow: Path) -> None:
    with subprocess.Popen(WORKER, cwd=ROOT, stdin=-1, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate(pack({"id": 1, "path": str(slow), "name": None}), timeout=20)
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


# ── What a worker may answer ────────────────────────────────────────────────────────────────────────

ODD_WORKER = """
import struct, sys, time
from ragkit.readers.frames import pack, receive
request = receive(sys.stdin.buffer)
mark = {"id": request["id"]}
document = {"text": "abc", "blocks": [[0, 3, "text", None, []]], "pages_without_text": [], "ocr_pages": []}
out = sys.stdout.buffer
def say(*frames):
    for frame in frames:
        out.write(frame)
    out.flush()
"""


def odd(tmp_path: Path, lines: str, **limits: float) -> ReaderProcess:
    """A reader whose worker reads nothing and says what `lines` write."""
    script = write(tmp_path, "odd.py", (ODD_WORKER + lines + "\nsys.stdin.read()").encode())
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({str(script)!r})"
    return ReaderProcess(command=(sys.executable, "-c", code), **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lines",
    [
        "say(struct.pack('>I', 9), b'not json!')",
        "say(struct.pack('>I', 2), b'[]')",
        "say(struct.pack('>I', 200_000), b'[' * 200_000)",
        f"say(struct.pack('>I', {MAX_FRAME_BYTES + 1}))",
        "say(b'Traceback (most recent call last): ...')",
        "say(pack(mark))",
        "say(pack(mark | {'parsed': []}))",
        "say(pack(mark | {'parsed': document | {'blocks': [[0, 4, 'text', None, []]]}}))",
        "say(pack(mark | {'parsed': document | {'blocks': [[2, 1, 'text', None, []]]}}))",
        "say(pack(mark | {'parsed': document | {'blocks': [[0, 3, 'video', None, []]]}}))",
        "say(pack(mark | {'parsed': document | {'blocks': [[0, 3, 'text', '1', []]]}}))",
        "say(pack(mark | {'parsed': document | {'blocks': [[0, 3, 'text', None, [1]]]}}))",
        "say(pack(mark | {'parsed': document | {'text': 'a\\ud800c'}}))",
        "say(pack(mark | {'parsed': document | {'encoding': 8}}))",
        "say(pack(mark | {'error': 'SystemExit', 'message': 'm', 'hint': 'h'}))",
        "say(pack(mark | {'error': 'EmptyFile', 'message': 7, 'hint': 'h'}))",
        "say(pack({'parsed': document}))",
        "say(pack({'id': mark['id'] + 1, 'parsed': document}))",
    ],
)
def test_garbage_costs_the_file_in_hand_and_the_worker(tmp_path: Path, good: Path, lines: str) -> None:
    with odd(tmp_path, lines) as reader:
        with pytest.raises(ReaderFailed, match="garbage"):
            reader.read(good)
        assert reader.pid is None


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_file(tmp_path: Path, good: Path) -> None:
    """The second of two answers to one request lay in the pipe and became the text of another file."""
    with odd(tmp_path, "say(*[pack(mark | {'parsed': document})] * 2)") as reader:
        assert reader.read(good).text == "abc"
        with pytest.raises(ReaderFailed, match="garbage"):
            reader.read(good)


def test_a_worker_that_dies_in_the_middle_of_an_answer_has_crashed(tmp_path: Path, good: Path) -> None:
    with (
        odd(tmp_path, "say(pack(mark | {'parsed': document})[:-5]); raise SystemExit") as reader,
        pytest.raises(ReaderFailed, match="crashed"),
    ):
        reader.read(good)


def test_signs_of_life_give_a_slow_file_its_time_once_more(tmp_path: Path, good: Path) -> None:
    lines = (
        "for _ in range(12):\n    time.sleep(0.5)\n    say(pack(mark | {'alive': True}))\n"
        "say(pack(mark | {'parsed': document}))"
    )
    with odd(tmp_path, lines, timeout_s=5.0) as reader:
        assert reader.read(good).text == "abc"


def test_signs_of_life_do_not_go_on_for_ever(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragkit.readers.client.LONGEST_S", 6.0)
    lines = "while True:\n    say(pack(mark | {'alive': True}))"
    with odd(tmp_path, lines, timeout_s=5.0) as reader, pytest.raises(ReaderFailed, match="end with this"):
        reader.read(good)


def test_cancelling_ends_a_read_and_keeps_the_reader(slow: Path, good: Path) -> None:
    cancel = threading.Event()
    with ReaderProcess() as reader:
        started(reader, good)
        threading.Timer(0.3, cancel.set).start()
        with pytest.raises(ReaderFailed, match="cancelled"):
            reader.read(slow, cancel=cancel)
        assert reader.read(good, cancel=threading.Event()).title == "标题"


def test_a_file_of_too_many_paragraphs_is_too_large(tmp_path: Path) -> None:
    file = write(tmp_path, "many.txt", b"a\n\n" * (MAX_BLOCKS + 1))
    with ReaderProcess() as reader, pytest.raises(FileTooLarge, match="500,000 paragraphs"):
        reader.read(file)


def test_a_frame_over_the_limit_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragkit.readers.frames.MAX_FRAME_BYTES", 100)
    with pytest.raises(BadFrame):
        pack({"text": "x" * 100})


def test_a_document_survives_the_way_through_a_frame() -> None:
    parsed = Parsed(
        "一二三🎉",
        (Block(0, 2, "heading", 3, ("一二",)), Block(2, 4)),
        "T",
        "utf-8",
        4,
        (1, 4),
        (2,),
        "stopped",
    )
    sent = io.BytesIO(pack(as_json(parsed)))
    assert as_parsed(receive(sent)) == parsed
