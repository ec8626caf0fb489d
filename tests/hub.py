"""A model hub on the loopback: huggingface.co's paths, and every way in which a hub can fail."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

REVISION = "0123456789abcdef0123456789abcdef01234567"
BRANCH, BRANCH_REVISION = "refs/pr/1", "1" * 40
NAME = "acme/tiny-chat"
_BLOCK = 64 * 1024

# What a hub offers beside a model of two shards: things that must never be asked for.
FORBIDDEN = {
    "evil.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "onnx/model.safetensors": b"other",
}


def tiny_model(shard_bytes: int = 300_000) -> dict[str, bytes]:
    """Make the files of a model of two shards. The weights are noise: nobody loads them."""
    shards = {f"model-0000{n}-of-00002.safetensors": bytes([n]) * shard_bytes for n in (1, 2)}
    index = {"weight_map": {f"layer{n}": name for n, name in enumerate(shards)}}
    return {
        "config.json": b'{"architectures": ["InternLM2ForCausalLM"]}',
        "tokenizer.model": b"\x0apieces",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **shards,
    }


class FakeHub:
    """Serves `files`, records every request, and misbehaves as its fields say."""

    def __init__(self, files: dict[str, bytes], *, name: str = NAME, large_bytes: int = 10_000) -> None:
        self.files = files
        self.name = name
        self.large_bytes = large_bytes  # from here on a file is listed as LFS does, by its sha256
        self.listed_only: list[str] = []  # names in the list without a file
        self.asked: list[tuple[str, dict[str, str]]] = []  # path, headers
        self.served_bytes = 0
        self.silent = False  # take the request and say nothing
        self.silent_on: set[str] = set()  # the same, for these files alone
        self.cuts: dict[str, list[int]] = {}  # file -> after so many bytes hang up, once each
        self.hang = False  # at a cut, fall silent in place of hanging up
        self.corrupt: set[str] = set()
        self.status: dict[str, list[int]] = {}  # file -> answers in place of the file, once each
        self.ranges = True
        self.wrong_ranges = False  # send another part than the one asked for, and say so
        self.cdn: FakeHub | None = None  # where files really are
        self.block_s = 0.0  # pause after every block
        self.html = False  # a log-in page for everything
        self.only_on_branch: set[str] = set()  # files that the main branch lacks, and BRANCH has
        self._stop = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    hub._answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def asked_for(self, file: str) -> list[dict[str, str]]:
        """Give the headers of every request for a file."""
        return [headers for path, headers in self.asked if path.endswith(f"/{file}")]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, {key.lower(): value for key, value in request.headers.items()}))
        if self.silent:
            self._stop.wait(30)
        elif self.html:
            _send(request, 200, b"<html>Please log in</html>")
        elif request.path == f"/api/models/{self.name}/revision/main":
            _send(request, 200, json.dumps({"id": self.name, "sha": REVISION}).encode())
        elif request.path == f"/api/models/{self.name}/revision/refs%2Fpr%2F1":
            _send(request, 200, json.dumps({"id": self.name, "sha": BRANCH_REVISION}).encode())
        elif match := re.fullmatch(rf"/api/models/{self.name}/tree/(\w{{40}})\?recursive=true", request.path):
            hidden = self.only_on_branch if match[1] == REVISION else set()
            _send(request, 200, json.dumps([e for e in self._tree() if e["path"] not in hidden]).encode())
        elif match := re.fullmatch(
            rf"/{self.name}/resolve/(?:{REVISION}|{BRANCH_REVISION})/(.+)", request.path
        ):
            self._send_file(request, match[1])
        else:
            _send(request, 404, b"not found")

    def _tree(self) -> list[dict[str, object]]:
        tree: list[dict[str, object]] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "onnx"}]
        for name in [*self.files, *self.listed_only]:
            content = self.files.get(name, b"")
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, object] = {"type": "file", "oid": git, "size": len(content), "path": name}
            if len(content) >= self.large_bytes:
                entry["oid"] = "f" * 40  # of the pointer
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            tree.append(entry)
        return tree

    def _send_file(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if name in self.silent_on:
            self._stop.wait(30)
            return
        if self.status.get(name):
            return _send(request, self.status[name].pop(0), b"")
        if self.cdn:
            return _send(request, 302, b"", {"Location": f"{self.cdn.endpoint}{request.path}"})
        content = self.files[name]
        if name in self.corrupt:
            content = content[:-1] + b"?"
        start, headers = 0, {}
        if self.ranges and (asked := re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))):
            start = int(asked[1]) + self.wrong_ranges
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        request.send_response(206 if headers else 200)
        for key, value in (headers | {"Content-Length": str(len(content) - start)}).items():
            request.send_header(key, value)
        request.end_headers()
        cut = bool(self.cuts.get(name))
        end = start + self.cuts[name].pop(0) if cut else len(content)
        for at in range(start, min(end, len(content)), _BLOCK):
            block = content[at : min(at + _BLOCK, end)]
            request.wfile.write(block)
            self.served_bytes += len(block)
            time.sleep(self.block_s)
        if cut and self.hang:
            self._stop.wait(30)
        request.close_connection = True


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
        request.send_header(key, value)
    request.end_headers()
    request.wfile.write(body)
