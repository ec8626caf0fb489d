"""HTML for the Settings tab: what can answer, what is being loaded, and this machine. Pure functions.

Buttons carry an action and the id of a choice, never a path: the server looks the id up.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ragkit.choices import Choice, Fit, Wanted
from ragkit.load_plan import LABELS, DeviceFacts
from ragkit.sizes import gigabytes
from ragkit.ui.render import ICON_AGAIN, ICON_ALERT, ICON_BIN, icon, progress_bar
from ragkit.ui.render_downloads import Fetching, fetching
from ragkit.ui.render_job import WITHOUT_END, running
from ragkit.ui.slot import ModelStatus
from ragkit.ui.strings import Strings


def precision_label(wanted: str, strings: Strings) -> str:
    """How a precision is called on the page."""
    return next((label for known, label in LABELS.items() if known == wanted), strings("precision_automatic"))


# ── What is going on ────────────────────────────────────────────────────────────────────────────────


def progress(
    status: ModelStatus, attempt: ModelStatus | None, now: float, strings: Strings, *, trouble: str = ""
) -> str:
    """What a change of the model is doing, or why it was refused; "" when there is nothing to say.

    A load that failed is told by the alert above every tab. `now` is of time.monotonic; `trouble` is something
    that the page itself has to say.
    """
    if attempt is not None and attempt.state == "failed":
        title = strings("switch_refused", name=_name(attempt, strings), current=_name(status, strings))
        return _failure(title, str(attempt.error or ""))
    if trouble:
        return _failure(trouble, "")
    if attempt is not None and attempt.profile is not None:
        return _running(strings("switch_planning", name=_name(attempt, strings)), strings)
    if status.state == "loading":
        seconds = strings("seconds", n=max(0, round(now - status.started_at)))
        title = strings(f"load_{status.stage or 'start'}", name=_name(status, strings))
        memory = gigabytes(status.needed_bytes) if status.needed_bytes else ""
        detail = " · ".join(filter(None, (status.label, memory, seconds)))
        if not status.stage:  # libraries are being imported: seconds of which nobody knows how many
            return _running(title, strings, detail=detail)
        bar = progress_bar(status.done, title)
        count = f"{round(100 * status.done)} %" if status.done else ""
        return _running(title, strings, bar, count=count, detail=detail)
    if not status.saved:
        return _failure(strings("choice_not_saved"), "")
    return ""


def _running(
    text: str, strings: Strings, bar: str = WITHOUT_END, *, count: str = "", detail: str = ""
) -> str:
    more = f'<p class="job-detail">{escape(detail)}</p>' if detail else ""
    cancel = f'<button type="button" class="plain" data-action="cancel">{escape(strings("cancel"))}</button>'
    return running(text, bar, count=count, more=more, button=cancel)


def _failure(text: str, cause: str) -> str:
    detail = f'<p class="cause">{escape(cause)}</p>' if cause else ""
    return (
        f'<div class="job failed" role="alert">{icon(ICON_ALERT, 20)}'
        f'<div class="job-body"><p>{escape(text)}</p>{detail}</div></div>'
    )


def _name(status: ModelStatus, strings: Strings) -> str:
    if status.profile is None:
        return strings("some_model")
    return strings("profile_quotes") if status.profile.kind == "quotes" else status.profile.name


# ── The list ────────────────────────────────────────────────────────────────────────────────────────


def choices_waiting(text: str) -> str:
    """The list before the first look at this machine."""
    return f'<section class="models"><p class="models-waiting" role="status">{escape(text)}</p></section>'


def choices(
    listed: Sequence[Choice],
    status: ModelStatus,
    wanted: Wanted,
    strings: Strings,
    downloads: Fetching,
    *,
    moving: bool,
) -> str:
    """Everything that can answer, and what could once it was downloaded. While `moving` nothing can be chosen."""
    here = [choice for choice in listed if choice.here]
    absent = [choice for choice in listed if not choice.here]
    parts = [
        f'<section class="models"><header><h2>{escape(strings("models_here"))}</h2>'
        f'<button type="button" class="row-action" data-action="look" title="{escape(strings("models_look"))}" '
        f'aria-label="{escape(strings("models_look"))}">{icon(ICON_AGAIN, 17)}</button></header><ul>',
        *(_choice(choice, status, wanted, strings, moving=moving) for choice in here),
        "</ul>",
    ]
    if absent:
        parts += [
            f"<header><h2>{escape(strings('models_absent'))}</h2></header>"
            f'<p class="models-note">{escape(strings("models_absent_note"))}</p><ul>',
            *(_absent(choice, wanted, downloads, strings) for choice in absent),
            "</ul>",
        ]
    return "".join([*parts, "</section>"])


def _choice(choice: Choice, status: ModelStatus, wanted: Wanted, strings: Strings, *, moving: bool) -> str:
    used = in_use(choice, status)
    fit = choice.fits.get(wanted) if choice.fits else None
    kind = choice.profile.kind
    if kind == "quotes":
        name, about = strings("profile_quotes"), strings("profile_quotes_long")
    elif kind == "server":
        name = (status.profile.name if used and status.profile else "") or choice.profile.name
        about = strings("profile_server_long", url=choice.profile.url)
    else:
        name, about = choice.profile.name, _facts(choice, strings)
    detail = [f'<p class="model-facts">{escape(about)}</p>']
    if used and status.label and status.state == "ready":
        running = strings("model_running", label=status.label, size=gigabytes(status.needed_bytes))
        detail.append(f'<p class="model-fit fits">{escape(running)}</p>')
    if fit is not None and not (used and status.precision == wanted):
        detail.append(_fit(fit, wanted, strings))
    if (
        status.state == "loading" and status.profile == choice.profile
    ):  # also where the list has been scrolled
        detail.append(progress_bar(status.done, name) if status.stage else "<progress></progress>")
    badge = f'<span class="pill ready">{escape(strings("in_use"))}</span>' if used else ""
    buttons = "" if moving else _buttons(choice, status, fit, wanted, strings, used=used)
    return (
        f'<li class="model{" used" if used else ""}" data-model="{escape(name)}"><div class="model-body">'
        f"<h3>{escape(name)}{badge}</h3>{''.join(detail)}</div>"
        f'<div class="model-buttons">{buttons}</div></li>'
    )


def _absent(choice: Choice, wanted: Wanted, downloads: Fetching, strings: Strings) -> str:
    name = choice.profile.name
    fit = choice.fits.get(wanted) if choice.fits else None
    size = strings("download_size", size=gigabytes(choice.size_bytes)) if choice.size_bytes else ""
    licence = strings("licence_internlm") if name.startswith("internlm/") else choice.licence
    about = " · ".join(filter(None, (size, _languages(choice, strings), licence, _weakness(choice, strings))))
    told, button = fetching(name, downloads, choice.id, strings, choice.unfinished_bytes)
    return (
        f'<li class="model absent" data-model="{escape(name)}"><div class="model-body"><h3>{escape(name)}</h3>'
        f'<p class="model-facts">{escape(about)}</p>{_fit(fit, wanted, strings) if fit else ""}{told}</div>'
        f'<div class="model-buttons">{button}</div></li>'
    )


def in_use(choice: Choice, status: ModelStatus) -> bool:
    """Whether this is what answers; quotes do while another model is loaded, and when it failed."""
    if status.state != "ready":
        return choice.profile.kind == "quotes"
    if status.profile is None or status.profile.kind != choice.profile.kind:
        return False
    return choice.profile.kind == "server" or choice.profile.path == status.profile.path


def _buttons(
    choice: Choice, status: ModelStatus, fit: Fit | None, wanted: Wanted, strings: Strings, *, used: bool
) -> str:
    buttons: list[str] = []
    name = strings("profile_quotes") if choice.profile.kind == "quotes" else choice.profile.name
    if not used and choice.profile.kind != "local":
        verb = "use" if choice.profile.kind == "quotes" else "connect"
        buttons.append(_button("load", choice, strings(verb), name, "plain"))
    elif not (used and status.precision == wanted):
        if fit is not None and fit.state == "fits":
            text = strings("load_as", precision=precision_label(wanted, strings)) if used else strings("load")
            buttons.append(_button("load", choice, text, name, "plain" if used else "primary"))
        elif fit is not None and fit.instead is not None and not used:
            text = strings("load_as", precision=LABELS[fit.instead.precision])
            buttons.append(_button(f"load:{fit.instead.precision}", choice, text, name, "plain"))
    if used and choice.profile.kind != "quotes":
        verb = "unload" if choice.profile.kind == "local" else "disconnect"
        buttons.append(_button("unload", choice, strings(verb), name, "plain"))
    if choice.own and not used:
        ask = strings("model_delete_confirm", name=name, size=gigabytes(choice.size_bytes))
        label = escape(strings("model_delete", name=name))
        buttons.append(
            f'<button type="button" class="row-action" data-action="delete" data-id="{escape(choice.id)}" '
            f'data-confirm="{escape(ask)}" title="{escape(strings("delete"))}" aria-label="{label}">{icon(ICON_BIN, 17)}</button>'
        )
    return "".join(buttons)


def _button(action: str, choice: Choice, text: str, name: str, css: str) -> str:
    return (
        f'<button type="button" class="{css}" data-action="{action}" data-id="{escape(choice.id)}" '
        f'aria-label="{escape(f"{text}: {name}")}">{escape(text)}</button>'
    )


def _facts(choice: Choice, strings: Strings) -> str:
    size = strings("disk_size", size=gigabytes(choice.size_bytes)) if choice.size_bytes else ""
    return " · ".join(filter(None, (size, _languages(choice, strings), _weakness(choice, strings))))


def _weakness(choice: Choice, strings: Strings) -> str:
    return strings("very_small_model") if choice.profile.simple else ""


def _languages(choice: Choice, strings: Strings) -> str:
    return strings("english_only") if choice.profile.languages == ("en",) else strings("both_languages")


def _fit(fit: Fit, wanted: Wanted, strings: Strings) -> str:
    """Whether it fits, in a sentence; and if not, why, and what would."""
    if fit.state == "impossible":
        text = f"{strings('fit_impossible', precision=precision_label(wanted, strings))} {fit.cause}"
    elif fit.state == "short" and fit.plan is not None:
        text = strings(
            "fit_short",
            label=fit.plan.label,
            needed=gigabytes(fit.plan.needed_bytes),
            spare=gigabytes(fit.plan.room_bytes - fit.plan.needed_bytes),
            free=gigabytes(fit.free_bytes),
        )
        if fit.instead is not None:
            size = gigabytes(fit.instead.needed_bytes)
            text += " " + strings("fit_instead", label=fit.instead.label, size=size)
    elif fit.plan is not None:
        text = strings(
            "fit_fits", label=fit.plan.label, device=fit.plan.device, size=gigabytes(fit.plan.needed_bytes)
        )
        minutes = max(1, round(fit.plan.rounding_s / 60))
        notes = (strings(f"plan_{note}", n=minutes) for note in fit.plan.notes)
        text = " ".join([text, *notes])
    else:
        return ""
    return f'<p class="model-fit {fit.state}">{escape(text)}</p>'


def answers_told(state: str, text: str, cause: str = "") -> str:
    """What became of a change of the form."""
    detail = f'<p class="cause">{escape(cause)}</p>' if cause else ""
    role = "alert" if state == "failed" else "status"
    return f'<div class="job {state}"><div class="job-body" role="{role}"><p>{escape(text)}</p>{detail}</div></div>'


def answers_notes(text: str, strings: Strings) -> str:
    """What is to be known of the form, and the way back to how it came."""
    return (
        f'<div class="job"><div class="job-body"><p>{escape(text)}</p></div>'
        f'<button type="button" class="plain" data-action="reset" title="{escape(strings("ok"))}" '
        f'data-confirm="{escape(strings("answers_reset_confirm"))}">{escape(strings("answers_reset"))}</button></div>'
    )


# ── Beside the list ─────────────────────────────────────────────────────────────────────────────────


def machine(devices: Sequence[DeviceFacts], device_setting: str, strings: Strings) -> str:
    """The devices with their memory, and how else a model comes here."""
    rows = "".join(
        f"<dt>{escape(device.name)} <small>{escape(device.device)}</small></dt>"
        f"<dd>{escape(strings('free_of', free=gigabytes(device.free_bytes), total=gigabytes(device.total_bytes)))}</dd>"
        for device in devices
    )
    named = strings("precision_automatic") if device_setting == "auto" else device_setting
    chosen = strings("device_chosen", device=named)
    return f"""<aside class="about machine"><h2>{escape(strings("machine"))}</h2><dl>{rows}</dl>
<p>{escape(chosen)}</p><code class="command">python demo.py --device NAME</code>
<h2>{escape(strings("own_model"))}</h2><p>{escape(strings("own_model_text"))}</p>
<code class="command">python demo.py --model FOLDER</code>
<code class="command">python demo.py --llm URL</code></aside>"""
