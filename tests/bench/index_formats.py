"""How fast each format is parsed: in this process, without the pipe, so that it is the reader that is measured."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import docx

from ragkit.chunking import chunk
from ragkit.readers import FORMATS, read
from ragkit.readers.client import ReaderProcess
from tests import fakes_documents as fakes
from tests.bench.made_up import Author

ROUNDS = 3
SMALL_FILES = 200
PAGES, SLIDES, ROWS, DOCUMENTS = 40, 40, 3000, 30


class Sample(NamedTuple):
    ending: str
    make: Callable[[Author], bytes]
    unit: str
    units: int


def measure(place: Path) -> dict[str, Any]:
    """Parse one file of each format, the best of a few rounds; and many small ones through the reader process."""
    place.mkdir(parents=True)
    rates = {sample.ending: _rate(place, sample) for sample in SAMPLES}
    measured = {FORMATS[sample.ending] for sample in SAMPLES}
    return {
        "formats": rates,
        "formats_not_measured": sorted(set(FORMATS.values()) - measured),
        "small_files_per_s_through_the_reader_process": _small_files(place),
    }


def _rate(place: Path, sample: Sample) -> dict[str, float]:
    file = place / f"sample{sample.ending}"
    file.write_bytes(sample.make(Author()))
    parse_s, chunk_s = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        parsed = read(file)
        parse_s.append(time.perf_counter() - started)
        started = time.perf_counter()
        chunks = chunk(parsed)
        chunk_s.append(time.perf_counter() - started)
    size_mb = file.stat().st_size / 1e6
    return {
        "size_mb": round(size_mb, 3),
        "chars": len(parsed.text),
        "chunks": len(chunks),
        "parse_s": round(min(parse_s), 4),
        "parse_mb_per_s": round(size_mb / min(parse_s), 2),
        "parse_chars_per_s": round(len(parsed.text) / min(parse_s)),
        f"parse_{sample.unit}_per_s": round(sample.units / min(parse_s), 1),
        "chunking_chars_per_s": round(len(parsed.text) / min(chunk_s)),
    }


def _small_files(place: Path) -> float:
    file = place / "small.md"
    file.write_text("# A\n\nOne sentence.\n", encoding="utf-8")
    with ReaderProcess() as reader:
        reader.read(file)  # starts it
        started = time.perf_counter()
        for _ in range(SMALL_FILES):
            reader.read(file)
        return round(SMALL_FILES / (time.perf_counter() - started), 1)


def _markdown(author: Author) -> bytes:
    return "\n".join(author.document(number) for number in range(DOCUMENTS)).encode()


def _plain(author: Author) -> bytes:
    return "\n\n".join(author.languages[n % 2].paragraph(400) for n in range(500)).encode()


def _html(author: Author) -> bytes:
    body = "".join(
        f"<h2>{author.languages[n % 2].phrase(2)}</h2><p>{author.languages[n % 2].paragraph(400)}</p>"
        for n in range(500)
    )
    return f"<html><head><title>T</title><style>p{{}}</style></head><body><nav>x</nav>{body}</body></html>".encode()


def _pdf(author: Author) -> bytes:
    zh = author.languages[0]
    return fakes.pdf(*("\n".join(zh.phrase(12) for _ in range(40)) for _ in range(PAGES)))


def _docx(author: Author) -> bytes:
    document = docx.Document()
    for n in range(PAGES):
        document.add_heading(author.languages[n % 2].phrase(3), level=2)
        for _ in range(4):
            document.add_paragraph(author.languages[n % 2].paragraph(250))
    return fakes.saved(document)


def _pptx(author: Author) -> bytes:
    deck = fakes.slides()
    for n in range(SLIDES - 3):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = author.languages[n % 2].phrase(3)
        slide.placeholders[1].text = "\n".join(author.languages[n % 2].sentence() for _ in range(6))
    return fakes.saved(deck)


def _rows(author: Author) -> list[tuple[object, ...]]:
    return [
        ("id", "name", "text"),
        *((n, author.languages[n % 2].phrase(2), author.languages[n % 2].sentence()) for n in range(ROWS)),
    ]


def _xlsx(author: Author) -> bytes:
    return fakes.saved(fakes.workbook(*_rows(author)))


def _csv(author: Author) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(_rows(author))
    return out.getvalue().encode()


def _json(author: Author) -> bytes:
    header, *rows = _rows(author)
    return json.dumps([dict(zip(header, row, strict=True)) for row in rows], ensure_ascii=False).encode()


def _jsonl(author: Author) -> bytes:
    header, *rows = _rows(author)
    lines = (json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) for row in rows)
    return "\n".join(lines).encode()


def _ipynb(author: Author) -> bytes:
    cells: list[dict[str, Any]] = []
    for n in range(DOCUMENTS):
        cells.append({"cell_type": "markdown", "metadata": {}, "source": author.document(n)})
        cells.append({"cell_type": "code", "metadata": {}, "source": f"print({n})", "outputs": []})
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


SAMPLES = (
    Sample(".md", _markdown, "documents", DOCUMENTS),
    Sample(".txt", _plain, "paragraphs", 500),
    Sample(".html", _html, "sections", 500),
    Sample(".pdf", _pdf, "pages", PAGES),
    Sample(".docx", _docx, "paragraphs", 5 * PAGES),
    Sample(".pptx", _pptx, "slides", SLIDES),
    Sample(".xlsx", _xlsx, "rows", ROWS),
    Sample(".csv", _csv, "rows", ROWS),
    Sample(".json", _json, "records", ROWS),
    Sample(".jsonl", _jsonl, "records", ROWS),
    Sample(".ipynb", _ipynb, "cells", 2 * DOCUMENTS),
)
