"""What each kind of change costs, in ragkit and in LlamaIndex's pipeline, side by side."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from ragkit.config import Settings
from ragkit.engine import Engine
from tests.bench.bars import bar
from tests.bench.made_up import Author, CountingEmbedding, write_folder

SPLIT_TOKENS = 512
FULL_SIZE = 1000  # files that the bars are meant for

Step = tuple[str, Callable[[], object]]


class Ragkit:
    """A library that is opened, synced and embedded by the command line's two calls."""

    def __init__(self, place: Path) -> None:
        self.embedding = CountingEmbedding()
        settings = Settings(data_dir=place, kb=place / "kb", embedding="off")
        self.engine = Engine.open(settings, embed_model=self.embedding)

    def update(self, folder: Path) -> dict[str, float]:
        started = time.perf_counter()
        self.engine.sync(folder)
        synced = time.perf_counter()
        self.engine.embed()
        done = time.perf_counter()
        return {"sync_s": synced - started, "vectors_s": done - synced, "total_s": done - started}

    def chunks(self) -> int:
        return self.engine.coverage().chunks


class LlamaIndex:
    """The pipeline that LlamaIndex's own guide shows for documents that change."""

    def __init__(self, place: Path) -> None:
        self.embedding = CountingEmbedding()
        self._place = place
        self._vectors = SimpleVectorStore()
        self._pipeline = IngestionPipeline(
            transformations=[SentenceSplitter(chunk_size=SPLIT_TOKENS), self.embedding],
            docstore=SimpleDocumentStore(),
            vector_store=self._vectors,
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )

    def update(self, folder: Path) -> dict[str, float]:
        started = time.perf_counter()
        reader = SimpleDirectoryReader(str(folder), recursive=True, filename_as_id=True)
        self._pipeline.run(documents=reader.load_data())
        run = time.perf_counter()
        self._pipeline.persist(str(self._place))
        self._vectors.persist(str(self._place / "vectors.json"))
        done = time.perf_counter()
        return {"read_and_run_s": run - started, "persist_s": done - run, "total_s": done - started}

    def chunks(self) -> int:
        return len(self._vectors.data.embedding_dict)


def measure(place: Path, files: int) -> dict[str, Any]:
    """Make the folder, then change it step by step; both follow each time."""
    warnings.filterwarnings("ignore")
    logging.getLogger("llama_index").setLevel(logging.ERROR)
    folder = place / "docs"
    big = write_folder(folder, files, Author())
    size_bytes = sum(file.stat().st_size for file in folder.rglob("*.md"))
    ours = Ragkit(place / "ragkit")
    sides: dict[str, Ragkit | LlamaIndex] = {"ragkit": ours, "llamaindex": LlamaIndex(place / "llamaindex")}
    results = {name: _step(change, folder, sides) for name, change in _steps(folder, big)}
    with ours.engine as engine:
        faults = engine.verify()
        big_chunks = next(d.chunks for d in engine.documents() if d.path == big.name)
    return {
        "files": files + 1,
        "folder_bytes": size_bytes,
        "chunks_of_the_big_file": big_chunks,
        "steps": results,
        "faults_found_by_verify": faults,
        "bars": _bars(results, files),
    }


def _step(
    change: Callable[[], object], folder: Path, sides: dict[str, Ragkit | LlamaIndex]
) -> dict[str, Any]:
    change()
    result: dict[str, Any] = {}
    for name, side in sides.items():
        before = side.embedding.texts
        seconds = side.update(folder)
        result[name] = {key: round(value, 4) for key, value in seconds.items()} | {
            "chunks": side.chunks(),
            "chunks_embedded": side.embedding.texts - before,
        }
    result["times_faster"] = round(result["llamaindex"]["total_s"] / result["ragkit"]["total_s"], 1)
    return result


def _steps(folder: Path, big: Path) -> list[Step]:
    small = folder / "part00" / "doc0002.md"
    paragraph = Author(seed=99).languages[0].paragraph(90)

    def change_small() -> None:
        text = small.read_text(encoding="utf-8")
        small.write_text(text.replace("。", "，改过了。", 1), encoding="utf-8")

    def insert(at: float) -> None:
        """Between two paragraphs, right below a heading's first one."""
        parts = big.read_text(encoding="utf-8").split("\n\n")
        place = min(len(parts), max(2, int(len(parts) * at)))
        big.write_text("\n\n".join([*parts[:place], f"{paragraph}{at}", *parts[place:]]), encoding="utf-8")

    def touch() -> None:
        earlier = time.time() - 3 * 86_400  # LlamaIndex keeps the day of the last change, not the second
        os.utime(folder / "part00" / "doc0005.md", (earlier, earlier))

    return [
        ("first build", lambda: None),
        ("nothing changed", lambda: None),
        ("one small file changed", change_small),
        ("paragraph appended to the big file", lambda: insert(1.0)),
        ("paragraph inserted at its top", lambda: insert(0.0)),
        ("paragraph inserted in its middle", lambda: insert(0.5)),
        ("file renamed", lambda: small.rename(small.with_name("renamed.md"))),
        ("folder renamed", lambda: (folder / "part01").rename(folder / "renamed")),
        ("file touched", touch),
        ("file copied", lambda: shutil.copyfile(folder / "part00" / "doc0007.md", folder / "copy.md")),
        ("file deleted", (folder / "part00" / "doc0009.md").unlink),
    ]


def _bars(results: dict[str, Any], files: int) -> list[dict[str, Any]]:
    whole = files >= FULL_SIZE
    idle, build = results["nothing changed"], results["first build"]
    inserted = [name for name in results if name.startswith("paragraph")]
    costless = [
        "nothing changed",
        "file renamed",
        "folder renamed",
        "file touched",
        "file copied",
        "file deleted",
    ]
    return [
        bar(
            "unchanged folder: share of LlamaIndex's run + persist",
            idle["ragkit"]["total_s"] / idle["llamaindex"]["total_s"],
            at_most=0.01,
            counts=whole,
        ),
        bar(
            "first build, embedding excluded: times faster", build["times_faster"], at_least=10, counts=whole
        ),
        bar(
            "paragraph added to a file of 200 chunks: chunks embedded, the worst of three places",
            max(results[name]["ragkit"]["chunks_embedded"] for name in inserted),
            at_most=3,
        ),
        bar(
            "rename, folder renamed, touch, copy, delete: chunks embedded",
            sum(results[name]["ragkit"]["chunks_embedded"] for name in costless),
            at_most=0,
        ),
    ]
