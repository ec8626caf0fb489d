"""Whatever is done to a folder, and however the work on it is cut short: the index ends as a fresh one would."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.embeddings import BaseEmbedding

from ragkit import readers
from ragkit.chunking import chunk, index_text
from ragkit.config import Settings
from ragkit.engine import Engine
from ragkit.errors import ReadError
from ragkit.schema import Parsed, Progress
from tests.fakes_documents import assert_sound

PARAGRAPHS = [
    *(f"第{n}条规定了办理第{n * 7}类事项的时限，逾期不候。" * (n + 2) for n in range(1, 9)),
    *(
        f"Clause {n} tells how an order of kind {n * 3} is handled, and by whom. " * (n + 1)
        for n in range(1, 9)
    ),
    "短。",
]
NAMES = [
    f"{folder}{stem}{ending}"
    for folder in ("", "a/", "a/b/", "丙/")
    for stem in ("x", "手册")
    for ending in (".md", ".txt", ".csv", ".json")
]
PACK = "pack.zip"
BROKEN = b"\xff\xfe\x00\x01\x02\x81" * 50


class HashEmbedding(BaseEmbedding):
    """A direction for each text, made of its hash."""

    model_name: str = "hash"
    dim: int = 8

    def _get_text_embedding(self, text: str) -> list[float]:
        seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        return [float(x) for x in np.random.default_rng(seed).standard_normal(self.dim)]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class InThisProcess:
    """Reads as the reader process does, without the process: a hundred libraries are opened here."""

    closed = False

    def __init__(self, **_: object) -> None: ...

    def read(self, path: Path, *, name: str | None = None, cancel: threading.Event | None = None) -> Parsed:
        return readers.read(path, name=name)

    def close(self) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def _no_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragkit.library.ReaderProcess", InThisProcess)
        yield


def render(name: str, paragraphs: list[str]) -> bytes:
    match Path(name).suffix:
        case ".md":
            text = "".join(
                f"# 第{n // 2}节\n\n{p}\n\n" if n % 2 == 0 else f"{p}\n\n" for n, p in enumerate(paragraphs)
            )
        case ".csv":
            out = io.StringIO()
            csv.writer(out).writerows([("n", "text"), *enumerate(paragraphs)])
            text = out.getvalue()
        case ".json":
            text = json.dumps([{"n": n, "text": p} for n, p in enumerate(paragraphs)], ensure_ascii=False)
        case _:
            text = "\n\n".join(paragraphs) + "\n"
    return text.encode()


class World:
    """A folder that is changed, and the library that follows it."""

    def __init__(self, place: Path) -> None:
        self.docs = place / "docs"
        self.docs.mkdir()
        self._kb = place / "kb"
        self._clock = 10**18  # every write gets a date of its own, as on a finer clock than this machine's
        self._contents: dict[str, list[str]] = {}  # what each file ought to say, the broken ones too
        self._packed: dict[str, bytes] = {}
        self._model = 0
        self.engine = self._open()

    def _open(self) -> Engine:
        model = HashEmbedding(model_name=f"hash{self._model}", dim=8 + self._model)
        return Engine.open(Settings(data_dir=self._kb, kb=self._kb, embedding="off"), embed_model=model)

    def _write(self, name: str, content: bytes) -> None:
        file = self.docs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self._date(name)

    def _date(self, name: str) -> None:
        self._clock += 10**9
        os.utime(self.docs / name, ns=(self._clock, self._clock))

    def _pick(self, n: int) -> str | None:
        names = sorted(self._contents)
        return names[n % len(names)] if names else None

    def do(self, what: str, n: int, m: int) -> None:
        """One step, made of two numbers; what is not possible now is passed over."""
        getattr(self, what)(n, m)

    # ── The folder ──

    def create(self, n: int, m: int) -> None:
        name = NAMES[n % len(NAMES)]
        self._contents[name] = [PARAGRAPHS[(m + k) % len(PARAGRAPHS)] for k in range(1 + m % 7)]
        self._write(name, render(name, self._contents[name]))

    def change(self, n: int, m: int) -> None:
        if name := self._pick(n):
            paragraphs = self._contents[name]
            paragraphs[m % len(paragraphs)] = f"改成{m}了。"
            self._write(name, render(name, paragraphs))

    def append(self, n: int, m: int) -> None:
        if name := self._pick(n):
            self._contents[name].append(PARAGRAPHS[m % len(PARAGRAPHS)])
            self._write(name, render(name, self._contents[name]))

    def insert(self, n: int, m: int) -> None:
        if name := self._pick(n):
            self._contents[name].insert(m % len(self._contents[name]), PARAGRAPHS[m % len(PARAGRAPHS)])
            self._write(name, render(name, self._contents[name]))

    def rename(self, n: int, m: int) -> None:
        new = NAMES[m % len(NAMES)]
        if (name := self._pick(n)) and Path(name).suffix == Path(new).suffix:  # over another file, too
            (self.docs / new).parent.mkdir(parents=True, exist_ok=True)
            (self.docs / name).replace(self.docs / new)
            self._contents[new] = self._contents.pop(name)

    def rename_folder(self, n: int, m: int) -> None:
        old, new = (("a/", "丙/"), ("丙/", "d/"), ("a/b/", "e/"), ("d/", "a/"))[n % 4]
        if (self.docs / old).is_dir() and not (self.docs / new).exists():
            (self.docs / old).rename(self.docs / new)
            moved = {name: new + name.removeprefix(old) for name in self._contents if name.startswith(old)}
            for before, after in moved.items():
                self._contents[after] = self._contents.pop(before)

    def copy(self, n: int, m: int) -> None:
        new = f"copy{m % 5}"
        if name := self._pick(n):
            new += Path(name).suffix
            self._contents[new] = list(self._contents[name])
            self._write(new, (self.docs / name).read_bytes())

    def delete(self, n: int, m: int) -> None:
        if name := self._pick(n):
            (self.docs / name).unlink()
            del self._contents[name]

    def touch(self, n: int, m: int) -> None:
        if name := self._pick(n):
            self._date(name)

    def break_file(self, n: int, m: int) -> None:
        if name := self._pick(n):
            self._write(name, BROKEN if m % 2 else b"")

    def repair(self, n: int, m: int) -> None:
        if name := self._pick(n):
            self._write(name, render(name, self._contents[name]))

    def pack(self, n: int, m: int) -> None:
        """Put a file into the archive, and with an odd number take it from the folder."""
        if name := self._pick(n):
            self._packed[name] = (self.docs / name).read_bytes()
            self._write_pack()
            if m % 2:
                self.delete(n, m)

    def change_pack(self, n: int, m: int) -> None:
        if self._packed:
            name = sorted(self._packed)[n % len(self._packed)]
            if m % 3 and len(self._packed) > 1:
                del self._packed[name]
            else:
                self._packed[name] = render(name, [f"压缩包里的第{m}版。", *PARAGRAPHS[: m % 5]])
            self._write_pack()

    def break_pack(self, n: int, m: int) -> None:
        if self._packed:
            self._write(PACK, BROKEN)

    def _write_pack(self) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            for name, content in self._packed.items():
                file.writestr(zipfile.ZipInfo(name), content)
        self._write(PACK, out.getvalue())

    # ── The library ──

    def sync(self, n: int, m: int) -> None:
        self.engine.sync(self.docs, keep_gone=m % 5 == 0)

    def sync_cancelled(self, n: int, m: int) -> None:
        cancel = threading.Event()

        def stop(progress: Progress) -> None:
            if progress.stage == "read" and progress.done >= n % 3:
                cancel.set()

        self.engine.sync(self.docs, progress=stop, cancel=cancel)

    def embed(self, n: int, m: int) -> None:
        self.engine.embed()
        assert self.engine.verify() == []

    def embed_cancelled(self, n: int, m: int) -> None:
        cancel = threading.Event()
        self.engine.embed(progress=lambda _: cancel.set(), cancel=cancel)

    def remove(self, n: int, m: int) -> None:
        if documents := self.engine.documents():
            self.engine.remove([documents[n % len(documents)].id])

    def reread(self, n: int, m: int) -> None:
        if documents := self.engine.documents():
            self.engine.reread([documents[n % len(documents)].id])

    def reopen(self, n: int, m: int) -> None:
        self.engine.close()
        self.engine = self._open()

    def change_model(self, n: int, m: int) -> None:
        self._model = n % 3
        self.reopen(n, m)

    def check(self) -> None:
        """Sound at any time, but for vectors that are still to come."""
        assert [fault for fault in self.engine.verify() if "without a vector" not in fault] == []

    def finish(self) -> None:
        """Mend what is broken, and bring the library up to date."""
        for name, paragraphs in self._contents.items():
            self._write(name, render(name, paragraphs))
        if self._packed:
            broken = [name for name, content in self._packed.items() if content in (b"", BROKEN)]
            self._packed |= {name: render(name, ["补好了。"]) for name in broken}
            self._write_pack()
        report = self.engine.sync(self.docs)
        assert report.failed == ()
        self.engine.embed()
        assert self.engine.verify() == []

    def fresh(self) -> dict[str, Any]:
        """The state of a library that sees the folder for the first time."""
        self._kb = self._kb.with_name("fresh")
        engine = self._open()
        engine.sync(self.docs)
        engine.embed()
        return state(engine)


def state(engine: Engine) -> dict[str, Any]:
    """Everything that a library knows, but for ids and times."""
    rows = engine._store.file.rows
    with engine:
        documents = rows(
            "SELECT d.path, d.size_bytes, d.mtime_ns, d.hash, d.made_by, t.text, d.title, d.encoding, d.chars, d.error_code, "
            "d.pending FROM document d LEFT JOIN text t ON t.hash = d.text_hash ORDER BY d.path"
        )
        chunks = rows(
            "SELECT d.path, c.start, c.end, c.page, c.heading, c.hash, c.lead, c.length, f.body, f.name, v.model, v.data "
            "FROM chunk c JOIN document d ON d.id = c.doc_id JOIN chunk_term f ON f.rowid = c.id "
            "LEFT JOIN vector v ON v.hash = c.hash ORDER BY d.path, c.start"
        )
        counts = {
            table: rows(f"SELECT COUNT(*) FROM {table}")[0][0]
            for table in ("document", "text", "chunk", "chunk_term", "vector")
        }
        listed = [(d.source, d.state, d.chunks, d.embedded) for d in engine.documents()]
        in_order = {d.source: [c.text for c in engine.chunks(d.id)] for d in engine.documents()}
        model = rows("SELECT value FROM meta WHERE key = 'embedding'")
        return {
            "documents": documents,
            "chunks": chunks,
            "counts": counts,
            "listed": listed,
            "in order": in_order,
            "model": model,
            "roots": [root.label for root in engine.roots()],
        }


EDITS = (
    "create change append insert insert rename rename_folder copy delete touch "
    "break_file repair pack change_pack break_pack"
).split()
WORK = "sync_cancelled embed embed_cancelled remove reread reopen change_model".split()
# An edit, and whether the library follows it at once; or work on the library.
STEP = st.tuples(st.sampled_from([*EDITS, *WORK]), st.integers(0, 99), st.integers(0, 99), st.booleans())
FIRST = [
    ("create", 0, 11, False),
    ("create", 5, 13, False),
    ("create", 10, 5, False),
    ("create", 15, 6, True),
]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, min_size=3, max_size=12))
def test_any_sequence_of_edits_ends_in_the_index_of_a_fresh_build(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        for what, n, m, followed in [*FIRST, *steps]:
            world.do(what, n, m)
            if followed:
                world.sync(n, m)
            if followed or what in WORK:
                world.check()
        world.finish()
        assert state(world.engine) == world.fresh()


@settings(max_examples=12, deadline=None)
@given(st.permutations(NAMES), st.integers(1, 6), st.booleans())
def test_moved_documents_keep_their_ids(names: list[str], count: int, in_a_new_folder: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        for n in range(count):
            world.create(NAMES.index(names[n]), n)
            world.append(sorted(world._contents).index(names[n]), n)
        world.sync(0, 1)
        before = {d.path: d.id for d in world.engine.documents()}
        moved = {}
        for n, old in enumerate(names[:count]):
            free = [
                new
                for new in names[count:]
                if Path(new).suffix == Path(old).suffix and new not in moved.values()
            ]
            new = f"new/{n}{Path(old).suffix}" if in_a_new_folder or not free else free[0]
            (world.docs / new).parent.mkdir(parents=True, exist_ok=True)
            (world.docs / old).rename(world.docs / new)
            moved[old] = new
        report = world.engine.sync(world.docs)
        assert sorted(report.moved) == sorted(f"docs/{new}" for new in moved.values())
        assert {d.path: d.id for d in world.engine.documents()} == {
            moved[old]: id for old, id in before.items()
        }
        world.check()
        world.engine.close()


LINE = st.text(
    alphabet=st.sampled_from(
        "年假多少天，。！？：\u3000 \t#-*|`>[]()\"',;:.?!0123abcXY①Ａ㎏漢é\u0301한\u200d👩🇨🇳\ufeff\x0c\r\\~=_<&"
    ),
    max_size=50,
)
TEXT = st.lists(
    LINE
    | st.sampled_from(
        ["", "# 标题", "## Heading", "```", "---", "| a | b |", "|---|---|", "- item", "> 引用", "    code"]
    ),
    max_size=40,
).map("\n".join)
LONG = st.tuples(TEXT, st.integers(1, 60)).map(lambda pair: pair[0] * pair[1])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | LINE,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(LINE, inner, max_size=5),
    max_leaves=20,
)


def csv_text(rows: list[list[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    ("ending", "texts"),
    [
        (".md", TEXT | LONG),
        (".txt", TEXT | LONG),
        (".csv", st.lists(st.lists(LINE, min_size=1, max_size=6), max_size=30).map(csv_text) | TEXT),
        (
            ".json",
            st.lists(JSON, max_size=12).map(lambda value: json.dumps(value, ensure_ascii=False)) | TEXT,
        ),
        (".jsonl", st.lists(JSON, max_size=12).map(lambda values: "\n".join(json.dumps(v) for v in values))),
    ],
)
def test_every_chunk_of_any_text_is_a_slice_of_it(ending: str, texts: st.SearchStrategy[str]) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(texts)
    def holds(text: str) -> None:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place, f"file{ending}")
            file.write_bytes(text.encode("utf-8", "surrogatepass"))
            try:
                parsed = readers.read(file)
            except ReadError as error:  # an empty file, broken JSON: said, with what to do
                assert error.message and error.code
                return
        assert_sound(parsed)
        at = 0
        for one in chunk(parsed):
            body = parsed.text[one.start : one.end]
            assert at <= one.start < one.end <= len(parsed.text) and body == body.strip()
            indexed = index_text(parsed.title, one.heading, one.lead + body)
            assert one.index_text == indexed
            assert one.hash == blake2b(indexed.encode(), digest_size=16).hexdigest()
            at = one.end

    holds()


def test_any_text_comes_back_from_the_store_as_it_was_cut() -> None:
    with tempfile.TemporaryDirectory() as place:
        engine = Engine.open(Settings(data_dir=Path(place), kb=Path(place, "kb"), embedding="off"))

        @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(TEXT | LONG, st.sampled_from([".md", ".txt"]))
        def holds(text: str, ending: str) -> None:
            file = Path(place, "dropped")
            file.write_bytes(text.encode())
            report = engine.add([(file, f"a{ending}")], on_conflict="replace")
            if not report.failed:
                document = next(d for d in engine.documents() if d.path == f"a{ending}")
                shown = engine.text(document.id)
                assert [c.text for c in engine.chunks(document.id)] == [
                    shown[c.start : c.end] for c in chunk(readers.read(file, name=document.path))
                ]
            assert engine.verify() == []

        with engine:
            holds()
