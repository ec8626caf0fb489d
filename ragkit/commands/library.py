"""Commands about what a knowledge base holds: sync, list, show, remove, export, import, verify."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ragkit import config, portable
from ragkit.changes import is_mostly_gone
from ragkit.commands.output import ProgressLine, gate_line, open_existing, print_json
from ragkit.engine import Engine
from ragkit.errors import ReadError, UsageError
from ragkit.readers import page_kind
from ragkit.schema import Document, SyncReport


def sync(settings: config.Settings, options: argparse.Namespace) -> int:
    started = time.monotonic()
    line = ProgressLine()
    if options.dry_run and not (settings.kb / "kb.sqlite").exists():
        with TemporaryDirectory() as nowhere:  # to look must not make a library
            return _preview(replace(settings, kb=Path(nowhere)), options, line)
    if options.dry_run:
        return _preview(settings, options, line)
    with Engine.open(settings) as engine:
        preview = engine.sync(options.folder, dry_run=True)
        if is_mostly_gone(preview) and not options.yes:
            raise UsageError(
                f"{len(preview.removed)} files are gone from {options.folder}, most of what it held",
                "If that is right, run the command again with --yes to forget them.",
            )
        print(_counts(preview, ("new", "changed", "renamed", "gone")), file=sys.stderr)
        report = engine.sync(options.folder, progress=line)
        embedded = engine.embed(progress=line)
        line.end()
        if engine.embedding.error:
            print(f"warning: {engine.embedding.error}\nhint:    {engine.embedding.hint}", file=sys.stderr)
        _print_report(report, embedded, time.monotonic() - started, options)
        if options.watch:
            _watch(engine, options.folder, line)
    return 1 if report.failed else 0


def _preview(settings: config.Settings, options: argparse.Namespace, line: ProgressLine) -> int:
    started = time.monotonic()
    with Engine.open(settings) as engine:
        report = engine.sync(options.folder, dry_run=True, progress=line)
    line.end()
    _print_report(report, 0, time.monotonic() - started, options)
    return 1 if report.failed else 0


def _watch(engine: Engine, folder: Path, line: ProgressLine) -> None:
    from ragkit.watch import Watcher

    def on_sync(folder: Path, report: SyncReport) -> None:
        engine.embed(progress=line)
        line.end()
        print(_counts(report, ("added", "updated", "renamed", "removed")), flush=True)

    watcher = Watcher(engine, [folder], on_sync=on_sync, progress=line)
    watcher.start()
    print(f"watching {folder}; Ctrl+C stops", file=sys.stderr, flush=True)
    told = ""
    try:
        while True:
            (now,) = watcher.watched()
            state = str(now.error or "") or (
                f"{len(now.preview.removed)} files are gone: run sync {folder} --yes to forget them"
                if now.state == "held"
                else ""
            )
            if state != told:
                print(state or "all is well again", file=sys.stderr, flush=True)
                told = state
            threading.Event().wait(1.0)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    finally:
        watcher.close()


def list_documents(settings: config.Settings, options: argparse.Namespace) -> int:
    if options.all:
        return _list_libraries(settings, options)
    with open_existing(settings) as engine:
        documents, coverage, disk = engine.documents(), engine.coverage(), engine.disk_use()
        gate = gate_line(engine.gate.thresholds(), engine.gate.calibration())
    if options.json:
        print_json({"documents": [asdict(d) for d in documents], "disk_bytes": disk.total})
        return 0
    for document in documents:
        pages = f"{document.pages} p" if document.pages else ""
        print(
            f"{document.state:<9} {document.chunks:>6} chunks {pages:>7} {document.encoding or '':<9} {document.source}"
        )
        if document.error:
            print(f"          {document.error} {document.hint}".rstrip())
        elif document.pages_without_text:
            print(f"          without text: {_numbers(document.pages_without_text)}")
    print(
        f"{len(documents)} documents, {coverage.chunks} chunks, {disk.total / 1e6:.1f} MB on the disk; {gate}"
    )
    return 0


def _list_libraries(settings: config.Settings, options: argparse.Namespace) -> int:
    found = []
    for kb in config.libraries(settings.data_dir):
        with Engine.open(replace(settings, kb=kb)) as engine:
            disk = engine.disk_use().total
            found.append({"name": kb.name, "documents": len(engine.documents()), "disk_bytes": disk})
    if options.json:
        print_json(found)
        return 0
    for one in found:
        print(
            f"{one['name']:<24} {one['documents']:>6} documents {int(str(one['disk_bytes'])) / 1e6:>9.1f} MB"
        )
    return 0


def show(settings: config.Settings, options: argparse.Namespace) -> int:
    with open_existing(settings) as engine:
        document = _find(engine.documents(), options.file)
        text = engine.text(document.id) if document.chars else ""
        chunks = engine.chunks(document.id)
        try:
            blocks = [asdict(block) for block in engine.parse(document.id).blocks]
            told = ""
        except ReadError as error:
            blocks, told = [], str(error)
    if options.json:
        print_json(
            {
                "document": asdict(document),
                "blocks": [block | {"text": text[block["start"] : block["end"]]} for block in blocks],
                "chunks": [
                    {
                        "start": c.start,
                        "end": c.end,
                        "page": c.page,
                        "heading": list(c.heading),
                        "text": c.text,
                    }
                    for c in chunks
                ],
            }
        )
        return 0
    facts = {
        "state": document.state,
        "characters": document.chars,
        "pages": document.pages,
        "without text": _numbers(document.pages_without_text),
        "recognised": _numbers(document.ocr_pages),
        "encoding": document.encoding,
        "seconds": document.seconds,
        "error": f"{document.error} {document.hint}".strip(),
    }
    print(document.source, *(f"  {name}: {value}" for name, value in facts.items() if value), sep="\n")
    print(f"\n{len(blocks)} blocks" if blocks else f"\nno blocks: {told}")
    for block in blocks:
        print(
            f"  {block['start']:>7}-{block['end']:<7} {block['kind']:<8} {_where(document, block['page'], block['heading'])}"
        )
    print(f"\n{len(chunks)} chunks")
    for chunk in chunks:
        print(f"  {chunk.start:>7}-{chunk.end:<7} {_where(document, chunk.page, chunk.heading)}")
        print("      " + " ".join(chunk.text.split())[:200])
    return 0


def remove(settings: config.Settings, options: argparse.Namespace) -> int:
    with open_existing(settings) as engine:
        documents = [_find(engine.documents(), file) for file in options.files]
        report = engine.remove([document.id for document in documents])
    if options.json:
        print_json({"removed": list(report.removed)})
    else:
        print(*(f"removed {source}" for source in report.removed), sep="\n")
    return 0


def export(settings: config.Settings, options: argparse.Namespace) -> int:
    settings = replace(settings, kb=config.library_folder(options.library, settings.data_dir))
    line = ProgressLine()
    with open_existing(settings) as engine:
        engine.export(options.file, progress=line)
    line.end()
    print(options.file)
    return 0


def import_(settings: config.Settings, options: argparse.Namespace) -> int:
    name = options.kb or options.file.stem
    # A bare name is one under data/library, where the page and the other commands find it by that name.
    kb = settings.data_dir / "library" / name if config.is_bare(name) else settings.kb
    portable.import_library(options.file, kb)
    print(kb)
    return 0


def verify(settings: config.Settings, options: argparse.Namespace) -> int:
    with open_existing(settings) as engine:
        faults = engine.verify()
    if options.json:
        print_json({"faults": faults})
    else:
        print(*(faults or ["the library is sound"]), sep="\n")
    return 1 if faults else 0


def _find(documents: Sequence[Document], name: str) -> Document:
    """A document by its source, or by the end of it where that is enough."""
    exact = [document for document in documents if document.source == name]
    found = exact or [document for document in documents if f"/{document.source}".endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{len(found)} documents end in {name}", "Name one: " + ", ".join(d.source for d in found[:5])
        )
    raise UsageError(f"there is no document {name}", "python -m ragkit list  names those that are there.")


def _counts(report: SyncReport, names: tuple[str, str, str, str]) -> str:
    numbers = (len(report.added), len(report.updated), len(report.moved), len(report.removed))
    told = [f"{number} {name}" for number, name in zip(numbers, names, strict=True) if number]
    return ", ".join(told) or "nothing to do"


def _where(document: Document, page: int | None, heading: Sequence[str]) -> str:
    return " > ".join([*([f"{page_kind(document.source)} {page}"] if page else []), *heading])


def _numbers(pages: Sequence[int]) -> str:
    return ", ".join(map(str, pages[:20])) + (" …" if len(pages) > 20 else "")


def _print_report(report: SyncReport, embedded: int, seconds: float, options: argparse.Namespace) -> None:
    if options.json:
        print_json(
            {
                "added": len(report.added),
                "updated": len(report.updated),
                "removed": len(report.removed),
                "moved": len(report.moved),
                "unchanged": report.unchanged,
                "failed": [{"source": f.source, "message": f.message, "hint": f.hint} for f in report.failed],
                "chunks": report.chunks,
                "embedded": embedded,
                "seconds": round(seconds, 3),
            }
        )
        return
    verb = "would be " if options.dry_run else ""
    moved = f"{len(report.moved)} {verb}renamed, " if report.moved else ""
    print(
        f"{len(report.added)} {verb}added, {len(report.updated)} {verb}updated, {len(report.removed)} {verb}removed, "
        f"{moved}{report.unchanged} unchanged, {len(report.failed)} failed; "
        f"{report.chunks} chunks, {embedded} embedded, {seconds:.1f} s"
    )
    for failure in report.failed:
        print(f"failed: {failure.source}: {failure.message} {failure.hint}".rstrip(), file=sys.stderr)
