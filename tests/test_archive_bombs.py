"""Hostile archives: bombs, lies and circles cost a clear error, and little time and memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ragkit import archive
from ragkit.errors import BrokenFile, FileTooLarge
from ragkit.readers import zip_file
from tests.fakes_archives import paths, raw_zip, taken_out, zipped
from tests.fakes_documents import write


def bomb(size: int) -> bytes:
    """A deflated file of zeros."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as package,
        package.open("bomb.txt", "w", force_zip64=True) as file,
    ):
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))
    return content.getvalue()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge, match="60 MB"):
        taken_out(tmp_path, bomb(60_000_000), "bomb.txt")
    assert not (tmp_path / "out").exists()


def test_many_small_bombs_are_refused_together(tmp_path: Path) -> None:
    content = zipped(*((f"{number}.txt", bytes(1_000_000)) for number in range(60)))
    with pytest.raises(FileTooLarge, match="60 MB"):
        paths(tmp_path, content)


def test_inner_bombs_are_refused_together(tmp_path: Path) -> None:
    inner = zipped(*((f"{number}.txt", bytes(1_000_000)) for number in range(10)))
    with pytest.raises(FileTooLarge, match="100 MB"):
        paths(tmp_path, zipped(*((f"{number}.zip", inner) for number in range(10))))


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(FileTooLarge):
        paths(tmp_path, zipped(("a.md", bytes(60)), ("b.md", bytes(60))))


@pytest.mark.parametrize("claimed", [1, 500_000])
def test_a_size_that_is_a_lie_does_not_come_through(tmp_path: Path, claimed: int) -> None:
    content = bytearray(zipped(("a.md", bytes(300_000))))
    place = content.rindex(b"PK\1\2")
    content[place + 24 : place + 28] = struct.pack("<I", claimed)
    with pytest.raises(BrokenFile):
        taken_out(tmp_path, bytes(content), "a.md")
    assert not (tmp_path / "out").exists()


def test_files_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    files = [(f"{number}.md".encode(), b"x" * 1_000) for number in range(50)]
    with pytest.raises(BrokenFile, match="over each other"):
        paths(tmp_path, raw_zip(*files, overlap=True))


def test_a_file_may_not_reach_into_the_directory(tmp_path: Path) -> None:
    content = bytearray(zipped(("a.md", b"x"), method=zipfile.ZIP_STORED))
    place = content.rindex(b"PK\1\2")
    content[place + 20 : place + 24] = struct.pack("<I", 30)
    with pytest.raises(BrokenFile, match="over each other"):
        paths(tmp_path, bytes(content))


def test_a_directory_without_end_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_file, "MAX_DIRECTORY_BYTES", 70_000)
    files = [(f"{number:05}.exe".encode(), b"") for number in range(2_000)]
    with pytest.raises(FileTooLarge, match="list of files"):
        paths(tmp_path, raw_zip(*files))


def test_an_archive_that_holds_itself_comes_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if every inner archive were the outer one again: what a quine does, whatever its bytes are."""
    content = zipped(("r.zip", b"r"), ("a.md", b"x"))
    monkeypatch.setattr(archive, "pieces", lambda opened, info: [content])
    found = paths(tmp_path, content)
    assert "r.zip/r.zip/r.zip/r.zip" in found and len(found) == archive.MAX_DEPTH + 2


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_a_hostile_directory_takes_no_more_than_some_memory(tmp_path: Path) -> None:
    files = [(b"%d.exe" % number, b"") for number in range(100_000)]
    file = write(tmp_path, "a.zip", raw_zip(*files))
    code = (
        "import resource, sys; from pathlib import Path; from ragkit.archive import members\n"
        "from ragkit.errors import ReadError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: members(Path(sys.argv[1]))\n"
        "except ReadError as error: print(error.code)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "empty_file"
    assert int(done.stdout.split()[1]) < 300_000  # kilobytes
