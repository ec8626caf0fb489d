from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from ragkit import models
from ragkit.download import download
from ragkit.errors import ModelError, UsageError
from ragkit.hub import SAFETENSORS_AT, Hub
from ragkit.transfer import Transfer
from tests.hub import BRANCH, BRANCH_REVISION, FORBIDDEN, NAME, REVISION, FakeHub, tiny_model

SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(tiny_model() | FORBIDDEN) as running:
        yield running


@pytest.fixture
def get(hub: FakeHub, tmp_path: Path) -> Callable[..., Path]:
    """Download NAME from the fake hub into tmp_path; with little patience for one that falls silent."""

    def run(**options: object) -> Path:
        waits = (
            (0.3, 0.5) if hub.silent or hub.hang or hub.silent_on else (10.0, 10.0)
        )  # a busy machine is no silent hub
        settings = Hub(endpoint=hub.endpoint, timeout_s=waits[0], patience_s=waits[1])
        return download(NAME, **({"data_dir": tmp_path, "hub": settings} | options))  # type: ignore[arg-type]

    return run


def part_of(tmp_path: Path) -> Path:
    return models.folder_of(NAME, tmp_path).with_name("acme--tiny-chat.part")


# --- A hub that works ---------------------------------------------------------------------------------


def test_a_model_comes_whole_with_the_hash_of_every_file(
    hub: FakeHub, get: Callable[..., Path], tmp_path: Path
) -> None:
    folder = get()
    assert folder == tmp_path / "models" / "acme--tiny-chat"
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.name != models.MANIFEST} == tiny_model()
    manifest = models.Manifest.load(folder)
    assert manifest and (manifest.name, manifest.source) == (NAME, hub.endpoint)
    assert manifest.revision == REVISION and set(manifest.files) == set(tiny_model())
    assert models.damaged(folder) == [] and models.find_local(NAME, tmp_path) == folder


def test_nothing_outside_the_allow_list_is_asked_for(hub: FakeHub, get: Callable[..., Path]) -> None:
    get()
    assert not any(hub.asked_for(name.split("/")[-1]) for name in ("evil.py", "pytorch_model.bin"))
    assert not any("onnx" in path for path, _ in hub.asked)


def test_a_model_that_is_here_is_not_asked_for_again(hub: FakeHub, get: Callable[..., Path]) -> None:
    folder, asked = get(), len(hub.asked)
    assert get() == folder and len(hub.asked) == asked


def test_progress_counts_to_the_last_byte(get: Callable[..., Path]) -> None:
    told: list[Transfer] = []
    get(progress=told.append)
    total = sum(len(content) for content in tiny_model().values())
    assert told[-1].done_bytes == told[-1].total_bytes == total and told[-1].rate_bytes_s > 0
    assert told[-1].file.endswith(".safetensors")


def test_the_token_goes_to_the_hub_and_not_to_the_host_it_redirects_to(
    hub: FakeHub, get: Callable[..., Path]
) -> None:
    with FakeHub(hub.files) as cdn:
        hub.cdn = cdn
        get(hub=Hub(endpoint=hub.endpoint + "/", token="hf_secret"))
    assert all(headers["authorization"] == "Bearer hf_secret" for _, headers in hub.asked)
    assert len(cdn.asked) == len(tiny_model())
    assert not any("authorization" in headers for _, headers in cdn.asked)
    assert "hf_secret" not in repr(Hub(token="hf_secret"))


# --- Cuts and resumes ---------------------------------------------------------------------------------


def test_a_cut_connection_is_taken_up_where_it_broke(hub: FakeHub, get: Callable[..., Path]) -> None:
    hub.cuts[SHARD] = [100_000, 70_000]
    assert models.damaged(get()) == []
    assert [h.get("range") for h in hub.asked_for(SHARD)] == [None, "bytes=100000-", "bytes=170000-"]
    assert hub.served_bytes == sum(len(content) for content in tiny_model().values())


def test_a_killed_download_goes_on_from_the_bytes_on_the_disk(
    hub: FakeHub, get: Callable[..., Path], tmp_path: Path
) -> None:
    hub.block_s = 0.2
    code = (
        "import sys, pathlib; from ragkit.download import Hub, download\n"
        f"download({NAME!r}, data_dir=pathlib.Path(sys.argv[1]), hub=Hub(endpoint=sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), hub.endpoint])
    try:
        # A file's buffer is written by megabytes: the shards are large enough for one to be on its way.
        _until(lambda: any(f.stat().st_size for f in part_of(tmp_path).glob("*.safetensors.part")))
    finally:
        child.kill()
        child.wait()
    assert models.find_local(NAME, tmp_path) is None
    hub.block_s, before = 0.0, hub.served_bytes
    folder = get()
    assert models.damaged(folder) == [] and not part_of(tmp_path).exists()
    assert hub.served_bytes - before < sum(len(content) for content in tiny_model().values())
    assert any("range" in headers for path, headers in hub.asked if path.endswith(".safetensors"))


def test_silence_in_the_middle_of_a_file_is_taken_up_too(hub: FakeHub, get: Callable[..., Path]) -> None:
    hub.cuts[SHARD], hub.hang = [100_000], True
    assert models.damaged(get()) == []
    assert [h.get("range") for h in hub.asked_for(SHARD)] == [None, "bytes=100000-"]


def test_a_hub_that_sends_another_part_is_asked_for_the_whole(hub: FakeHub, get: Callable[..., Path]) -> None:
    hub.cuts[SHARD], hub.wrong_ranges = [100_000], True
    assert models.damaged(get()) == []
    assert [h.get("range") for h in hub.asked_for(SHARD)] == [None, "bytes=100000-", None]


def test_a_hub_without_ranges_sends_the_file_again(hub: FakeHub, get: Callable[..., Path]) -> None:
    hub.ranges = False
    hub.cuts[SHARD] = [100_000]
    assert models.damaged(get()) == []


def test_a_busy_hub_is_asked_again(hub: FakeHub, get: Callable[..., Path]) -> None:
    hub.status[SHARD] = [503, 429]
    assert models.damaged(get()) == []


def test_a_part_of_another_revision_is_thrown_away(
    hub: FakeHub, get: Callable[..., Path], tmp_path: Path
) -> None:
    part_of(tmp_path).mkdir(parents=True)
    (part_of(tmp_path) / f"{SHARD}.part").write_bytes(b"old" * 1000)
    (part_of(tmp_path) / "config.json").write_bytes(b"longer than the new one" * 100)
    assert models.damaged(get()) == []
    assert [h.get("range") for h in hub.asked_for(SHARD)] == ["bytes=3000-", None]


def test_a_lost_file_is_brought_back_alone(hub: FakeHub, get: Callable[..., Path]) -> None:
    folder = get()
    (folder / SHARD).unlink()
    hub.asked.clear()
    assert get() == folder and models.damaged(folder) == []
    assert [path.rpartition("/")[2] for path, _ in hub.asked if "/resolve/" in path] == [SHARD]


# --- A hub that fails ---------------------------------------------------------------------------------


@pytest.fixture
def ways_on() -> Callable[[ModelError], bool]:
    words = ("HF_ENDPOINT=https://hf-mirror.com", "--model DIR", "download smollm2-135m", "quotes")
    return lambda error: all(word in error.hint for word in words)


def test_an_unknown_model_is_refused_at_once(
    get: Callable[..., Path], hub: FakeHub, tmp_path: Path, ways_on: Callable[[ModelError], bool]
) -> None:
    with pytest.raises(ModelError, match=r"does not give acme/none \(HTTP 404\)") as caught:
        download("acme/none", data_dir=tmp_path, hub=Hub(endpoint=hub.endpoint))
    assert ways_on(caught.value) and len(hub.asked) == 1


def test_a_silent_hub_is_given_up_within_its_patience(
    get: Callable[..., Path], hub: FakeHub, ways_on: Callable[[ModelError], bool]
) -> None:
    hub.silent = True
    with pytest.raises(ModelError, match="cannot be reached, or fell silent") as caught:
        get()
    assert ways_on(caught.value)
    assert Hub().patience_s + Hub().timeout_s * 1.1 < 15  # the same, at worst, with the real figures


def test_silence_on_a_file_is_given_up_too(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.silent_on = {"config.json", "tokenizer.model", "model.safetensors.index.json"}
    with pytest.raises(ModelError, match="fell silent"):
        get()


def test_no_hub_at_all_says_the_three_ways_on(
    get: Callable[..., Path], ways_on: Callable[[ModelError], bool]
) -> None:
    with FakeHub({}) as gone:
        endpoint = gone.endpoint
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        get(hub=Hub(endpoint=endpoint, timeout_s=1, patience_s=1))
    assert ways_on(caught.value)


def test_a_log_in_page_in_place_of_a_hub_is_told_apart(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.html = True
    with pytest.raises(ModelError, match="did not answer as a model hub does"):
        get()


def test_a_wrong_hash_keeps_the_model_invisible(
    get: Callable[..., Path], hub: FakeHub, tmp_path: Path
) -> None:
    hub.corrupt = {SHARD}
    with pytest.raises(ModelError, match=f"{SHARD} of {NAME} arrived damaged"):
        get()
    assert models.find_local(NAME, tmp_path) is None and not models.folder_of(NAME, tmp_path).exists()
    hub.corrupt = set()
    assert models.damaged(get()) == []


def test_a_small_file_is_checked_by_gits_hash(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.corrupt = {"config.json"}
    with pytest.raises(ModelError, match=r"config\.json of .* arrived damaged"):
        get()


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "/etc/x.json",
        "a\\..\\x.json",
        "a/../../x.json",
        "C:x.json",
        "a//x.json",
        "x\n.json",
        "..",
    ],
)
def test_a_list_with_a_path_that_leaves_the_folder_is_refused_whole(
    get: Callable[..., Path], hub: FakeHub, tmp_path: Path, name: str
) -> None:
    hub.listed_only = [name]
    with pytest.raises(ModelError, match="forbidden name"):
        get()
    assert not any("/resolve/" in path for path, _ in hub.asked)
    assert [f.name for f in tmp_path.rglob("*") if f.is_file() and not f.name.endswith(".lock")] == []


def test_a_hub_cannot_write_the_manifest(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.files["RAGKIT.json"] = b"{}"
    get()
    assert not hub.asked_for("RAGKIT.json")


def test_a_model_of_pickles_alone_is_refused(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        get()


def test_a_model_without_a_tokenizer_does_not_become_visible(
    get: Callable[..., Path], hub: FakeHub, tmp_path: Path
) -> None:
    del hub.files["tokenizer.model"]
    with pytest.raises(ModelError, match=r"came without tokenizer\.model"):
        get()
    assert models.find_local(NAME, tmp_path) is None


# --- This machine -------------------------------------------------------------------------------------


def test_a_full_disk_is_seen_before_the_first_byte(get: Callable[..., Path], hub: FakeHub) -> None:
    with pytest.raises(ModelError, match=r"needs 0\.5 GB of disk .* has 0\.2 GB free") as caught:
        get(free_bytes=lambda _: 200_000_000)
    assert "RAGKIT_DATA" in caught.value.hint
    assert not any("/resolve/" in path for path, _ in hub.asked)


def test_offline_no_hub_is_asked(
    get: Callable[..., Path], hub: FakeHub, ways_on: Callable[[ModelError], bool]
) -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE") as caught:
        get(hub=Hub(endpoint=hub.endpoint, offline=True))
    assert ways_on(caught.value) and not hub.asked


def test_a_cancel_stops_between_two_blocks_and_a_new_start_goes_on(
    get: Callable[..., Path], hub: FakeHub, tmp_path: Path
) -> None:
    cancel = threading.Event()
    hub.cuts[SHARD] = [100_000]

    def stop(transfer: Transfer) -> None:
        if transfer.done_bytes >= 300_000:
            cancel.set()

    hub.block_s = 0.05
    with pytest.raises(ModelError, match="was stopped"):
        get(cancel=cancel, progress=stop)
    assert models.find_local(NAME, tmp_path) is None
    assert [(one.name, one.folder) for one in models.unfinished(tmp_path)] == [(NAME, part_of(tmp_path))]
    hub.block_s = 0
    assert models.damaged(get()) == []


def test_a_cancel_does_not_wait_for_a_silent_hub(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.silent = True
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(ModelError, match="was stopped"):
        get(cancel=cancel, hub=Hub(endpoint=hub.endpoint))


def test_two_downloads_of_one_model_do_not_meet(get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (
        FileLock(tmp_path / "models" / ".acme--tiny-chat.lock"),
        pytest.raises(ModelError, match="already"),
    ):
        get()


def test_an_endpoint_without_a_scheme_is_told_as_such(get: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"HF_ENDPOINT is 'hf-mirror\.com'"):
        get(hub=Hub(endpoint="hf-mirror.com"))


def test_a_single_gguf_comes_without_a_config(get: Callable[..., Path], hub: FakeHub) -> None:
    hub.files = {"tiny.Q4_K_M.gguf": b"GGUF" * 5000, "README.md": b"# tiny"}
    folder = get()
    assert models.gguf_file(folder) == folder / "tiny.Q4_K_M.gguf"


def _until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


# --- Embedding models ---------------------------------------------------------------------------------

EMBEDDING = {
    "config.json": b'{"hidden_size": 32}',
    "tokenizer.json": b"{}",
    "modules.json": b"[]",
    "1_Pooling/config.json": b'{"pooling_mode": "cls"}',
    "model.safetensors": b"weights",
}


def test_an_embedding_model_comes_with_the_settings_of_its_modules(
    hub: FakeHub, get: Callable[..., Path], tmp_path: Path
) -> None:
    unwanted = {
        "onnx/config.json": b"{}",
        "1_Pooling/model.bin": b"pickle",
        "2_Dense/evil.py": b"raise SystemExit",
    }
    hub.files = EMBEDDING | FORBIDDEN | unwanted
    folder = get()
    brought = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
    assert brought == {*EMBEDDING, models.MANIFEST}
    assert (folder / "1_Pooling" / "config.json").read_bytes() == EMBEDDING["1_Pooling/config.json"]
    assert models.embeds(folder) and models.missing(folder) == models.damaged(folder) == []
    (folder / "1_Pooling" / "config.json").unlink()
    assert models.missing(folder) == ["1_Pooling/config.json"]


def test_an_embedding_model_is_not_offered_for_chatting(
    hub: FakeHub, get: Callable[..., Path], tmp_path: Path
) -> None:
    hub.files = dict(EMBEDDING)
    get()
    assert list(models.local_models(tmp_path, hub_cache=tmp_path / "none")) == []
    assert models.find_local(NAME, tmp_path) is not None


def test_safetensors_that_lie_on_a_known_branch_alone_are_fetched_from_there(
    hub: FakeHub, get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = EMBEDDING | {"pytorch_model.bin": b"pickle"}
    hub.only_on_branch = {"model.safetensors"}
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        get()
    monkeypatch.setitem(SAFETENSORS_AT, NAME, BRANCH)
    folder = get()
    manifest = models.Manifest.load(folder)
    assert manifest and manifest.revision == BRANCH_REVISION and "model.safetensors" in manifest.files
