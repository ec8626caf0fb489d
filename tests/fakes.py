"""Stand-ins at LlamaIndex's own seams. They record what they were asked; nothing is patched."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import CustomLLM
from pydantic import Field, PrivateAttr

from ragkit.text import analyse


class WordEmbedding(BaseEmbedding):
    """Texts that share words lie near each other: every term has a fixed random direction."""

    model_name: str = "words"
    dim: int = 64
    embedded: list[str] = Field(default_factory=list)
    fail_after: int = 1 << 30  # texts; the next one raises

    def _vector(self, text: str) -> list[float]:
        total = np.zeros(self.dim)
        for token in analyse(text):
            seed = int.from_bytes(hashlib.blake2b(token.term.encode(), digest_size=8).digest(), "big")
            total += np.random.default_rng(seed).standard_normal(self.dim)
        return [float(value) for value in total]

    def _get_text_embedding(self, text: str) -> list[float]:
        if len(self.embedded) >= self.fail_after:
            raise RuntimeError("out of memory")
        self.embedded.append(text)
        return self._vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._vector(query)


class ScriptedLLM(CustomLLM):
    """Says what was queued, piece by piece; `asked` keeps every prompt, `options` how it was asked. A queued exception is raised."""

    name: str = "scripted"
    window: int = 4096
    asked: list[list[ChatMessage]] = Field(default_factory=list)
    options: list[dict[str, Any]] = Field(default_factory=list)  # of every call
    pause_s: float = 0.0  # before each piece
    _answers: deque[Any] = PrivateAttr(default_factory=deque)
    _never: threading.Event = PrivateAttr(default_factory=threading.Event)

    def enqueue(self, answer: str | Sequence[str] | Exception) -> ScriptedLLM:
        self._answers.append([answer] if isinstance(answer, str) else answer)
        return self

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            model_name=self.name, context_window=self.window, num_output=256, is_chat_model=True
        )

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        self.asked.append(list(messages))
        self.options.append(kwargs)
        answer = self._answers.popleft()

        def pieces() -> ChatResponseGen:
            if isinstance(answer, Exception):
                raise answer
            text = ""
            for piece in answer:
                self._never.wait(self.pause_s)
                text += piece
                yield ChatResponse(message=ChatMessage(role="assistant", content=text), delta=piece)

        return pieces()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="".join(self._answers.popleft()))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise AssertionError("ragkit chats; it does not complete")


_PASSAGE = re.compile(r"\[(\d+)\] <passage>\n(.*?)\n</passage>(?:\n\n|\Z)", re.S)


def passages_told(prompt: str) -> list[str]:
    """The passages of a user's message, as a reader would find them who knows only the marks of a prompt:
    numbered from 1, one after the other, with no mark anywhere else."""
    head, body = prompt.split("\n", 1)
    sources, last, _question = body.rpartition("\n\n" + ("问题：" if head == "资料：" else "Question: "))
    assert head in ("资料：", "Sources:") and last
    found = list(_PASSAGE.finditer(sources))
    assert "".join(one[0] for one in found) == sources
    assert [int(one[1]) for one in found] == list(range(1, len(found) + 1))
    assert len(re.findall(r"(?i)<\s*/?\s*passage", prompt)) == 2 * len(found)
    return [one[2] for one in found]
