"""HTML for the top bar and for the sources beside an answer. Pure functions over ragkit's data.

Everything that came from a document or a user goes through html.escape here; nothing goes into a
Gradio html_template, which would be evaluated as a JavaScript template literal in the browser.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final, Literal

from ragkit.config import ASSETS
from ragkit.readers import page_kind
from ragkit.schema import Answer, Hit, Span
from ragkit.text import analyse
from ragkit.ui.plain import Sign, signs, without
from ragkit.ui.strings import Strings

# A passage whose first mark stands later, or on a later line, is shown from shortly before the mark.
_LEAD_CHARS: Final = 90
_LEAD_LINES: Final = 3


def icon(path: str, size: int = 18) -> str:
    """One of our own line drawings, 24 x 24."""
    return (
        f'<svg viewBox="0 0 24 24" width="{size}" height="{size}" aria-hidden="true" fill="none" '
        f'stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round">'
        f'<path d="{path}"/></svg>'
    )


ICON_MOON: Final = "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z"
ICON_GLOBE: Final = "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3c5 5 5 13 0 18M12 3c-5 5-5 13 0 18"
ICON_PAGES: Final = "M7 3h8l4 4v14H7zM15 3v4h4M10 12h6M10 16h6"
ICON_SEARCH: Final = "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5M8.5 11h5"
ICON_TALK: Final = "M4 5h16v11H9l-5 4z"
ICON_ALERT: Final = "M12 4 2.5 20h19zM12 10v4M12 17v.5"
ICON_CLOSE: Final = "M6 6l12 12M18 6 6 18"
ICON_AGAIN: Final = "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6"
ICON_BIN: Final = "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13"


# ── The top bar ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Status:
    """What is running, in the user's words."""

    tone: Literal["ok", "busy", "bad"]
    name: str
    detail: str
    search: str = ""
    error: str = ""  # what went wrong, with the next step
    cause: str = ""  # the same as the engine said it
    done: float | None = None  # of a model that is being loaded, 0 to 1


def top_bar(status: Status, strings: Strings) -> str:
    """Brand, badge of what is running, language and theme; an alert beneath when it cannot run."""
    full = " · ".join(filter(None, (status.name, status.detail, status.search)))
    search = f'<span class="badge-search">{escape(status.search)}</span>' if status.search else ""
    bar = "" if status.done is None else progress_bar(status.done, status.name)
    language = escape(strings("switch_language_long"))
    return f"""<header class="top-bar">
<div class="brand">{_logo()}<h1>ragkit</h1></div>
<div class="tools">
<span class="badge {status.tone}" role="status" title="{escape(full)}"><i></i><b>{escape(status.name)}</b>{bar}
<span class="badge-detail">{escape(status.detail)}</span>{search}</span>
<button type="button" id="language" class="tool" lang="{"en" if strings.language == "zh" else "zh-CN"}"
 title="{language}" aria-label="{language}" data-confirm="{escape(strings("switch_language_confirm"))}"
>{icon(ICON_GLOBE, 16)}<span>{escape(strings("switch_language"))}</span></button>
<button type="button" id="theme" class="tool" title="{escape(strings("switch_theme"))}"
 aria-label="{escape(strings("switch_theme"))}">{icon(ICON_MOON, 16)}</button>
</div></header>{_alert(status)}"""


def progress_bar(done: float, label: str) -> str:
    """A bar that is filled to `done`, 0 to 1; at 0, where nobody knows how long the first step takes, one without end."""
    value = f' max="100" value="{round(100 * done)}"' if done else ""
    return f'<progress{value} aria-label="{escape(label)}"></progress>'


def _alert(status: Status) -> str:
    if not status.error:
        return ""
    return (
        f'<div class="alert" role="alert">{icon(ICON_ALERT, 20)}<div><b>{escape(status.error)}</b>'
        f"<pre>{escape(status.cause)}</pre></div></div>"
    )


def _logo() -> str:
    return (ASSETS / "logo.svg").read_text(encoding="utf-8").replace("<svg ", '<svg class="logo" ', 1)


def dialog(strings: Strings) -> str:
    """The page's own confirm dialog, filled and shown by app.js: the browser's speaks its own language."""
    ok = escape(strings("ok"))
    return (
        '<dialog id="confirm" aria-labelledby="confirm-text" '
        f'data-everywhere="{escape(strings("scope_all"))}" data-edit="{escape(strings("edit_note"))}" '
        f'data-stop="{escape(strings("stop"))}"'
        '><form method="dialog"><p id="confirm-text"></p>'
        f'<div class="dialog-buttons"><button value="" class="plain">{escape(strings("cancel"))}</button>'
        f'<button value="yes" class="primary" data-label="{ok}">{ok}</button></div></form></dialog>'
        f'<div id="gone" class="alert" role="alert" hidden>{icon(ICON_ALERT, 20)}<b>{escape(strings("server_gone"))}</b></div>'
    )


def sheet_close(strings: Strings) -> str:
    """On a narrow screen the sources are a sheet, and this closes it."""
    label = escape(strings("close"))
    return (
        f'<button type="button" id="close-sheet" class="row-action" title="{label}" aria-label="{label}">'
        f"{icon(ICON_CLOSE, 16)}</button>"
    )


# ── Sources ─────────────────────────────────────────────────────────────────────────────────────────


def sources_empty(strings: Strings) -> str:
    """The panel before the first question."""
    return _state(ICON_PAGES, strings("sources_empty_title"), strings("sources_empty"))


def sources_message(text: str) -> str:
    """The panel while there is nothing to show yet, or when there is no more."""
    return _state(ICON_SEARCH, "", text)


def sources_failed(text: str, cause: str) -> str:
    """The panel when the answer failed: what that means, and what the engine said of the cause."""
    return _verdict("failed", ICON_ALERT, text, f'<p class="cause">{escape(cause)}</p>' if cause else "")


def sources(turn: str, answer: Answer, strings: Strings, *, done: bool, semantic: bool) -> str:
    """The passages under an answer as numbered cards; before it is `done`, as far as they are known.

    `semantic` tells whether vectors are being made, so that an incomplete coverage will still grow.
    """
    if not answer.hits and not answer.refused:
        if not done:
            return sources_message(strings("sources_waiting"))
        if answer.kind == "model_only":
            return _state(ICON_TALK, strings("model_only_title"), strings("model_only_text"))
        return _state(ICON_TALK, strings("sources_talk_title"), strings("sources_talk"))
    numbers = list(range(1, len(answer.hits) + 1))
    cited = sorted({citation.number for citation in answer.citations}) if done else []
    first = cited if done else numbers
    rest = [number for number in numbers if number not in first]
    parts = [
        f'<section class="sources" aria-label="{escape(strings("sources"))}">',
        f'<p class="src-question">{escape(answer.question)}</p>',
        _searched(answer, strings),
        _judgement(answer, strings),
        _coverage(answer, strings, semantic=semantic),
        _cards(turn, answer, first, strings, cited=bool(cited)),
    ]
    if rest:
        parts += [
            f'<h2 class="src-rest">{escape(strings("uncited" if cited else "none_cited"))}</h2>',
            _cards(turn, answer, rest, strings, dashed=True),
        ]
    return "".join([*parts, "</section>"])


def _state(drawing: str, title: str, text: str) -> str:
    head = f"<h2>{escape(title)}</h2>" if title else ""
    return f'<section class="src-state">{icon(drawing, 36)}{head}<p>{escape(text)}</p></section>'


def _searched(answer: Answer, strings: Strings) -> str:
    """What was looked for, where a question was rewritten."""
    if not answer.searched:
        return ""
    return f'<p class="src-searched">{escape(strings("searched", text=answer.searched))}</p>'


def _judgement(answer: Answer, strings: Strings) -> str:
    if answer.refused and not answer.coverage.chunks:
        title, body = strings("empty_library_title"), f"<p>{escape(strings('empty_library'))}</p>"
    elif answer.other_language:
        title, body = strings("other_language_title"), f"<p>{escape(answer.text)}</p>"
    elif answer.refused:
        tips = (strings(key) for key in ("refused_rephrase", "refused_split", "refused_add"))
        items = "".join(f"<li>{escape(tip)}</li>" for tip in tips)
        title, body = strings("refused_title"), f"<p>{escape(strings('refused_text'))}</p><ul>{items}</ul>"
    elif answer.weak:
        title, body = strings("weak_title"), f"<p>{escape(strings('weak_text'))}</p>"
    else:
        return ""
    kind, drawing = ("refused", ICON_SEARCH) if answer.refused else ("weak", ICON_ALERT)
    return _verdict(kind, drawing, title, body)


def _verdict(kind: str, drawing: str, title: str, body: str) -> str:
    return f'<section class="verdict {kind}">{icon(drawing, 20)}<div><h2>{escape(title)}</h2>{body}</div></section>'


def _coverage(answer: Answer, strings: Strings, *, semantic: bool) -> str:
    found = answer.coverage
    told = []
    if found.waiting:
        told.append(strings("coverage_files", done=found.documents, total=found.documents + found.waiting))
    if semantic and not found.complete:
        told.append(strings("coverage", percent=math.floor(100 * found.embedded / found.chunks)))
    return f'<p class="coverage">{escape(" ".join(told))}</p>' if told else ""


def _cards(
    turn: str,
    answer: Answer,
    numbers: Iterable[int],
    strings: Strings,
    *,
    cited: bool = False,
    dashed: bool = False,
) -> str:
    cards = "".join(_card(turn, answer, number, strings, cited=cited, dashed=dashed) for number in numbers)
    return f'<ol class="src-list">{cards}</ol>' if cards else ""


def _card(turn: str, answer: Answer, number: int, strings: Strings, *, cited: bool, dashed: bool) -> str:
    hit = answer.hits[number - 1]
    if not hit.source:  # forgotten since: see chat.without_deleted
        return (
            f'<li class="src-card uncited" id="src-{turn}-{number}" tabindex="0"><div class="src-head">'
            f'<span class="src-n">{number}</span><span class="src-doc">{escape(strings("source_deleted"))}</span></div></li>'
        )
    name = PurePosixPath(hit.source).name
    score = strings("score", score=_number(hit.score))
    parts = escape(strings("score_open", score=score))
    marks = (
        cited_marks(answer, number)
        if cited
        else [Mark(*span) for span in term_spans(answer.searched or answer.question, hit.text)]
    )
    page = strings(page_kind(hit.source), n=hit.page) if hit.page else ""
    see = escape(strings("view_open"))
    where = " · ".join(filter(None, (page, " › ".join(hit.heading))))
    return f"""<li class="src-card{" uncited" if dashed else ""}" id="src-{turn}-{number}" tabindex="0">
<div class="src-head"><span class="src-n" aria-label="{escape(strings("source", n=number))}">{number}</span>
<span class="src-doc" title="{escape(hit.source)}">{escape(name)}</span>
<button type="button" class="src-score" aria-expanded="false" title="{escape(score)}" aria-label="{parts}"
>{_bar(hit.score)}</button>
<button type="button" class="src-open" data-action="open" data-id="{turn}-{number}" title="{see}" aria-label="{see}"
>{icon(ICON_PAGES, 16)}</button></div>
{_score_parts(hit, strings)}
{f'<div class="src-where">{escape(where)}</div>' if where else ""}
{passage(hit.text, marks, "cited" if cited else "term", signs(hit))}</li>"""


def _score_parts(hit: Hit, strings: Strings) -> str:
    """What a passage is ranked by, opened by app.js. BM25 and a reranker's figures have no upper end: no bar."""
    rows = (
        ("score_relevance", hit.score, _bar(hit.score)),
        ("score_words", hit.lexical, ""),
        ("score_meaning", hit.dense, _bar(hit.dense)),
        ("score_fused", hit.fused, _bar(hit.fused)),
        ("score_rerank", hit.rerank, ""),
    )
    absent = f'–<span class="hidden-text">{escape(strings("score_absent"))}</span>'
    items = "".join(
        f"<div><dt>{escape(strings(key))}</dt><dd>{bar}{absent if value is None else _number(value)}</dd></div>"
        for key, value, bar in rows
    )
    return f'<dl class="score-parts" hidden>{items}</dl>'


def _bar(value: float | None) -> str:
    percent = None if value is None else round(100 * min(1.0, max(0.0, value)))
    return "" if percent is None else f'<span class="bar" style="--v:{percent}%"></span>'


def _number(value: float) -> str:
    return f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of a passage that is marked: for which sentences of the answer, by where these begin, and
    whether its words are theirs too."""

    start: int
    end: int
    sentences: tuple[int, ...] = ()
    is_shared: bool = False


def cited_marks(answer: Answer, number: int) -> list[Mark]:
    """What in passage `number` the answer rests on, in pieces that each belong to the same sentences of it."""
    hit = answer.hits[number - 1]
    if answer.kind == "outline":  # it rests on the whole of each
        return []
    own = [citation for citation in answer.citations if citation.number == number]
    edges = {edge for one in own for span in ((one.start, one.end), *one.words) for edge in span}
    low_end, high_end = hit.start, hit.start + len(hit.text)
    marks = []
    for low, high in pairwise(sorted({min(high_end, max(low_end, edge)) for edge in edges})):
        over = [one for one in own if one.start <= low and high <= one.end]
        if over:
            is_shared = any(start <= low and high <= end for one in over for start, end in one.words)
            told = tuple(sorted({one.at[0] for one in over if one.at}))
            marks.append(Mark(low - low_end, high - low_end, told, is_shared))
    return marks


def cited_spans(answer: Answer, number: int) -> list[Span]:
    """Where in passage `number` the words stand that the answer rests on."""
    return merge((mark.start, mark.end) for mark in cited_marks(answer, number))


def term_spans(question: str, text: str) -> list[Span]:
    """Where the question's own words stand in a passage."""
    wanted = {token.term for token in analyse(question, query=True)}
    return merge((token.start, token.end) for token in analyse(text) if token.term in wanted)


def merge(spans: Iterable[Span]) -> list[Span]:
    """Sort spans and join those that touch; empty ones vanish."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def passage(
    text: str, marks: Sequence[Mark], kind: Literal["cited", "term"], hidden: Sequence[Sign] = ()
) -> str:
    """A passage with its marks, without what is `hidden`. What stands long before the first mark is folded until the
    card is open."""
    cut = _lead(text, marks[0].start) if marks and kind == "cited" else 0
    lead = f'<span class="src-lead">{_marked(text, marks, 0, cut, kind, hidden)}</span>' if cut else ""
    body = _marked(text, marks, cut, len(text), kind, hidden)
    return f'<div class="src-text{" cut" if cut else ""}">{lead}{body}</div>'


def _lead(text: str, first: int) -> int:
    if first < _LEAD_CHARS and text.count("\n", 0, first) < _LEAD_LINES:
        return 0
    near = max(0, first - 40)
    stop = max(text.rfind(mark, near, first) for mark in "\n。！？.!?;；，, ")
    return stop + 1 if stop >= 0 else near


def _marked(text: str, marks: Sequence[Mark], low: int, high: int, kind: str, hidden: Sequence[Sign]) -> str:
    parts: list[str] = []
    at = low
    for mark in marks:
        start, end = max(mark.start, at), min(mark.end, high)
        if start < end:
            words = _shown(text, start, end, hidden)
            told = f' data-at="{" ".join(map(str, mark.sentences))}"' if mark.sentences else ""
            inner = f"<b>{words}</b>" if mark.is_shared else words
            parts += [
                _shown(text, at, start, hidden),
                f'<mark class="{kind}"{told}>{inner}</mark>' if words else "",
            ]
            at = end
    return "".join([*parts, _shown(text, at, high, hidden)])


def _shown(text: str, low: int, high: int, hidden: Sequence[Sign]) -> str:
    """A stretch, escaped, with blank lines squeezed: a card is narrow."""
    return escape(re.sub(r"[ \t]*\n\s*", "\n", without(text, low, high, hidden)))
