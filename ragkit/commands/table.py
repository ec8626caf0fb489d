"""`search --explain`: one table a question, aligned also where characters are two columns wide."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict

from ragkit.commands.output import hit_json, place, where_json
from ragkit.explain import ExplainedChunk, Explanation

_HEAD = ("rank", "score", "words", "", "meaning", "", "fused", "rerank", "context", "place")
_TEXT_COLUMNS = 44
_VERDICTS = {
    "answer": "it is answered",
    "weak": "it is answered, and marked as a weak match",
    "refuse": "nothing is answered from the documents",
}


def explanation(told: Explanation, limit: int) -> str:
    """The explanation for a person: the first `limit` chunks, and all that went into a passage."""
    shown = max([limit, *(rank for rank, chunk in enumerate(told.chunks, 1) if chunk.number)])
    rest = len(told.chunks) - shown
    terms = [("term", "idf", "chunks"), *((t.term, f"{t.idf:.2f}", str(t.chunks)) for t in told.terms)]
    rows = [_HEAD, *(_row(rank, chunk) for rank, chunk in enumerate(told.chunks[:shown], 1))]
    meaning = "words and meaning" if told.dense else "words alone"
    return "\n".join(
        [
            told.question,
            *([f"searched for: {told.searched}"] if told.searched != told.question else []),
            "",
            *aligned(terms, right={1, 2}),
            "",
            f"ranked by {meaning}:",
            *aligned(rows, right={0, 1, 2, 3, 4, 5, 6, 7}),
            *([f"... and {rest} more (--limit)"] if rest > 0 else []),
            "",
            f"fit {told.fit:.2f} (refused below {told.thresholds.refuse:.2f}, weak below {told.thresholds.weak:.2f})"
            f"{_nearness(told)}: {_VERDICTS[told.verdict]}",
        ]
    )


def _nearness(told: Explanation) -> str:
    saves = told.thresholds.nearest
    if told.nearest is None or saves is None:
        return ""
    return f", nearest {told.nearest:.2f} (saved from {saves:.2f})"


def explanation_json(told: Explanation) -> dict[str, object]:
    return {
        "question": told.question,
        "searched": told.searched,
        "terms": [asdict(term) for term in told.terms],
        "dense": told.dense,
        "chunks": [
            hit_json(chunk.hit)
            | {
                "fused": chunk.hit.fused,
                "rerank": chunk.hit.rerank,
                "lexical_rank": chunk.lexical_rank,
                "dense_rank": chunk.dense_rank,
                "fate": chunk.fate,
                "number": chunk.number,
            }
            for chunk in told.chunks
        ],
        "passages": [where_json(hit) | {"text": hit.text} for hit in told.passages],
        "fit": told.fit,
        "nearest": told.nearest,
        "thresholds": asdict(told.thresholds),
        "verdict": told.verdict,
    }


def aligned(rows: Sequence[Sequence[str]], *, right: set[int]) -> list[str]:
    """The rows as lines whose columns stand below each other."""
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            " " * (width - columns(cell)) + cell if at in right else cell + " " * (width - columns(cell))
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def columns(text: str) -> int:
    """How wide a terminal shows `text`."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _row(rank: int, chunk: ExplainedChunk) -> tuple[str, ...]:
    hit = chunk.hit
    fate = {
        "used": f"[{chunk.number}]",
        "joined": f"joined to [{chunk.number}]",
        "folded": f"folded into [{chunk.number}]",
        "number": "below the passages' number",
        "budget": "over the budget",
    }[chunk.fate]
    return (
        str(rank),
        f"{hit.score:.3f}",
        *_leg(chunk.lexical_rank, hit.lexical, 2),
        *_leg(chunk.dense_rank, hit.dense, 3),
        "-" if hit.fused is None else f"{hit.fused:.3f}",
        "-" if hit.rerank is None else f"{hit.rerank:.3f}",
        fate,
        f"{place(hit)}: {_cut(' '.join(hit.text.split()))}",
    )


def _leg(rank: int | None, figure: float | None, digits: int) -> tuple[str, str]:
    return ("-", "") if rank is None or figure is None else (f"#{rank}", f"{figure:.{digits}f}")


def _cut(text: str) -> str:
    width = 0
    for at, char in enumerate(text):
        width += columns(char)
        if width > _TEXT_COLUMNS:
            return text[:at] + "…"
    return text
