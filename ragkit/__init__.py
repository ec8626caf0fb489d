"""ragkit: ask your own documents, in Chinese and English, and check every answer.

    from ragkit import Engine, Settings
    with Engine.open(Settings.load()) as engine:
        engine.sync(Path("docs"))
        print(engine.ask("xtuner是什么？").text)

Names are loaded when they are first used (PEP 562), so that `import ragkit` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragkit.config import Settings as Settings
    from ragkit.engine import Engine as Engine
    from ragkit.errors import RagkitError as RagkitError
    from ragkit.llamaindex import HybridRetriever as HybridRetriever
    from ragkit.schema import Answer as Answer
    from ragkit.schema import Citation as Citation
    from ragkit.schema import Delta as Delta
    from ragkit.schema import Document as Document
    from ragkit.schema import Done as Done
    from ragkit.schema import Hit as Hit
    from ragkit.schema import Retrieved as Retrieved
    from ragkit.schema import SyncReport as SyncReport
    from ragkit.schema import Turn as Turn

__version__ = "0.1.0"

_HOME = {
    "Settings": "config",
    "Engine": "engine",
    "RagkitError": "errors",
    "HybridRetriever": "llamaindex",
    **dict.fromkeys(
        ("Answer", "Citation", "Delta", "Document", "Done", "Hit", "Retrieved", "SyncReport", "Turn"),
        "schema",
    ),
}
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'ragkit' has no attribute {name!r}")
    return getattr(import_module(f"ragkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
