"""Imports go down the house only, and the light rooms stay light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ragkit

ROOT = Path(ragkit.__file__).parent.parent

# From the cellar up: a module imports from the groups below its own, and from its own package.
LEVELS = (
    {"errors", "schema", "sizes"},
    {"config", "gate", "text", "vectors", "log", "models", "disarm"},
    {"embedding_records", "claims", "markers", "lookup", "pace", "kv_cache", "memory"},
    {"embedding_int8", "embedding_onnx", "embedding_plain", "prefix_cache"},
    {
        "embedding_model",
        "prompts",
        "citations",
        "quotes",
        "intent",
        "followup",
        "outline",
        "migrations",
        "internlm2_tokenizer",
        "transfer",
        "load_plan",
        "generation",
    },
    {"int4", "int4_kept"},
    {"int4_probe", "int4_model"},
    {
        "readers",
        "chunking",
        "embedding",
        "embedding_export",
        "internlm2",
        "store",
        "sqlite_file",
        "hub",
        "locks",
        "model_facts",
        "known_facts",
        "worker",
    },
    {
        "archive",
        "backfill",
        "sqlite_search",
        "retrieval",
        "passages",
        "nodes",
        "download",
        "loading",
        "responses",
    },
    {"scan", "sqlite_store", "llm", "rerank", "understanding"},
    {"changes", "dense", "explain", "verify"},
    {"index", "answering", "calibration", "portable", "shelf"},
    {"library", "watch"},
    {"engine", "profiles", "doctor", "viewing"},
    {"llamaindex", "choices", "evaluate"},
    {"ui", "commands"},
    {"__main__"},
    {"demo"},
)
HEAVY = {"torch", "transformers", "sentence_transformers", "llama_index", "accelerate"}


def _modules() -> list[Path]:
    return [*sorted((ROOT / "ragkit").rglob("*.py")), ROOT / "demo.py"]


def _room(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[0] if len(parts) == 1 else parts[1]


def _rooms_imported(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ragkit":
            tail = node.module.split(".")[1:]
            rooms |= {tail[0]} if tail else {alias.name for alias in node.names}
    return rooms - {"__version__"}


def _level(room: str) -> int:
    return next(number for number, rooms in enumerate(LEVELS) if room in rooms)


@pytest.mark.parametrize(
    "file", [f for f in _modules() if f != ROOT / "ragkit/__init__.py"], ids=lambda f: f.stem
)
def test_a_module_imports_only_from_lower_levels(file: Path) -> None:
    room = _room(file)
    upwards = {
        other for other in _rooms_imported(file) if other != room and _level(other) >= _level(room)
    } - _for_types_only(file)
    assert not upwards


def _for_types_only(file: Path) -> set[str]:
    """Rooms that are imported under TYPE_CHECKING alone: no dependency while the program runs."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    blocks = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {
        node.module.split(".")[1]
        for block in blocks
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ragkit.")
    }


def _loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_ragkit_loads_nothing_but_itself() -> None:
    assert not _loaded_after("import ragkit") & (HEAVY | {"numpy", "gradio", "pandas"})


def test_the_engine_and_the_readers_load_no_model_library() -> None:
    assert not _loaded_after("import ragkit.engine, ragkit.readers.worker, ragkit.__main__") & (
        HEAVY | {"gradio"}
    )


@pytest.mark.parametrize("name", ragkit.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(ragkit, name)
    assert name == "__version__" or thing.__doc__
    assert name == "__version__" or thing.__module__.startswith("ragkit.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        importlib.import_module("ragkit").nonsense  # noqa: B018
