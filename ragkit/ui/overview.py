"""What the page shows of the engine's state: the top bar, the documents, the facts beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ragkit.config import Settings, library_name
from ragkit.errors import RagkitError
from ragkit.schema import Coverage
from ragkit.sizes import gigabytes
from ragkit.ui import render, render_folders, render_library
from ragkit.ui.boot import Boot, is_default_library
from ragkit.ui.folders import offered
from ragkit.ui.pace import Pace
from ragkit.ui.render import Status
from ragkit.ui.strings import Strings
from ragkit.ui.table import View

if TYPE_CHECKING:
    from ragkit.engine import Engine
    from ragkit.watch import Watched


class Overview:
    """Looks at the engine whenever it is asked, and draws what it sees in the user's language."""

    def __init__(self, boot: Boot, *, shared: bool) -> None:
        self._boot = boot
        self._shared = shared
        self._vectors = Pace()  # replaced whole: several windows may look at once

    def settled(self) -> bool:
        """Tell that nothing will change by itself: no need to look again soon."""
        engine = self._boot.peek()
        if not self._boot.wait(0) or (
            engine is not None and engine.embedding.state in {"waiting", "loading"}
        ):
            return False
        if self._boot.slot.moving:
            return False
        if engine is None:
            return True
        if self._boot.watched() or engine.paused or engine.is_waiting():
            return False
        return engine.embedding.state != "ready" or (
            engine.embedding_coverage().complete and not engine.embedding.replacement
        )

    def top_bar(self, strings: Strings) -> str:
        return render.top_bar(status(self._boot, strings), strings)

    def documents(self, strings: Strings, view: View) -> str:
        engine = self._boot.peek()
        if engine is None:
            return ""
        return render_library.documents(
            engine.documents(), strings, view, semantic=embeds(engine), paused=engine.paused
        )

    def about(self, strings: Strings) -> str:
        engine = self._boot.peek()
        coverage = engine.kept_coverage() if engine else Coverage(0, 0, 0)
        now = time.monotonic()
        # Nothing to do is no slow stretch of what comes next.
        self._vectors = Pace() if coverage.complete else self._vectors.noted(coverage.embedded, now)
        facts = render_library.About(
            documents=engine.documents() if engine else [],
            coverage=coverage,
            vectors_per_second=self._vectors.per_second(now) if engine and not engine.paused else None,
            disk_bytes=engine.disk_use().total if engine else 0,
            command=sync_command(self._boot.settings),
            privacy=self._privacy(strings),
            semantic=engine is not None and embeds(engine),
            loading=engine is not None and engine.embedding.state in {"waiting", "loading"},
            replacement=replacement(engine) if engine else None,
            folders=folders(self._boot, strings),
        )
        return render_library.about(facts, strings)

    def _privacy(self, strings: Strings) -> str:
        """Say where documents, and the passages of an answer, go."""
        chosen = self._boot.model.profile
        if chosen and chosen.leaves_machine:
            return strings("about_server", url=chosen.url)
        return strings("about_shared" if self._shared else "about_private")


def replacement(engine: Engine) -> tuple[str, float] | None:
    """The embedding model that takes over, and how far its vectors are."""
    name = engine.embedding.replacement
    coverage = engine.embedding_coverage()
    return (name, coverage.embedded / max(1, coverage.chunks)) if name else None


def folders(boot: Boot, strings: Strings) -> list[render_folders.Row]:
    """The folders that are or can be mirrored, and how each stands."""
    watched = {one.folder.expanduser().resolve(): one for one in boot.watched()}
    engine = boot.peek()
    known = {root.id for root in engine.roots()} if engine is not None else set()
    rows = []
    for root in offered(boot):
        one = watched.get(root.folder) if root.folder else None
        there = root.folder is not None and root.folder.is_dir()
        state = "missing" if not there else "known" if root.id in known else "offered"
        rows.append(
            render_folders.Row(
                root.id,
                root.label,
                place=str(root.folder),
                state=watch_state(one, strings) if one else strings(f"watch_{state}"),
                there=there,
                gone=len(one.preview.removed) if one and one.state == "held" else 0,
            )
        )
    return rows


def watch_state(watched: Watched, strings: Strings) -> str:
    """How a watched folder stands."""
    error = strings.error(watched.error.code) if watched.error else ""
    return strings(f"watch_{watched.state}", n=len(watched.preview.removed), error=error)


def sync_command(settings: Settings) -> str:
    """How to index a whole folder into this knowledge base."""
    name = library_name(settings.kb, settings.data_dir)
    library = "" if is_default_library(settings) else f' --kb "{name}"'
    return f"python -m ragkit sync FOLDER{library}"


def embeds(engine: Engine) -> bool:
    """Tell whether passages get vectors, now or soon."""
    return engine.embedding.state in {"waiting", "loading", "ready"}


def status(boot: Boot, strings: Strings) -> Status:
    """Say what is running, for the badge."""
    engine = boot.peek()
    if boot.error is not None:
        name, told = strings("state_failed"), strings.error(boot.error.code)
        return Status("bad", name, told, error=f"{name}: {told}", cause=str(boot.error))
    if engine is None:
        return Status("busy", strings("state_opening"), strings("state_opening_long"))
    if not boot.wait(0):
        done, total = (boot.samples.done, boot.samples.total) if boot.samples else (0, 0)
        long = strings("state_samples_long", done=done, total=total)
        return Status("busy", strings("state_samples"), long)
    name, detail = profile(boot, engine, strings)
    failure, chosen = boot.model.error, boot.model.profile
    failed = strings("load_failed", name=chosen.name) if chosen else strings("model_failed")
    return Status(
        "busy" if boot.model.state == "loading" else "ok",
        name,
        detail,
        search(engine, strings),
        error=failed if failure else "",
        cause=str(failure) if failure else "",
        done=boot.model.done if boot.model.state == "loading" else None,
    )


def profile(boot: Boot, engine: Engine, strings: Strings) -> tuple[str, str]:
    """Name what answers, and say plainly what that means."""
    model = boot.model
    if model.state == "loading" and model.profile:
        size = gigabytes(model.needed_bytes) if model.needed_bytes else ""
        percent = f"{round(100 * model.done)} %" if model.done else ""
        long = strings("model_loading_long", percent=percent, label=model.label, size=size)
        return strings("model_loading", name=model.profile.name), " ".join(long.split()).replace(" ;", ";")
    if engine.profile == "quotes":
        return strings("profile_quotes"), strings("profile_quotes_long")
    chosen = model.profile
    if chosen and chosen.leaves_machine:
        return chosen.name, strings("profile_server_long", url=chosen.url)
    if chosen and chosen.languages == ("en",):
        return chosen.name, strings("profile_english_long", label=model.label)
    return engine.profile, model.label or strings("profile_model_long")


def search(engine: Engine, strings: Strings) -> str:
    """Say how passages are found at the moment."""
    coverage = engine.coverage()
    if engine.embedding.state == "ready" and not coverage.complete:
        return strings("embedding_indexing", done=coverage.embedded, total=coverage.chunks)
    if engine.embedding.state == "ready" and len(engine.embedding.languages) == 1:
        return strings(f"embedding_ready_{engine.embedding.languages[0]}")
    return strings(f"embedding_{engine.embedding.state}")


def describe(boot: Boot, settings: Settings, strings: Strings) -> list[str]:
    """What is running, as lines for the terminal; waits until the engine is up. A failure is two lines."""
    try:
        while not boot.wait(0.5):  # short waits: Ctrl+C gets through
            pass
        engine = boot.engine()
        while boot.model.state == "choosing":
            time.sleep(0.1)
    except RagkitError as error:
        return [f"{strings('state_failed')}: {error.message}", error.hint]
    lines = [
        strings("term_answers", profile=": ".join(profile(boot, engine, strings))),
        strings("term_search", search=search(engine, strings)),
        strings("term_library", folder=settings.kb, documents=len(engine.documents())),
    ]
    if failure := boot.model.error:
        lines += [strings("model_failed"), failure.message, failure.hint]
    return lines
