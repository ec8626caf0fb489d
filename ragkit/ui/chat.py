"""The Chat tab: a question goes in, an answer streams out, its sources are painted beside it.

What was retrieved and cited stays on the server, one `Conversation` a browser tab; a message in the
browser carries only the id of its turn.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import gradio as gr

from ragkit import log
from ragkit.errors import RagkitError
from ragkit.prompts import WINDOW
from ragkit.schema import Answer, Delta, Done, Event, Filters, Retrieved, Turn
from ragkit.ui import markup, render
from ragkit.ui.background import Background
from ragkit.ui.boot import Boot
from ragkit.ui.strings import Strings

if TYPE_CHECKING:
    from ragkit.engine import Engine

logger = logging.getLogger(__name__)

Mode = Literal["documents", "model", "both"]
Message = dict[str, Any]  # one of Gradio's, {"role", "content", "metadata"}

THROTTLE_S: Final = 0.09  # a yield costs the browser a repaint: 2,000 of them took it 12 s, at this pace none
MAX_MESSAGES: Final = 40  # mounted; at 200 a page repaints at 7 frames a second
MAX_TURNS: Final = 500  # kept, with their sources
DROPPED_TURNS: Final = (
    WINDOW // 2
)  # at once, so that what a model has read stays the beginning of its prompts
LONG_WAIT_S: Final = 3.0  # until the first word; a longer one is told
MAX_QUESTION: Final = 4000  # characters; the rest of a longer one is not read
STOP_WAIT_S: Final = 3.0
CONCURRENT_ANSWERS: Final = 4  # quotes run side by side; a language model has a lock of its own


@dataclass(slots=True)
class Exchange:
    """One question and what is known of its answer so far."""

    turn: str
    answer: Answer
    done: bool = False
    error: str = ""
    halted: bool = False  # by the user
    began: bool = False
    alone: Answer | None = None  # what the model says without documents, where both were asked for
    result: Answer | None = None  # set by the thread that answers, also when nobody follows it any more
    kb: Path = Path()  # the knowledge base that was asked
    ended: bool = False  # in whatever way: its handler is through
    wait_s: float = 0.0  # until the first word, where the model can tell


@dataclass(slots=True)
class Conversation:
    """The exchanges of one browser tab, by turn, in order: the first `hidden` are not mounted on the page, the
    others are. Changed in place: Gradio keeps the object itself."""

    exchanges: dict[str, Exchange] = field(default_factory=dict)
    hidden: int = 0
    _key: str = ""

    @property
    def key(self) -> str:
        """The secret under which a model keeps what it has read. Made when it is first asked for: Gradio copies the
        first conversation for every tab."""
        self._key = self._key or secrets.token_hex()
        return self._key

    def begin(self, question: str) -> Exchange:
        """Open an exchange with an id that no document or model can know beforehand."""
        exchange = Exchange(secrets.token_hex(4), Answer(question=question, text="", profile=""))
        self.exchanges[exchange.turn] = exchange
        if len(self.exchanges) > MAX_TURNS:
            for turn in list(self.exchanges)[:DROPPED_TURNS]:
                del self.exchanges[turn]
            self.hidden = max(0, self.hidden - DROPPED_TURNS)
        return exchange

    def count(self, messages: Sequence[Message]) -> list[int]:
        """Take from what is mounted how much is hidden before it; give the places of the mounted turns."""
        place = {turn: at for at, turn in enumerate(self.exchanges)}
        ids = [(message.get("metadata") or {}).get("id") for message in messages]
        mounted = [place[turn] for turn in ids if turn in place]
        self.hidden = min(mounted, default=self.hidden)
        return mounted

    def follow(self, messages: Sequence[Message]) -> None:
        """Forget the turns after the last that is mounted: they were undone, retried or edited away."""
        kept = max(self.count(messages), default=self.hidden - 1) + 1
        for turn in list(self.exchanges)[kept:]:
            del self.exchanges[turn]

    def forget(self) -> None:
        """Begin anew."""
        self.exchanges.clear()
        self.hidden = 0

    def busy(self) -> bool:
        """Whether an answer is being made."""
        last = next(reversed(self.exchanges.values()), None)
        return last is not None and not last.ended

    def plain(self, message: Message) -> str:
        """The text of a message without links and remarks; "" once the conversation was cleared."""
        exchange = self.exchanges.get(message["metadata"]["id"])
        if exchange is None:
            return ""
        own = f"{exchange.alone.text}\n\n---\n\n" if exchange.alone else ""
        return own + (exchange.answer.text or exchange.error)

    def history(self, kb: Path) -> list[Turn]:
        """The turns with the knowledge base `kb`, hidden ones too. Their text is ours, not what the browser sent."""
        return [
            Turn(
                exchange.answer.question, exchange.answer.text, exchange.answer.hits, exchange.answer.searched
            )
            for exchange in self.exchanges.values()
            if exchange.answer.text and exchange.kb == kb
        ]


def answerer(
    boot: Boot, strings_for: Callable[[gr.Request], Strings], log_file: str
) -> Callable[..., Iterator[tuple[Message, object]]]:
    """Make the handler of the chat: yields (message, sources panel), the panel before the first word."""

    def answer(
        question: str,
        history: list[Message],
        conversation: Conversation,
        mode: Mode,
        places: list[str] | None,
        request: gr.Request,
    ) -> Iterator[tuple[Message, object]]:
        strings = strings_for(request)
        conversation.follow(history)
        exchange = conversation.begin(question[:MAX_QUESTION])
        stop = threading.Event()
        try:
            while not boot.wait(0.2):
                yield waiting(exchange, strings("waiting")), render.sources_message(strings("state_opening"))
            while mode != "documents" and boot.model.state in {"choosing", "loading"}:
                time.sleep(0.2)
                yield waiting(exchange, strings("waiting_model")), gr.skip()
            how = How(mode, tuple(places or ()))
            engine = boot.engine()
            exchange.kb = engine.settings.kb
            told = conversation.history(exchange.kb)
            yield from _stream(engine, exchange, told, how, stop, strings, conversation.key)
        except RagkitError as error:
            logger.warning("an answer failed: %s", error.code)
            exchange.error = strings.error(error.code)
            yield message(exchange, strings), render.sources_failed(exchange.error, str(error))
        except Exception as error:  # noqa: BLE001  # the handler's edge: Gradio would show its text to the user
            log.failed(logger, "answering", error)
            exchange.error = strings("internal_error", log=log_file)
            yield message(exchange, strings), render.sources_failed(strings("answer_failed"), "")
        except GeneratorExit:
            exchange.halted = True
            raise
        finally:
            exchange.ended = True
            stop.set()  # runs on Gradio's event loop when the user stops: nothing here may block

    return answer


@dataclass(frozen=True, slots=True)
class How:
    """How a question is asked: of the documents in `places` (of all, without any), of the model alone, or both."""

    mode: Mode = "documents"
    places: tuple[str, ...] = ()


def _stream(
    engine: Engine,
    exchange: Exchange,
    history: list[Turn],
    how: How,
    stop: threading.Event,
    strings: Strings,
    key: str,
) -> Iterator[tuple[Message, object]]:
    question = exchange.answer.question
    filters = Filters(places=how.places)

    def work(put: Callable[[tuple[Event, bool]], None]) -> None:
        if how.mode == "both":
            for event in engine.stream(
                question, history=history, documents=False, stop=stop, conversation=key
            ):
                put((event, True))
        documents = how.mode != "model"
        for event in engine.stream(
            question, history=history, documents=documents, filters=filters, stop=stop, conversation=key
        ):
            if isinstance(event, Done):
                exchange.result = event.answer
            put((event, False))

    exchange.began = True
    shown_at = 0.0
    yield message(exchange, strings), render.sources_message(strings("sources_waiting"))
    for told in Background(work):
        event, alone = told or (None, False)
        apply(event, exchange, alone=alone)
        if isinstance(event, Retrieved) and not alone:
            yield message(exchange, strings), panel(exchange, engine, strings)
        elif time.monotonic() - shown_at >= THROTTLE_S:
            # Also with nothing new: only at a yield can Gradio stop this generator.
            yield message(exchange, strings), gr.skip()
        else:
            continue
        shown_at = time.monotonic()
    yield message(exchange, strings), panel(exchange, engine, strings)  # whole: an API caller sees only this


def after_stop(
    boot: Boot, strings_for: Callable[[gr.Request], Strings]
) -> Callable[..., tuple[object, object, object]]:
    """Make the handler that finishes an answer which the user stopped: (messages, the same, sources panel)."""

    def finish(
        conversation: Conversation, messages: list[Message], request: gr.Request
    ) -> tuple[object, object, object]:
        exchange = next(reversed(conversation.exchanges.values()), None)
        if exchange is None and messages and messages[-1]["role"] == "assistant":
            return [], [], gr.skip()  # the conversation was cleared, and this was on its way to the browser
        if exchange is None or not exchange.halted or exchange.done:
            return gr.skip(), gr.skip(), gr.skip()
        deadline = time.monotonic() + (STOP_WAIT_S if exchange.began else 0)
        while exchange.result is None and time.monotonic() < deadline:
            time.sleep(0.05)  # a model ends after the word, or the layer, that it is at
        exchange.answer, exchange.done = exchange.result or replace(exchange.answer, stopped=True), True
        strings = strings_for(request)
        is_last = bool(messages) and (messages[-1].get("metadata") or {}).get("id") == exchange.turn
        shown = [*(messages[:-1] if is_last else messages), message(exchange, strings)]
        sources = (
            panel(exchange, boot.engine(), strings) if exchange.answer.hits else render.sources_empty(strings)
        )
        return shown, shown, sources

    return finish


def apply(event: Event | None, exchange: Exchange, *, alone: bool = False) -> None:
    """Bring an event into the exchange; `alone`: into what the model says without documents."""
    answer = (exchange.alone or Answer(exchange.answer.question, "", "")) if alone else exchange.answer
    match event:
        case Retrieved(hits=hits, coverage=coverage, searched=searched):
            answer = replace(answer, hits=hits, coverage=coverage, searched=searched)
            exchange.wait_s = event.wait_s or 0.0
        case Delta(text=text):
            answer = replace(answer, text=answer.text + text)
        case Done(answer=whole):
            answer = whole
    if alone:
        exchange.alone = answer
    else:
        exchange.answer, exchange.done = answer, exchange.done or isinstance(event, Done)


def waiting(exchange: Exchange, text: str) -> Message:
    """The message while what is to answer is not there yet."""
    return _message(exchange.turn, [markup.note("busy", text)])


def message(exchange: Exchange, strings: Strings) -> Message:
    """The answer as far as it is known, with what the page has to say about it."""
    if exchange.alone is not None:
        pair = (
            (strings("mode_model"), markup.answer_markdown(exchange.alone.text, exchange.turn, 0, strings)),
            (strings("mode_documents"), "\n\n".join(_parts(exchange, strings))),
        )
        return _message(exchange.turn, [markup.pair(pair)])
    return _message(exchange.turn, _parts(exchange, strings))


def _parts(exchange: Exchange, strings: Strings) -> list[str]:
    answer = exchange.answer
    parts = (
        [
            markup.answer_markdown(
                answer.text,
                exchange.turn,
                len(answer.hits),
                strings,
                citations=answer.citations,
                unsupported=answer.unsupported,
            )
        ]
        if answer.text
        else []
    )
    if not parts and exchange.began and not (exchange.done or exchange.error):
        parts.append(markup.note("busy", _under_way(exchange, strings)))
    if exchange.error:
        parts.append(markup.note("failed", exchange.error))
    elif exchange.done and exchange.halted:
        parts.append(markup.note("weak", strings("note_halted" if answer.text else "note_halted_early")))
    elif exchange.done and answer.stopped:  # because the model was switched
        parts.append(markup.note("weak", strings("note_stopped")))
    elif exchange.done and answer.weak:
        parts.append(markup.note("weak", strings("note_weak")))
    if exchange.done and answer.hits and not answer.refused:
        parts.append(markup.all_sources(exchange.turn, len(answer.hits), strings))
    if exchange.done and answer.kind == "model_only" and answer.text:
        parts.append(markup.note("weak", strings("note_model_only")))
    return parts


def _under_way(exchange: Exchange, strings: Strings) -> str:
    """What is being done before the first word, and how long it takes where that is long."""
    doing = strings("writing" if exchange.answer.hits else "searching")
    if exchange.wait_s <= LONG_WAIT_S:
        return doing
    return f"{doing} {strings('first_word', seconds=round(exchange.wait_s))}"


def _message(turn: str, parts: Sequence[str]) -> Message:
    return {"role": "assistant", "content": "\n\n".join(parts), "metadata": {"id": turn}}


def without_deleted(answer: Answer, engine: Engine) -> Answer:
    """The answer without the passages of documents that were deleted since; numbers stay as they are."""
    there = {document.id for document in engine.documents()}
    return replace(
        answer,
        hits=tuple(
            hit if hit.doc_id in there else replace(hit, source="", title="", text="", heading=(), page=None)
            for hit in answer.hits
        ),
        citations=tuple(citation for citation in answer.citations if citation.doc_id in there),
    )


def panel(exchange: Exchange, engine: Engine, strings: Strings) -> str:
    """The sources of an exchange."""
    return render.sources(
        exchange.turn,
        exchange.answer,
        strings,
        done=exchange.done,
        semantic=engine.embedding.state in {"waiting", "loading", "ready"},
    )
