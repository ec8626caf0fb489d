"""HTML of the list of knowledge bases. Pure functions; a button carries an action and an id, never a path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import Final

from ragkit.shelf import Shelved
from ragkit.ui.render import ICON_BIN, icon
from ragkit.ui.render_library import close_button, size
from ragkit.ui.strings import Strings

ICON_OUT: Final = "M12 15V4M8 8l4-4 4 4M5 14v6h14v-6"


def shelf(listed: Sequence[Shelved], here: str, own: Collection[str], strings: Strings) -> str:
    """The knowledge bases, the open one (`here`) marked; those in `own` can be deleted from the page."""
    items = "".join(_item(one, one.id == here, one.id in own, strings) for one in listed)
    return f'<section class="about shelf"><h2>{escape(strings("shelf_title"))}</h2><ul>{items}</ul></section>'


def _item(one: Shelved, is_open: bool, is_own: bool, strings: Strings) -> str:
    if one.documents is None:
        facts = strings("shelf_unread")
    else:
        facts = strings("shelf_documents", n=one.documents, size=size(one.size_bytes))
    name = escape(one.name)
    if is_open:
        badge = f'<span class="pill ready">{escape(strings("shelf_is_open"))}</span>'
        buttons = _small("export", ICON_OUT, one, strings)
    else:
        badge = ""
        label = escape(strings("shelf_open_name", name=one.name))
        buttons = (
            f'<button type="button" class="plain" data-action="open" data-id="{one.id}" aria-label="{label}">'
            f"{escape(strings('shelf_open'))}</button>"
        )
        if is_own:
            ask = strings("shelf_delete_confirm", name=one.name, n=one.documents or 0)
            buttons += _small("delete", ICON_BIN, one, strings, confirm=ask)
    return (
        f'<li{" class=here" if is_open else ""}><div><b title="{escape(str(one.folder))}">{name}</b>{badge}'
        f"<small>{escape(facts)}</small></div><div>{buttons}</div></li>"
    )


def _small(action: str, drawing: str, one: Shelved, strings: Strings, *, confirm: str = "") -> str:
    ask = f' data-confirm="{escape(confirm)}"' if confirm else ""
    label = escape(strings(f"shelf_{action}_name", name=one.name))
    return (
        f'<button type="button" class="row-action {action}" data-action="{action}" data-id="{one.id}"{ask} '
        f'aria-label="{label}" title="{escape(strings(f"shelf_{action}"))}">{icon(drawing, 17)}</button>'
    )


def done(text: str, strings: Strings) -> str:
    return (
        f'<div class="job done" role="status"><div class="job-body"><p>{escape(text)}</p></div>'
        f"{close_button(strings)}</div>"
    )
