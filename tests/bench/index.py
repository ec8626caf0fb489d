"""ragkit's index against LlamaIndex's pipeline, on the same files and embedder: `python tests/bench/index.py`.

Prints one JSON document. A counting embedder stands in for the model, so that what is measured is everything
else, and how many chunks would be embedded. LlamaIndex is SimpleDirectoryReader + IngestionPipeline
(SentenceSplitter, SimpleDocumentStore with UPSERTS_AND_DELETE, SimpleVectorStore) as it comes, and persist:
without that its index is gone with the process. Both do each step right after one another, so that a machine
that is busy for a while is busy for both. Bars stand beside what was reached; "ok" is null where
a bar asks for another size than was run.

    --files 1000   --chunks 100000   --only steps,formats,search
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PARTS = ("steps", "formats", "search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="of the folder that the steps change")
    parser.add_argument("--chunks", type=int, default=20_000, help="of the larger library that is searched")
    parser.add_argument("--only", default=",".join(PARTS), help="the parts to run")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")

    from tests.bench import index_formats, index_search, index_steps

    document: dict[str, Any] = {"benchmark": "index", "machine": _machine()}
    with tempfile.TemporaryDirectory(prefix="ragkit-index-", ignore_cleanup_errors=True) as scratch:
        if "steps" in wanted:
            document["steps"] = index_steps.measure(Path(scratch, "steps"), options.files)
        if "formats" in wanted:
            document["formats"] = index_formats.measure(Path(scratch, "formats"))
        if "search" in wanted:
            document["search"] = index_search.measure(Path(scratch, "search"), options.chunks)
    document["bars"] = [bar for part in wanted for bar in document[part].pop("bars", [])]
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "llama-index-core": version("llama-index-core"),
        "numpy": version("numpy"),
    }


if __name__ == "__main__":
    main()
