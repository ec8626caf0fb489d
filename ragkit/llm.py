"""A local chat model as LlamaIndex's LLM: `load(folder)` gives a LocalLLM, also called InternLM2.

Owns how a conversation becomes token ids, which options a call may have, and how pieces become LlamaIndex's
responses. How tokens are made is `generation`'s business, how a model gets into memory `loading`'s.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, cast

from jinja2 import TemplateError
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import default_completion_to_prompt
from llama_index.llms.huggingface import HuggingFaceLLM
from pydantic import PrivateAttr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ragkit import loading
from ragkit.errors import UsageError
from ragkit.generation import Options, probe
from ragkit.load_plan import CONTEXT, LoadPlan, plan_first
from ragkit.memory import held_bytes, release_memory
from ragkit.model_facts import device_facts, has_quantiser, model_facts
from ragkit.prefix_cache import find_marks
from ragkit.responses import (
    Closable,
    Response,
    aclosable,
    aresponses,
    chat_response,
    completion_response,
    responses,
    whole,
)
from ragkit.worker import AsyncStream, Stream, Worker

_MAX_TOKENS = 512
_OPTIONS = (
    *("max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "stop", "do_sample", "seed"),
    *("lookup", "conversation"),
)
# Chat templates know three roles; a model that was taught no tools reads their results as said by the user.
_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}
_NO_TEXT = ("image", "audio", "video", "document")
_LIMITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "max_tokens": ("at least 1", lambda value: value >= 1),
    "temperature": ("0 or more", lambda value: value >= 0),
    "top_p": ("over 0 and at most 1", lambda value: 0 < value <= 1),
    "top_k": ("0 (all) or more", lambda value: value >= 0),
    "repetition_penalty": ("over 0", lambda value: value > 0),
}


def load(
    folder: Path | str,
    *,
    precision: str = "auto",
    device: str = "auto",
    context: int | None = None,
    progress: loading.Progress | None = None,
    cache_dir: Path | None = None,
) -> LocalLLM:
    """Load a chat model from a folder or a .gguf file; refuse before loading what does not fit. Raises ModelError.

    `context` limits the window, and the memory that is reckoned with, to so many tokens; by default the window is
    the model's own and memory for CONTEXT tokens is asked for.
    """
    facts = model_facts(folder)
    devices = [device_facts(device)]
    if device == "auto" and devices[0].kind != "cpu":
        devices.append(device_facts("cpu"))
    plan = plan_first(facts, devices, precision, context=context or CONTEXT, quantiser=has_quantiser())
    model, tokenizer = loading.load_parts(facts, plan, progress=progress, cache_dir=cache_dir)
    return LocalLLM(model, tokenizer, model_name=facts.name, context_window=context, plan=plan)


class LocalLLM(HuggingFaceLLM):  # type: ignore[misc]
    """A chat model in this process. Answers one request at a time, in the order in which they came.

    Greedy unless a temperature is given. Options of a call, or of every call as `generate_kwargs`: max_tokens (or
    max_new_tokens), temperature, top_p, top_k, repetition_penalty, stop, do_sample, seed, lookup (False: no guessing
    ahead). A prompt that leaves no room for max_tokens in the window is refused with UsageError, never cut.

    With the option `conversation`, a random key that nobody else has, what the prompts of a conversation begin with is
    read once; see `prefix_cache`. `forget` drops it.

    Text inside a message that spells a special token (<|im_end|>, <s>) is broken up by a space: a document must not
    be able to end its turn and speak as the system.
    """

    _worker: Worker = PrivateAttr()
    _plan: LoadPlan | None = PrivateAttr()
    _special: re.Pattern[str] = PrivateAttr()

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model_name: str = "",
        context_window: int | None = None,
        max_new_tokens: int | None = None,
        plan: LoadPlan | None = None,
        **fields: Any,
    ) -> None:
        """Take a loaded model; `fields` are HuggingFaceLLM's (system_prompt, generate_kwargs, ...)."""
        positions = model.config.get_text_config(decoder=True).max_position_embeddings
        window = min(context_window or positions, positions)
        name = model_name or Path(model.name_or_path or "").name
        super().__init__(
            model=model,
            tokenizer=tokenizer,
            model_name=name,
            tokenizer_name=name,
            context_window=window,
            max_new_tokens=max_new_tokens or min(_MAX_TOKENS, window // 2),
            is_chat_model=True,
            **fields,
        )
        assert model.generation_config is not None
        ends = model.generation_config.eos_token_id
        self._plan = plan
        self._special = _special_tokens(tokenizer)
        end_ids = frozenset(ends if isinstance(ends, list) else [ends])
        self._worker = Worker(model, tokenizer, end_ids, find_marks(tokenizer))
        # The thread holds the worker, not this object: one that is dropped without close() ends it too.
        weakref.finalize(self, self._worker.shutdown)
        self._options({})  # generate_kwargs that are wrong show now
        if "conversation" in self.generate_kwargs:
            raise UsageError(
                "one conversation for all calls would mix what users ask", "Give it to each call."
            )

    @classmethod
    def class_name(cls) -> str:
        return "LocalLLM"

    @property
    def plan(self) -> LoadPlan | None:
        """How the model was loaded, when `load` did it."""
        return self._plan

    def held_bytes(self) -> dict[str, int]:
        """The memory that `close` would give back, by device; nothing once it is closed."""
        model: Any = self._model
        held: dict[str, int] = {} if model is None else held_bytes(model)
        if held:
            held[str(model.device)] = held.get(str(model.device), 0) + self._worker.kept.held_bytes()
        return held

    def forget(self, conversation: str) -> None:
        """Drop what was read of a conversation. From any thread; never waits."""
        self._worker.kept.forget(conversation)

    def wait_s(self, messages: Sequence[ChatMessage], conversation: str = "") -> float | None:
        """Seconds until the first word if these messages were sent now and nobody else asked; None before anything
        was measured. Only what was not read yet counts."""
        return self._worker.pace.wait_s(self._worker.unread(conversation, self._chat_ids(messages)))

    def probe(self) -> None:
        """Measure the model before the first question: a short prompt, and what guessing ahead costs."""
        model: Any = self._model
        probe(model, self._worker.pace)

    def __repr__(self) -> str:
        how = f", {self._plan.label} on {self._plan.device}" if self._plan else ""
        return f"{self.class_name()}({self.model_name!r}{how})"

    __str__ = __repr__

    def close(self) -> None:
        """Free the model's memory; what is being generated ends with an error after at most one more forward."""
        self._worker.close()
        self._model = None
        release_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One road for the eight methods: ids and options, a stream of pieces, LlamaIndex's responses.

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return self._answer(self._chat_ids(messages), kwargs, chat_response)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt as a conversation of one message; `formatted`: continue exactly this text."""
        return self._answer(self._completion_ids(prompt, formatted), kwargs, completion_response)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation piece by piece. Closing the stream, from any thread, stops the generation."""
        stream = Stream(self._worker, *self._checked(self._chat_ids(messages), kwargs))

        @llm_chat_callback()
        def traced(_self: Self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
            return responses(stream, chat_response)

        return Closable(traced(self, messages, **kwargs), stream.request)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Answer as `complete` does, piece by piece. Closing the stream, from any thread, stops the generation."""
        stream = Stream(self._worker, *self._checked(self._completion_ids(prompt, formatted), kwargs))

        @llm_completion_callback()
        def traced(_self: Self, prompt: str, **kwargs: Any) -> CompletionResponseGen:
            return responses(stream, completion_response)

        return Closable(traced(self, prompt, **kwargs), stream.request)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation without ever holding up the event loop."""
        ids = await asyncio.to_thread(self._chat_ids, messages)
        return await self._aanswer(ids, kwargs, chat_response)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer as `complete` does, without ever holding up the event loop."""
        ids = await asyncio.to_thread(self._completion_ids, prompt, formatted)
        return await self._aanswer(ids, kwargs, completion_response)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation piece by piece, without ever holding up the event loop."""
        ids = await asyncio.to_thread(self._chat_ids, messages)
        stream = AsyncStream(self._worker, *self._checked(ids, kwargs))

        @llm_chat_callback()
        async def traced(_self: Self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
            return aresponses(stream, chat_response)

        return aclosable(await traced(self, messages, **kwargs), stream.request)

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Answer as `complete` does, piece by piece, without ever holding up the event loop."""
        ids = await asyncio.to_thread(self._completion_ids, prompt, formatted)
        stream = AsyncStream(self._worker, *self._checked(ids, kwargs))

        @llm_completion_callback()
        async def traced(_self: Self, prompt: str, **kwargs: Any) -> CompletionResponseAsyncGen:
            return aresponses(stream, completion_response)

        return aclosable(await traced(self, prompt, **kwargs), stream.request)

    def _answer(
        self, ids: Sequence[int], kwargs: Mapping[str, Any], make: Callable[..., Response]
    ) -> Response:
        return whole(list(Stream(self._worker, *self._checked(ids, kwargs))), len(ids), make)

    async def _aanswer(
        self, ids: Sequence[int], kwargs: Mapping[str, Any], make: Callable[..., Response]
    ) -> Response:
        stream = AsyncStream(self._worker, *self._checked(ids, kwargs))
        async with aclosing(aiter(stream)) as pieces:  # a task that is cancelled gives its place up at once
            return whole([piece async for piece in pieces], len(ids), make)

    # What goes in

    def _tokenizer_messages_to_prompt(self, messages: Sequence[ChatMessage]) -> str:
        """Render a conversation by the model's own template; it begins with <s> where the model wants one."""
        plain = [
            {"role": _ROLES.get(message.role, "user"), "content": self._harmless(_text_of(message))}
            for message in messages
        ]
        try:
            text = self._tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise UsageError(
                f"the chat template of {self.model_name} does not take these messages: {error}",
                "Many models want user and assistant in turn, and some no system message.",
            ) from error
        return cast(str, text)

    def _harmless(self, text: str) -> str:
        return self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _chat_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        text = self.messages_to_prompt(messages)
        own_template = self.messages_to_prompt == self._tokenizer_messages_to_prompt
        return self._encode(text, complete=own_template)

    def _completion_ids(self, prompt: str, formatted: bool) -> list[int]:
        if formatted:
            return self._encode(prompt)
        if self.query_wrapper_prompt:
            prompt = self.query_wrapper_prompt.format(query_str=prompt)
        if self.completion_to_prompt is not default_completion_to_prompt:
            return self._encode(self.completion_to_prompt(prompt))
        system = [ChatMessage(self.system_prompt, role=MessageRole.SYSTEM)] if self.system_prompt else []
        return self._chat_ids([*system, ChatMessage(prompt)])

    def _encode(self, text: str, *, complete: bool = False) -> list[int]:
        """Tokenise; the tokenizer adds what begins a text unless the text is `complete` or has it already."""
        bos = self._tokenizer.bos_token
        add = not complete and not (bos and text.startswith(bos))
        return cast(list[int], self._tokenizer(text, add_special_tokens=add).input_ids)

    def _checked(self, ids: Sequence[int], kwargs: Mapping[str, Any]) -> tuple[Sequence[int], Options]:
        """Return ids and options of a call, or refuse a prompt that leaves no room for the answer."""
        options = self._options(kwargs)
        room = self.context_window - options.max_tokens
        if not ids:
            raise UsageError("the prompt is empty", "Ask something.")
        if len(ids) > room:
            raise UsageError(
                f"the prompt has {len(ids):,} tokens, but only {max(room, 0):,} fit: the window of {self.model_name} "
                f"has {self.context_window:,}, and {options.max_tokens:,} are kept for the answer",
                "Ask with fewer or shorter passages, clear the conversation, or lower max_tokens.",
            )
        return ids, options

    def _options(self, kwargs: Mapping[str, Any]) -> Options:
        """Merge the options of every call with those of this one; None counts as not given."""
        given: dict[str, Any] = {"max_tokens": self.max_new_tokens}
        for options in (self.generate_kwargs, kwargs):
            for name, value in options.items():
                name = "max_tokens" if name == "max_new_tokens" else name
                if name not in _OPTIONS:
                    raise UsageError(f"unknown option {name!r}", f"Known options: {', '.join(_OPTIONS)}.")
                if value is not None:
                    given[name] = value
        temperature = given.pop("temperature", None)
        if not given.pop("do_sample", bool(temperature)):
            temperature = 0.0
        stop = given.pop("stop", ())
        options = Options(
            temperature=1.0 if temperature is None else temperature,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            **given,
        )
        for name, (allowed, fits) in _LIMITS.items():
            if not fits(getattr(options, name)):
                raise UsageError(f"{name} is {getattr(options, name)!r}", f"It must be {allowed}.")
        return options


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return what matches every special token in a text, and every added one that the chat template writes
    (DeepSeek's <｜User｜> is not marked as special); with none, nothing."""
    template = str(tokenizer.chat_template or "")  # of a model with several, all of them
    added = tokenizer.added_tokens_decoder.values()
    tokens = {token.content for token in added if token.special or token.content in template}
    # White space is no sign of a turn, though tokenizers add runs of it and templates hold them.
    control = {token for token in tokens | set(tokenizer.all_special_tokens) if token.strip()}
    longest_first = sorted(control, key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in longest_first) or r"(?!)")


def _text_of(message: ChatMessage) -> str:
    """Return a message's text; templates cannot render None, which tool calls have for content."""
    other = [block.block_type for block in message.blocks if block.block_type in _NO_TEXT]
    if other:
        raise UsageError(f"this model reads text, but a message holds {other[0]}", "Send text only.")
    return message.content or ""


InternLM2 = LocalLLM
