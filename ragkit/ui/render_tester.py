"""HTML of the tab where questions are tried: the explain table, and the user's marked questions. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePosixPath
from typing import Final

from ragkit.calibration import MarkedQuestion
from ragkit.explain import ExplainedChunk, Explanation
from ragkit.gate import Calibration, Thresholds
from ragkit.readers import page_kind
from ragkit.ui.plain import signs, without
from ragkit.ui.render import ICON_ALERT, ICON_CLOSE, ICON_SEARCH, Mark, icon, passage, term_spans
from ragkit.ui.strings import Strings

_MOST_ROWS: Final = 30
_SNIPPET: Final = 160  # characters


def welcome(strings: Strings) -> str:
    """Before the first question."""
    return (
        f'<section class="docs-empty">{icon(ICON_SEARCH, 40)}<h2>{escape(strings("try_title"))}</h2>'
        f"<p>{escape(strings('try_text'))}</p></section>"
    )


def trouble(text: str) -> str:
    return (
        f'<section class="verdict failed">{icon(ICON_ALERT, 20)}<div><h2>{escape(text)}</h2></div></section>'
    )


def explanation(told: Explanation, strings: Strings) -> str:
    """Why a question is answered or not, with the buttons that say whether it should be."""
    terms = "".join(
        f'<li title="{escape(strings("try_term", idf=f"{one.idf:.2f}", n=one.chunks))}">{escape(one.term)}'
        f"<small>{one.idf:.1f}</small></li>"
        for one in told.terms
    )
    return "".join(
        [
            _verdict(told, strings),
            f'<h2 class="src-rest">{escape(strings("try_terms"))}</h2><ul class="formats try-terms">{terms}</ul>',
            _table(told, strings),
        ]
    )


def _verdict(told: Explanation, strings: Strings) -> str:
    limits = told.thresholds
    said = strings("try_fit", fit=f"{told.fit:.2f}", refuse=f"{limits.refuse:.2f}", weak=f"{limits.weak:.2f}")
    if told.nearest is not None and limits.nearest is not None:
        said += " " + strings("try_near", nearest=f"{told.nearest:.2f}", saves=f"{limits.nearest:.2f}")
    kind = {"answer": "good", "weak": "weak", "refuse": "refused"}[told.verdict]
    buttons = "".join(
        f'<button type="button" class="plain" data-action="{action}" data-id="{escape(told.question)}">'
        f"{escape(strings(key))}</button>"
        for action, key in (("good", "try_good"), ("bad", "try_bad"))
    )
    other = told.searched if told.searched != told.question else ""
    searched = f"<p>{escape(strings('searched', text=other))}</p>" if other else ""
    return (
        f'<section class="verdict {kind}"><div><h2>{escape(strings(f"try_{told.verdict}"))}</h2>'
        f"<p>{escape(told.question)}</p>{searched}{_gauge(told.fit, limits)}<p>{escape(said)}</p>"
        f'<p>{escape(strings("try_should"))}</p><p class="try-buttons">{buttons}</p></div></section>'
    )


def _gauge(fit: float, limits: Thresholds) -> str:
    """The fit as a bar between 0 and 1, with the two thresholds on it."""
    at = [f"{100 * min(1.0, max(0.0, value)):.0f}%" for value in (fit, limits.refuse, limits.weak)]
    return (
        f'<div class="gauge" aria-hidden="true"><span style="width:{at[0]}"></span>'
        f'<i style="left:{at[1]}"></i><i style="left:{at[2]}"></i></div>'
    )


def _table(told: Explanation, strings: Strings) -> str:
    if not told.chunks:
        return f'<p class="coverage">{escape(strings("try_nothing"))}</p>'
    reranked = any(chunk.hit.rerank is not None for chunk in told.chunks)
    columns = ["rank", "score", "words", "meaning", *(["rerank"] if reranked else []), "fate", "passage"]
    head = "".join(f'<th scope="col">{escape(strings(f"try_{column}"))}</th>' for column in columns)
    rows = "".join(
        _row(rank, chunk, told, strings, reranked=reranked)
        for rank, chunk in enumerate(told.chunks[:_MOST_ROWS], 1)
    )
    rest = len(told.chunks) - _MOST_ROWS
    more = f'<p class="coverage">{escape(strings("try_more", n=rest))}</p>' if rest > 0 else ""
    return (
        f'<div class="docs-frame"><table class="docs"><caption>{escape(strings("try_both" if told.dense else "try_words_only"))}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )


def _row(rank: int, chunk: ExplainedChunk, told: Explanation, strings: Strings, *, reranked: bool) -> str:
    hit = chunk.hit
    page = strings(page_kind(hit.source), n=hit.page) if hit.page else ""
    where = " · ".join(filter(None, (PurePosixPath(hit.source).name, page, " › ".join(hit.heading))))
    text = " ".join(without(hit.text, 0, len(hit.text), signs(hit)).split())[:_SNIPPET]
    marks = [Mark(*span) for span in term_spans(told.searched, text)]
    score = "–" if hit.rerank is None else f"{hit.rerank:.3f}"
    rerank = f'<td class="num">{score}</td>' if reranked else ""
    refused = told.verdict == "refuse"  # then nothing goes anywhere
    fate = "–" if refused else strings(f"try_fate_{chunk.fate}", n=chunk.number)
    return (
        f'<tr class="{"used" if chunk.number and not refused else ""}"><td class="num">{rank}</td><td class="num">{hit.score:.3f}</td>'
        f'<td class="num">{_leg(chunk.lexical_rank, hit.lexical)}</td><td class="num">{_leg(chunk.dense_rank, hit.dense)}</td>{rerank}'
        f"<td>{escape(fate)}</td>"
        f'<td class="try-passage"><b title="{escape(hit.source)}">{escape(where)}</b>{passage(text, marks, "term")}</td></tr>'
    )


def _leg(rank: int | None, figure: float | None) -> str:
    return "–" if rank is None or figure is None else f"#{rank} <small>{figure:.2f}</small>"


def marked(
    questions: Sequence[MarkedQuestion],
    thresholds: Thresholds,
    calibration: Calibration | None,
    strings: Strings,
    *,
    stale: bool,
) -> str:
    """The thresholds in force, and the questions that they were chosen by."""
    if calibration is None:
        origin = strings("marks_default")
    else:
        told = calibration.good_kept + calibration.bad_refused
        origin = strings("marks_chosen", told=told, total=calibration.good + calibration.bad)
    facts = "".join(
        f"<dt>{escape(strings(key))}</dt><dd>{value:.2f}</dd>"
        for key, value in (("marks_refuse", thresholds.refuse), ("marks_weak", thresholds.weak))
    )
    rows = "".join(_marked(one, strings) for one in questions)
    listed = f'<ul class="marks">{rows}</ul>' if rows else f"<p>{escape(strings('marks_none'))}</p>"
    confirm = escape(strings("marks_reset_confirm"))
    again = (
        f'<button type="button" class="plain" data-action="again">{escape(strings("marks_again"))}</button>'
    )
    reset = (
        f'<button type="button" class="plain" data-action="reset" data-confirm="{confirm}">'
        f"{escape(strings('marks_reset'))}</button>"
    )
    buttons = f'<p class="try-buttons">{again if stale else ""}{reset}</p>' if rows else ""
    told_stale = f"<p>{escape(strings('marks_stale'))}</p>" if stale else ""
    return (
        f'<section class="about"><h2>{escape(strings("marks_title"))}</h2>{listed}{told_stale}{buttons}'
        f"<h2>{escape(origin)}</h2><dl>{facts}</dl></section>"
    )


def _marked(one: MarkedQuestion, strings: Strings) -> str:
    kind = strings("marks_good" if one.good else "marks_bad")
    state = strings("marks_right" if one.told else "marks_wrong")
    forget = escape(strings("marks_forget"))
    return (
        f'<li class="{"right" if one.told else "wrong"}"><div><span>{escape(one.question)}</span>'
        f"<small>{escape(kind)}, {escape(state)} ({one.fit.share:.2f})</small></div>"
        f'<button type="button" class="row-action" data-action="forget" data-id="{escape(one.question)}" '
        f'title="{forget}" aria-label="{forget}">{icon(ICON_CLOSE, 14)}</button></li>'
    )
