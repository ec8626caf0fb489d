"""From a question to an answer: what was meant, what was found, whether it fits, and who says it.

Yields Retrieved, then Delta by Delta, then Done; the same for every profile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragkit import citations, intent, outline, passages, prompts, quotes, understanding
from ragkit.config import Settings
from ragkit.errors import GenerationError, RagkitError, UsageError
from ragkit.gate import Fit, Verdict
from ragkit.markers import MarkerStream
from ragkit.retrieval import Retrieval
from ragkit.schema import (
    Answer,
    Citation,
    Coverage,
    Delta,
    Document,
    Done,
    Event,
    Filters,
    Hit,
    Language,
    Retrieved,
    Turn,
)
from ragkit.store import Store
from ragkit.text import language

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage, ChatResponseGen
    from llama_index.core.llms import LLM

logger = logging.getLogger(__name__)

_SIMPLE_PASSAGES = 2  # what the smallest models can keep apart
_LONGEST_SENTENCE = (
    1000  # characters that are looked at beyond a passage, for the ends of its outer sentences
)
_ONE_LINE: dict[str, Any] = {"max_tokens": 96, "temperature": 0.0}
_LONGEST_LINE = 400  # characters
_LEAST_OUTPUT = 256  # tokens of the window that a prompt leaves to the answer
# A slow machine reads 30 tokens a second: six passages are a minute. It gets fewer of them, the best ones, so that
# the first word is there after about this time; but never fewer than some questions need.
TARGET_WAIT_S = 20.0
_FEWEST_PASSAGES = 2


@dataclass(frozen=True, slots=True)
class Answerer:
    """What answers one question. `retrieve(question, limit, filters)` finds the passages, `judge(fit)` says
    whether they are to be used; without `llm` they are quoted."""

    settings: Settings
    store: Store
    llm: LLM | None
    profile: str
    retrieve: Callable[[str, int, Filters], Retrieval]
    judge: Callable[[Fit], Verdict]
    spoken: Callable[[], dict[Language, float]]  # the share of the documents in each language
    simple: bool = False  # the model is one of the smallest
    embed: citations.Embed | None = None
    conversation: str = ""  # the secret key under which a model may keep what it has read

    def stream(
        self,
        question: str,
        coverage: Coverage,
        history: Sequence[Turn],
        filters: Filters,
        stop: threading.Event,
    ) -> Iterator[Event]:
        """Answer from the documents, or with one of ragkit's own sentences."""
        said = intent.classify(question)
        speaks = language(question)
        blank = Answer(question, "", self.profile, coverage=coverage)
        if said.kind == "outline" and (chosen := self._outlined(said.target, filters)):
            yield from self._outline(blank, chosen)
        elif said.kind not in ("outline", "question"):
            yield from _say(replace(blank, text=prompts.reply(said.kind, speaks), kind="small_talk"))
        elif not coverage.chunks:
            yield from _say(replace(blank, text=prompts.reply("empty", speaks), refused=True))
        else:
            yield from self._from_documents(blank, history, filters, stop)

    def without_documents(
        self, question: str, history: Sequence[Turn], stop: threading.Event
    ) -> Iterator[Event]:
        """What the model says on its own."""
        blank = Answer(question, "", self.profile, kind="model_only")
        speaks = language(question)
        if self.llm is None:
            yield from _say(replace(blank, text=prompts.reply("no_model", speaks), kind="small_talk"))
            return
        room, instructions = self._room(self.llm), self.settings.instructions
        messages = prompts.without_documents(question, history, speaks, instructions, budget=room)
        key = _keys(self.conversation)[1]
        yield Retrieved((), blank.coverage, wait_s=self._wait_s(self.llm, messages, key))
        text = ""
        for piece in self._pieces(self._stream_chat(self.llm, messages, key, **self._options()), stop):
            text += piece
            yield Delta(piece)
        yield Done(replace(blank, text=text, stopped=stop.is_set()))

    def _from_documents(
        self, blank: Answer, history: Sequence[Turn], filters: Filters, stop: threading.Event
    ) -> Iterator[Event]:
        found = understanding.find(
            blank.question,
            history,
            lambda question: self._look(question, filters),
            None if self.llm is None or self.simple else lambda messages: self._complete(messages, stop),
            self.spoken,
            self.store.longer_forms,
        )
        if found.searched != blank.question:
            blank = replace(blank, searched=found.searched)
        if found.verdict == "refuse":
            said = "other_language" if found.other_language else "not_found"
            text = prompts.reply(said, language(blank.question))
            yield from _say(replace(blank, text=text, refused=True, other_language=found.other_language))
            return
        ranked = found.retrieval.ranked
        hits = passages.of_settings(ranked, self.settings, self.store.slice).passages
        hits, wait_s = self._readable(hits, blank.question, history)
        answer = replace(blank, hits=hits, weak=found.verdict == "weak")
        yield Retrieved(hits, blank.coverage, blank.searched, wait_s)
        if self.llm is None:
            yield from _quote(answer, found.retrieval, self._around)
        else:
            yield from self._answer_by_model(self.llm, answer, history, stop)

    def _look(self, question: str, filters: Filters) -> tuple[Retrieval, Verdict]:
        found = self.retrieve(question, self.settings.passages, filters)
        return found, self.judge(found.fits)

    def _readable(
        self, hits: tuple[Hit, ...], question: str, history: Sequence[Turn]
    ) -> tuple[tuple[Hit, ...], float | None]:
        """As many of the passages as are read in TARGET_WAIT_S, and how long that takes, where it is known. What the
        model keeps of the conversation takes no time. The next prompts repeat these passages, so it is decided here,
        once."""
        if self.llm is None:
            return hits, None
        fewest = min(len(hits), _FEWEST_PASSAGES)
        wait_s = None
        for given in range(len(hits), fewest - 1, -1):
            messages, _ = self._messages(self.llm, question, hits[:given], history)
            wait_s = self._wait_s(self.llm, messages, self.conversation)
            if wait_s is None or wait_s <= TARGET_WAIT_S or given == fewest:
                return hits[:given], wait_s
        return hits, wait_s

    def _wait_s(self, llm: LLM, messages: Sequence[prompts.Message], key: str) -> float | None:
        """How long the model says that it reads these messages; None where it is none of ours, or cannot tell."""
        wait_s: Callable[..., float | None] | None = getattr(llm, "wait_s", None)
        with suppress(UsageError):  # it will be raised again when they are sent
            return wait_s(_chat_messages(messages), key) if wait_s else None
        return None

    def _complete(self, messages: Sequence[prompts.Message], stop: threading.Event) -> str:
        """A line that the model writes for ragkit, not for the user; "" when it fails: then a rule does."""
        assert self.llm is not None
        said = ""
        try:
            for piece in self._pieces(self._stream_chat(self.llm, messages, **_ONE_LINE), stop):
                said += piece
                if "\n" in said.lstrip() or len(said) > _LONGEST_LINE:
                    break
        except (GenerationError, UsageError) as error:
            logger.info("a question was not rewritten: %s", error.code)
            return ""
        return said

    def _answer_by_model(
        self, llm: LLM, answer: Answer, history: Sequence[Turn], stop: threading.Event
    ) -> Iterator[Event]:
        responses, given = self._ask(llm, answer, history)
        markers = MarkerStream(given)
        text = ""
        for piece in self._pieces(responses, stop):
            if clean := markers.feed(piece):
                text += clean
                yield Delta(clean)
        if rest := markers.finish():
            text += rest
            yield Delta(rest)
        stopped = stop.is_set()
        checked = citations.check(text, answer.hits[:given], embed=self.embed, cut=stopped)
        yield Done(
            replace(
                answer,
                text=checked.text,
                stopped=stopped,
                citations=checked.citations,
                unsupported=checked.unsupported,
            )
        )

    def _ask(self, llm: LLM, answer: Answer, history: Sequence[Turn]) -> tuple[ChatResponseGen, int]:
        """Put the question to the model, and say how many of the passages it was given.

        A model that finds the prompt too long gets less: first without the history, then with fewer
        passages, the best ones first.
        """
        shorter: list[tuple[Sequence[Turn], int]] = [((), n) for n in range(len(answer.hits), 0, -1)]
        refused: UsageError | None = None
        for turns, most in [(history, len(answer.hits)), *shorter]:
            messages, given = self._messages(llm, answer.question, answer.hits[:most], turns)
            try:
                return self._stream_chat(llm, messages, self.conversation, **self._options()), given
            except UsageError as error:
                logger.info("the prompt with %d passages and %d turns is too long", given, len(turns))
                refused = error
        assert refused is not None
        raise refused

    def _messages(
        self, llm: LLM, question: str, hits: Sequence[Hit], history: Sequence[Turn]
    ) -> tuple[list[prompts.Message], int]:
        """The prompt, and how many of the passages are in it."""
        if self.simple:
            hits = hits[:_SIMPLE_PASSAGES]
            return prompts.simple(question, hits), len(hits)
        speaks, instructions = language(question), self.settings.instructions
        room = self._room(llm)
        return prompts.with_documents(question, hits, history, speaks, room, instructions), len(hits)

    def _room(self, llm: LLM) -> int:
        """Tokens of the window that a prompt may take."""
        output = self.settings.max_tokens or llm.metadata.num_output
        return llm.metadata.context_window - max(output, _LEAST_OUTPUT)

    def _options(self) -> dict[str, Any]:
        """How an answer is to be written, where that is chosen."""
        chosen = {"temperature": self.settings.temperature, "max_tokens": self.settings.max_tokens}
        return {name: value for name, value in chosen.items() if value}

    def _stream_chat(
        self, llm: LLM, messages: Sequence[prompts.Message], key: str = "", **options: Any
    ) -> ChatResponseGen:
        if key and hasattr(
            llm, "forget"
        ):  # a model in this process; a server would refuse what it does not know
            options["conversation"] = key
        with self._model_errors():
            return llm.stream_chat(_chat_messages(messages), **options)

    def _pieces(self, responses: ChatResponseGen, stop: threading.Event) -> Iterator[str]:
        """The model's words as they come, until it ends or `stop` is set."""
        with self._model_errors(), closing(responses), _closed_by(stop, responses):
            for response in responses:
                if stop.is_set():
                    return
                if response.delta:
                    yield response.delta

    @contextmanager
    def _model_errors(self) -> Iterator[None]:
        """Turn what a model raises, whatever stands behind it, into GenerationError."""
        try:
            yield
        except RagkitError:
            raise
        except Exception as error:
            logger.warning("generation failed: %s", type(error).__name__)
            raise GenerationError(
                f"the model {self.profile} failed: {type(error).__name__}: {error}",
                "Ask again, or restart ragkit.",
            ) from error

    def _around(self, hit: Hit) -> tuple[str, str]:
        """What stands before and after a passage in its paragraph, or as much as a sentence may take."""
        before = self.store.slice(hit.doc_id, max(0, hit.start - _LONGEST_SENTENCE), hit.start)
        after = self.store.slice(hit.doc_id, hit.end, hit.end + _LONGEST_SENTENCE)
        return before[before.rfind("\n\n") + 1 :], after.partition("\n\n")[0]

    def _outlined(self, target: str, filters: Filters) -> list[Document]:
        """The documents that an outline is asked of; none when `target` names none: then it is a question."""
        wanted = self.store.matching(filters)
        ready = [
            document
            for document in self.store.documents()
            if document.chunks and (wanted is None or document.id in wanted)
        ]
        return outline.named(target, ready) if target else ready

    def _outline(self, blank: Answer, documents: Sequence[Document]) -> Iterator[Event]:
        ids = [document.id for document in documents[: outline.MOST_DOCUMENTS]]
        with self.store.reading():
            openings = tuple(chunk.hit() for chunk in self.store.opening_chunks(ids))
            headings = self.store.headings(ids)
        text, cited = outline.write(documents, openings, headings, language(blank.question))
        answer = replace(blank, text=text, hits=openings, citations=tuple(cited), kind="outline")
        yield from _say(answer)


def forget(llm: LLM | None, conversation: str) -> None:
    """Let a model drop what it has read of a conversation."""
    if drop := getattr(llm, "forget", None):
        for key in _keys(conversation):
            drop(key)


def _keys(conversation: str) -> tuple[str, str]:
    """The keys of a conversation's prompts with documents and without: side by side, neither takes the other's place."""
    return conversation, conversation and f"{conversation}-alone"


def _chat_messages(messages: Sequence[prompts.Message]) -> list[ChatMessage]:
    from llama_index.core.base.llms.types import ChatMessage

    return [ChatMessage(role=message.role, content=message.content) for message in messages]


@contextmanager
def _closed_by(stop: threading.Event, responses: ChatResponseGen) -> Iterator[None]:
    """Close the model's stream as soon as `stop` is set, also while we wait for its first word, which
    takes half a minute on a slow machine."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if stop.wait(timeout=0.1):
                with suppress(ValueError):  # a generator of another make, that runs: it ends at its next word
                    responses.close()
                return

    threading.Thread(target=watch, name="ragkit-stop", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _quote(answer: Answer, found: Retrieval, around: quotes.Around) -> Iterator[Event]:
    chosen = quotes.select(answer.searched or answer.question, answer.hits, found.weights, around)
    text = ""
    citations: list[Citation] = []
    for quote in chosen:
        piece = quotes.shown(quote)
        gap = "\n\n" if text else ""
        # On a line of its own where it would else be a part of a table's cell, or keep code from ending.
        is_block = piece.startswith("|") or piece.rstrip().endswith(("```", "~~~"))
        mark = f"\n\n[{quote.number}]" if is_block else f" [{quote.number}]"
        start = len(text) + len(gap)
        text += gap + piece + mark
        citations.append(replace(quote.citation, at=(start, len(text))))
        yield Delta(gap + piece + mark)
    yield Done(replace(answer, text=text, citations=tuple(citations)))


def _say(answer: Answer) -> Iterator[Event]:
    """A finished text by the same events as any answer."""
    yield Retrieved(answer.hits, answer.coverage, answer.searched)
    for line in answer.text.splitlines(keepends=True):
        yield Delta(line)
    yield Done(answer)
