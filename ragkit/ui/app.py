"""The page as Gradio components, and how it is launched. `build_app` launches nothing and loads no model."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr
from starlette.middleware import Middleware

from ragkit.config import ASSETS, SAMPLES, Settings
from ragkit.schema import Language
from ragkit.ui import earlier, render, serving
from ragkit.ui.boot import Boot
from ragkit.ui.chat import (
    CONCURRENT_ANSWERS,
    MAX_QUESTION,
    Conversation,
    after_stop,
    answerer,
    without_deleted,
)
from ragkit.ui.events import AT_ONCE, QUIETLY, html
from ragkit.ui.folders import FOLDER_ACTION, Folders
from ragkit.ui.interface import ChatInterface
from ragkit.ui.leaving import Leaving
from ragkit.ui.library import Desk, Library
from ragkit.ui.overview import Overview
from ragkit.ui.scope import Scope
from ragkit.ui.serving import Login
from ragkit.ui.settings_tab import SettingsTab
from ragkit.ui.shelf_panel import ShelfPanel
from ragkit.ui.shell import LOOPBACK, Shell
from ragkit.ui.strings import Strings, choose
from ragkit.ui.tester import Tester
from ragkit.ui.theme import theme
from ragkit.ui.translations import translations
from ragkit.ui.viewer import Viewer

HERE: Final = Path(__file__).parent
TICK_S: Final = 1.5  # while something changes by itself
IDLE_TICK_S: Final = (
    5.0  # never off: an answer that was made before a click may come in after what the click did
)
MAX_FILE_SIZE: Final = "1gb"  # above the reader's own limit, whose error names the file and its remedy

# app.js sends what was clicked in our own HTML as an event "ragkit"; these pass it on to a handler.
_SOURCE_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => '
    'trigger(detail.action === "open" ? "open_source" : "show_turn", detail))'
)
_ROW_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => '
    'trigger({ sort: "look_action", turn: "look_action", chunks: "browse_action" }[detail.action] '
    '?? (detail.id ? "row_action" : "queue_action"), detail))'
)
_JOB_ACTION: Final = (
    'element.addEventListener("ragkit", ({ detail }) => '
    'trigger(detail.action === "cancel" ? "cancel_job" : "resolve_conflicts", detail))'
)


def build_app(boot: Boot, settings: Settings, *, login: Login | None = None) -> gr.Blocks:
    """Build the page over an engine that may still be on its way up; `login` is what will guard it."""
    app = gr.Blocks(
        title="ragkit", fill_height=True, fill_width=True, analytics_enabled=False, delete_cache=(600, 3600)
    )
    with app:
        _Page(boot, settings, shared=login is not None).build(app)
    return app


class _Page:
    """Components first, then their events, one method a tab."""

    def __init__(self, boot: Boot, settings: Settings, *, shared: bool) -> None:
        self._boot = boot
        self._settings = settings
        self._say = translations(settings)
        self._log_file = f"{settings.data_dir.name}/log/ragkit.log"
        self._settings_tab = SettingsTab(boot, settings, self.strings, self._log_file)
        self._overview = Overview(boot, shared=shared)
        self._leaving = Leaving(boot)
        self._shelf = ShelfPanel(boot, self.strings, self._log_file)
        self._examples: dict[Language, list[str]] = json.loads(
            (ASSETS / "examples.json").read_text(encoding="utf-8")
        )

    def strings(self, request: gr.Request) -> Strings:
        return choose(self._settings.language, request.cookies, request.headers.get("accept-language", ""))

    def build(self, app: gr.Blocks) -> None:
        self._clock = gr.Timer(TICK_S)  # slower while nothing changes by itself
        self._top = html(self._say("top_bar"), "top")
        html(self._say("dialog"), "dialog")
        self._viewer = Viewer(self._boot, self.strings)
        self._viewer.build()
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(self._say("tab_chat"), id="chat") as chat:
                self._build_chat()
            with gr.Tab(self._say("tab_library"), id="library") as library:
                self._build_library()
            with gr.Tab(self._say("tab_tester"), id="tester") as tester:
                Tester(self._boot, self.strings).build(tester, self._say)
            with gr.Tab(self._say("tab_settings"), id="settings") as settings:
                moved = self._settings_tab.build(app, settings, self._say)
        for event in moved:
            event.then(lambda: gr.Timer(TICK_S), None, self._clock, **AT_ONCE)
        painted = [self._top, self._table, self._about, self._shelf.listed]
        for event in self._moved:
            event.then(self._paint, self._desk, painted, **AT_ONCE).then(
                self._show_nothing, None, self._sources, **AT_ONCE
            )
        app.load(self._paint, self._desk, painted, **AT_ONCE)
        for event in (app.load, chat.select):
            event(self._greet, None, self._chatbot, **AT_ONCE)
        self._leaving.connect(app, self._conversation)
        ours = self._settings_tab
        self._clock.tick(
            self._tick, [ours.precision, self._desk], [*painted, *ours.panels, self._clock], **AT_ONCE
        )
        for event in (app.load, chat.select, self._scope.places.focus):
            event(self._scope.refresh, self._scope.places, self._scope.places, **AT_ONCE)
        library.select(self._look, self._desk, painted, **AT_ONCE)

    # ── Chat ──

    def _build_chat(self) -> None:
        say = self._say
        conversation = self._conversation = gr.State(Conversation())
        with gr.Row(elem_id="chat-row", equal_height=False):
            left = gr.Column(scale=5, elem_id="chat-column")
            with gr.Column(scale=3, elem_id="sources-column"):
                html(say("sheet_close"), "sheet-top")
                panel = html(say("sources_empty_panel"), "sources", js=_SOURCE_ACTION)
        with left:
            more = earlier.build()
            self._chatbot = gr.Chatbot(
                elem_id="chatbot",
                label=say("tab_chat"),
                show_label=False,
                container=False,
                height=None,
                layout="bubble",
                buttons=["copy"],
                editable="user",
                placeholder=say("greeting_block"),  # type: ignore[arg-type]  # Gradio translates it
                latex_delimiters=[
                    {"left": "$$", "right": "$$", "display": True},
                    {"left": "\\(", "right": "\\)", "display": False},
                ],
            )
            box = gr.Textbox(
                elem_id="ask",
                label=say("ask"),
                placeholder=say("ask"),
                show_label=False,
                container=False,
                lines=1,
                max_lines=6,
                max_length=MAX_QUESTION,
                submit_btn=True,
                stop_btn=True,
                autofocus=True,
            )
            self._scope = Scope(self._boot, say)
            chat = ChatInterface(
                answerer(self._boot, self.strings, self._log_file),
                placeholder=say("ask"),
                after=earlier.after(after_stop(self._boot, self.strings), self.strings),
                earlier=more,
                chatbot=self._chatbot,
                textbox=box,
                additional_inputs=[conversation, self._scope.mode, self._scope.places],
                additional_outputs=[panel],
                examples=[[question] for question in self._example_questions("zh")],
                concurrency_limit=CONCURRENT_ANSWERS,
                show_progress="hidden",
                fill_height=False,
                flagging_mode="never",
                analytics_enabled=False,
                api_name="chat",
                api_description="Ask the knowledge base. Gives the answer's text, with its sources as [1], "
                "and the sources as HTML.",
            )
        self._sources = panel
        self._viewer.show_sources(panel, conversation)
        panel.show_turn(self._show_turn, conversation, panel, **AT_ONCE)
        earlier.connect(more, conversation, self._chatbot, chat.chatbot_state, self.strings)
        self._chatbot.clear(
            self._forget, conversation, [panel, more, self._chatbot, chat.chatbot_state], **AT_ONCE
        )
        self._chatbot.undo(self._show_nothing, None, panel, **AT_ONCE)

    def _example_questions(self, language: Language, number: int = 3) -> list[str]:
        """A few, spread over the list, so that they show different documents."""
        questions = self._examples[language]
        return questions[:: max(1, len(questions) // number)][:number]

    def _greet(self, request: gr.Request) -> Any:
        asked = self._example_questions(self.strings(request).language) if self._has_samples() else []
        return gr.Chatbot(examples=[{"text": question} for question in asked])

    def _has_samples(self) -> bool:
        """Whether the samples, which the examples ask about, are here or on their way."""
        engine = self._boot.peek()
        if engine is None or not self._boot.wait(0):
            return True
        samples = {file.name for file in SAMPLES.iterdir()}
        return any(Path(document.source).name in samples for document in engine.documents())

    def _show_nothing(self, request: gr.Request) -> str:
        return render.sources_empty(self.strings(request))

    def _forget(self, conversation: Conversation, request: gr.Request) -> tuple[object, ...]:
        conversation.forget()
        self._leaving.drop(conversation.key)
        more = earlier.offer(conversation, self.strings(request))
        return self._show_nothing(request), more, [], []  # empty in the browser, but for what was on its way

    def _show_turn(self, conversation: Conversation, event: gr.EventData, request: gr.Request) -> str:
        turn = event._data.get("turn") if isinstance(event._data, dict) else None
        strings = self.strings(request)
        exchange = conversation.exchanges.get(turn) if isinstance(turn, str) else None
        if exchange is None:
            return render.sources_message(strings("sources_gone"))
        engine = self._boot.engine()
        if exchange.kb != engine.settings.kb:
            return render.sources_message(strings("sources_elsewhere", name=exchange.kb.name))
        answer = without_deleted(exchange.answer, engine)
        return render.sources(exchange.turn, answer, strings, done=exchange.done, semantic=False)

    # ── Knowledge base ──

    def _build_library(self) -> None:
        say = self._say
        desk = self._desk = gr.State(Desk())
        library = Library(self._boot, self.strings, self._overview.documents, self._log_file)
        folders = Folders(self._boot, self.strings, library, self._log_file)
        with gr.Row(elem_id="library-row", equal_height=False):
            with gr.Column(scale=5, elem_id="library-column"):
                drop = gr.File(
                    elem_id="drop", label=say("drop"), file_count="multiple", height=132, show_label=False
                )
                html(say("drop_note"), "drop-note")
                folders.build_parcel()
                job = html("", "job", js=_JOB_ACTION)
                folders.build_changes()
                words = gr.Textbox(
                    elem_id="docs-filter",
                    label=say("documents_filter"),
                    placeholder=say("documents_filter"),
                    show_label=False,
                    container=False,
                    max_length=200,
                )
                self._table = html("", "documents", js=_ROW_ACTION)
            with gr.Column(scale=2, elem_id="about-column"):
                moved = self._shelf.build(say)
                self._about = html("", "about", js=FOLDER_ACTION)

        outcome = [job, self._table]
        one_at_a_time: dict[str, Any] = {**QUIETLY, "concurrency_id": "library", "concurrency_limit": 1}
        jobs = [
            *folders.take_uploads(drop, job, self._table, desk, one_at_a_time),
            *folders.mirror(self._about, job, self._table, desk, one_at_a_time),
            job.resolve_conflicts(library.resolve, desk, outcome, **one_at_a_time),
            self._table.row_action(library.row, desk, outcome, trigger_mode="multiple", **one_at_a_time),
        ]
        job.cancel_job(library.cancel, desk, None, **AT_ONCE)
        words.change(library.filter, [words, desk], self._table, trigger_mode="always_last", **AT_ONCE)
        self._moved = moved
        folders.follow(moved, job, desk)
        self._viewer.show_chunks(self._table)
        self._table.look_action(library.look, desk, self._table, trigger_mode="multiple", **AT_ONCE)
        # At once: a job that is paused holds the place that the others wait for.
        self._table.queue_action(library.queue, desk, self._table, **AT_ONCE)
        for done in jobs:
            # Vectors are made from now on: look again until they are complete.
            done.then(lambda: gr.Timer(TICK_S), None, self._clock, **AT_ONCE)
            # A document may be gone: its passages come back from the server, which knows.
            done.then(self._show_nothing, None, self._sources, **AT_ONCE)

    # ── The whole page ──

    def _look(self, desk: Desk, request: gr.Request) -> tuple[str, ...]:
        self._shelf.forget()
        return self._paint(desk, request)

    def _paint(self, desk: Desk, request: gr.Request) -> tuple[str, ...]:
        strings, overview = self.strings(request), self._overview
        return (
            overview.top_bar(strings),
            overview.documents(strings, desk.view),
            overview.about(strings),
            self._shelf.paint(request),
        )

    def _tick(self, precision: str, desk: Desk, request: gr.Request) -> tuple[Any, ...]:
        # Asked before anything is painted, so that what changes in between is painted at the next tick; and
        # again, because painting can begin a new look at the models.
        ours = self._settings_tab
        settled = self._overview.settled() and ours.settled()
        painted = (*self._paint(desk, request), *ours.paint(precision, request))
        return *painted, gr.Timer(IDLE_TICK_S if settled and ours.settled() else TICK_S)


# ── Launch ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Served:
    """Where the page is. `share_url` is None when none was asked for, or none could be had."""

    url: str
    share_url: str | None
    port: int


def launch(
    app: gr.Blocks,
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = serving.DEFAULT_PORT,
    share: bool = False,
    login: Login | None = None,
) -> Served:
    """Serve the page from a thread and come back. Without `login` only this computer's names are served."""
    names = {*LOOPBACK, *(name.strip() for name in settings.allowed_hosts.split(","))} - {""}
    shell = Middleware(Shell, hosts=None if login else names, language=settings.language)
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "app.js"))
    with redirect_stdout(io.StringIO()):  # share prints a page of its own when it fails; we say it in a line
        app.queue(default_concurrency_limit=4, max_size=32, api_open=False).launch(
            server_name=host,
            server_port=port,
            share=share,
            auth=tuple(login) if login else None,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            theme=theme(),
            # As head, because Gradio rewrites what comes as css: it re-scopes @media and drops @supports.
            head=f"<style>{style}</style><script>{script}</script>",
            i18n=translations(settings),
            favicon_path=ASSETS / "favicon.png",
            max_file_size=MAX_FILE_SIZE,
            blocked_paths=[str(settings.kb), str(settings.data_dir / "library")],
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            show_error=False,
            app_kwargs={"middleware": [shell], "docs_url": None, "redoc_url": None, "openapi_url": None},
        )
    return Served(app.local_url or "", app.share_url, port)
