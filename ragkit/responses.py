"""The pieces of an answer as LlamaIndex's responses, whole or streamed, with token counts.

Knows neither the model nor the prompt.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole

from ragkit.worker import AsyncStream, Piece, Request, Stream

Response = TypeVar("Response", ChatResponse, CompletionResponse)


def chat_response(text: str, delta: str | None, raw: dict[str, Any]) -> ChatResponse:
    return ChatResponse(message=ChatMessage(text, role=MessageRole.ASSISTANT), delta=delta, raw=raw)


def completion_response(text: str, delta: str | None, raw: dict[str, Any]) -> CompletionResponse:
    return CompletionResponse(text=text, delta=delta, raw=raw)


def _raw(piece: Piece, n_prompt: int) -> dict[str, Any]:
    """The counts under the names that LlamaIndex's TokenCountingHandler looks for."""
    usage = {
        "prompt_tokens": n_prompt,
        "completion_tokens": piece.tokens,
        "total_tokens": n_prompt + piece.tokens,
    }
    return {"usage": usage, "finish_reason": piece.finish}


def whole(pieces: Sequence[Piece], n_prompt: int, make: Callable[..., Response]) -> Response:
    return make("".join(piece.text for piece in pieces), None, _raw(pieces[-1], n_prompt))


def responses(stream: Stream, make: Callable[..., Response]) -> Generator[Response, None, None]:
    text = ""
    for piece in stream:
        text += piece.text
        yield make(text, piece.text, _raw(piece, len(stream.request.prompt)))


async def aresponses(stream: AsyncStream, make: Callable[..., Response]) -> AsyncGenerator[Response, None]:
    text = ""
    async with aclosing(aiter(stream)) as pieces:
        async for piece in pieces:
            text += piece.text
            yield make(text, piece.text, _raw(piece, len(stream.request.prompt)))


class Closable(Generator[Response, None, None]):
    """A generator that may be closed from any thread, also while another one waits in next().

    Python's own raises "generator already executing" there, and its reader would wait for the rest of the answer.
    """

    def __init__(self, inner: Generator[Response, None, None], request: Request) -> None:
        self._inner: Generator[Response, None, None] = inner
        self._request = request

    def send(self, value: None) -> Response:
        return self._inner.send(value)

    def throw(self, *error: Any) -> Response:
        self._request.cancel()
        return self._inner.throw(*error)

    def close(self) -> None:
        self._request.cancel()
        with suppress(ValueError):  # its reader is in next(), which ends by the flag
            self._inner.close()


async def aclosable(
    inner: AsyncGenerator[Response, None], request: Request
) -> AsyncGenerator[Response, None]:
    try:
        async for response in inner:
            yield response
    finally:
        request.cancel()
        await inner.aclose()
