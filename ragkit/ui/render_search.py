"""HTML of the settings of the search by meaning, and of the doctor's report.

Pure functions. Buttons carry an action and the id of a choice, never a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from ragkit.choices import EmbeddingChoice
from ragkit.errors import RagkitError
from ragkit.schema import Coverage, EmbeddingStatus
from ragkit.sizes import gigabytes
from ragkit.ui.pace import remaining
from ragkit.ui.render import ICON_ALERT, icon, progress_bar
from ragkit.ui.render_downloads import Fetching, button, fetching
from ragkit.ui.strings import Strings

if TYPE_CHECKING:
    from ragkit.doctor.report import Check

_MARKS: Final = {"ok": "✓", "warn": "!", "fail": "✗", "skipped": "–"}


# ── Embedding models ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Now:
    """How the search by meaning stands. `next` counts the vectors of the model that takes over, or of the one
    that answers; `missing` how many passages have none of a choice; `changing` is the choice that is being loaded."""

    where: str
    status: EmbeddingStatus
    missing: Mapping[str, int]
    next: Coverage
    per_second: float | None = None  # vectors that are made
    changing: str = ""
    cancelling: bool = False
    seconds: float = 0.0  # since the change began
    trouble: str = ""


def embeddings(listed: Sequence[EmbeddingChoice], now: Now, downloads: Fetching, strings: Strings) -> str:
    """What meaning can be read with, and what becomes of the vectors when another model is taken."""
    here = [choice for choice in listed if choice.here]
    absent = [choice for choice in listed if not choice.here]
    trouble = ""
    if now.trouble:
        trouble = (
            f'<div class="job failed" role="alert">{icon(ICON_ALERT, 20)}<div class="job-body">'
            f"<p>{escape(now.trouble)}</p></div></div>"
        )
    items = "".join(_embedding(choice, now, strings) for choice in here)
    more = "".join(_absent(choice, downloads, strings) for choice in absent)
    return (
        f'{trouble}<section class="models"><header><h2>{escape(strings("embedding_title"))}</h2></header>'
        f'<p class="models-note">{escape(strings("embedding_note"))}</p><ul>{items}</ul>'
        f"<header><h2>{escape(strings('embedding_absent'))}</h2></header><ul>{more}</ul></section>"
    )


def _embedding(choice: EmbeddingChoice, now: Now, strings: Strings) -> str:
    wanted = choice.where == now.where
    name = _name(choice, strings)
    # Until its vectors are whole, or where it could not be loaded, another one answers.
    other = now.status.state == "ready" and bool(now.status.replacement or now.status.error)
    used = name == now.status.name if other else wanted
    detail = [f'<p class="model-facts">{escape(_facts(choice, strings))}</p>']
    if choice.problem:
        detail.append(f'<p class="model-fit short">{escape(choice.problem)}</p>')
    if choice.install:
        detail.append(
            f'<p class="model-fit short">{escape(strings("embedding_install"))} <code>{escape(choice.install)}</code></p>'
        )
    if wanted and now.status.error:
        detail.append(f'<p class="model-fit short">{escape(f"{now.status.error} {now.status.hint}")}</p>')
    if wanted and now.status.state not in ("failed", "off"):
        detail.append(_vectors(now, name, strings))
    badge = ""
    if wanted and (now.status.replacement or now.status.state in ("waiting", "loading")):
        badge = f'<span class="pill embedding">{escape(strings("embedding_coming"))}</span>'
    elif used:
        badge = f'<span class="pill ready">{escape(strings("in_use"))}</span>'
    act = ""
    if now.changing == choice.where:
        told, act = _changing(choice, now, name, strings)
        detail.append(told)
    elif choice.usable and not (wanted or now.changing):
        missing = now.missing.get(choice.where, 0)
        # From "words only" there are no vectors that could answer meanwhile, unless they are kept and still right.
        which = "embedding_confirm_first" if now.status.state == "off" else "embedding_confirm"
        ask = strings(which, name=name, n=missing) if missing else ""
        label = strings("embedding_off_take" if choice.where == "off" else "embedding_take")
        act = button("embed", choice.id, label, name, confirm=ask)
    return _item(name, badge, "".join(detail), act, "used" if used else "")


def _changing(choice: EmbeddingChoice, now: Now, name: str, strings: Strings) -> tuple[str, str]:
    """What is said of the choice that is being loaded, and its button."""
    if now.cancelling:
        return f'<p class="model-facts">{escape(strings("job_cancelling"))}</p><progress></progress>', ""
    int8 = choice.record is not None and choice.record.backend == "onnx-int8"
    text = strings("embedding_changing_int8" if int8 else "embedding_changing", n=round(now.seconds))
    return (
        f'<p class="model-facts">{escape(text)}</p><progress></progress>',
        button("cancel", choice.id, strings("cancel"), name),
    )


def _vectors(now: Now, name: str, strings: Strings) -> str:
    if now.status.replacement:
        text = strings(
            "embedding_replacing", old=now.status.name, done=now.next.embedded, total=now.next.chunks
        )
    elif now.status.state in ("waiting", "loading"):
        return f'<p class="model-facts">{escape(strings("embedding_loading"))}</p><progress></progress>'
    else:
        text = strings("embedding_whole", done=now.next.embedded, total=now.next.chunks)
    told = f'<p class="model-fit fits">{escape(text)}</p>'
    if not now.next.complete and now.per_second:
        left = remaining(now.next.chunks - now.next.embedded, now.per_second, strings)
        told += f'<p class="model-facts">{escape(left)}</p>'
    return (
        told if now.next.complete else told + progress_bar(now.next.embedded / max(1, now.next.chunks), name)
    )


def _absent(choice: EmbeddingChoice, downloads: Fetching, strings: Strings) -> str:
    told, act = fetching(choice.where, downloads, choice.id, strings, choice.unfinished_bytes)
    size = strings("download_size", size=gigabytes(choice.size_bytes)) if choice.size_bytes else ""
    facts = " · ".join(filter(None, (size, _facts(choice, strings))))
    return _item(choice.where, "", f'<p class="model-facts">{escape(facts)}</p>{told}', act, "absent")


def _name(choice: EmbeddingChoice, strings: Strings) -> str:
    if choice.where == "off":
        return strings("embedding_none")
    return choice.record.label if choice.record else choice.where


def _facts(choice: EmbeddingChoice, strings: Strings) -> str:
    if choice.where == "off":
        return strings("embedding_none_long")
    record = choice.record
    if record is None:
        return ""
    spoken = [strings(f"language_{language}") for language in record.languages]
    size = strings("embedding_facts", dim=record.dim, tokens=f"{record.max_tokens:,}") if record.dim else ""
    bundled = strings("embedding_bundled") if choice.where == "auto" else ""
    int8 = strings("embedding_int8") if record.backend == "onnx-int8" else ""
    return " · ".join(filter(None, (bundled, int8, " + ".join(spoken), size, record.licence)))


def _item(name: str, badge: str, detail: str, act: str, css: str) -> str:
    return (
        f'<li class="model {css}" data-model="{escape(name)}"><div class="model-body"><h3>{escape(name)}{badge}</h3>'
        f'{detail}</div><div class="model-buttons">{act}</div></li>'
    )


# ── The doctor ──────────────────────────────────────────────────────────────────────────────────────


def report(
    checks: Sequence[Check] | None, strings: Strings, *, running: bool, error: RagkitError | None = None
) -> str:
    """What was looked at so far, by group, each with its remedy; a button to look (again)."""
    label = strings("checkup_again" if checks else "checkup_start")
    act = (
        f'<span role="status">{escape(strings("checkup_running"))}</span>'
        if running
        else f'<button type="button" class="primary" data-action="examine">{escape(label)}</button>'
    )
    failed = f'<p class="model-fit short">{escape(str(error))}</p>' if error else ""
    head = (
        f'<section class="checkup"><header><p>{escape(strings("checkup_about"))}</p>{act}</header>'
        f"{'<progress></progress>' if running else ''}{failed}"
    )
    return f"{head}{_groups(checks, strings) if checks else ''}</section>"


def _groups(checks: Sequence[Check], strings: Strings) -> str:
    from ragkit.doctor.text import (
        FIX,
        GROUPS,
    )  # it was imported when these were made; before, it costs a second

    parts = []
    for group, heading in GROUPS.items():
        own = [check for check in checks if check.id.partition(".")[0] == group]
        if not own:
            continue
        items = []
        for check in own:
            fix = ""
            if check.fix:
                told = check.fix.in_language(strings.language)
                fix = f'<p class="fix">{escape(FIX.in_language(strings.language))}: <code>{escape(told)}</code></p>'
            rows = "".join(
                f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in check.table
            )
            state = escape(strings(f"check_{check.state}"))
            items.append(
                f'<li class="{check.state}"><i title="{state}" aria-label="{state}" role="img">{_MARKS[check.state]}</i>'
                f"<div><p>{escape(check.message.in_language(strings.language))}</p>"
                f"{f'<table>{rows}</table>' if rows else ''}{fix}</div></li>"
            )
        parts.append(f"<h2>{escape(heading.in_language(strings.language))}</h2><ul>{''.join(items)}</ul>")
    return "".join(parts)
