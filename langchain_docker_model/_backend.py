"""The two ways to a model, for chats: the runner's HTTP API and `docker model run`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from docker_model.errors import GenerationTimeoutError
from langchain_docker_model._flatten import flatten
from langchain_docker_model._messages import to_runner
from langchain_docker_model._replies import (
    Chunks,
    chunk_of_run,
    result_of,
    result_of_run,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from docker_model import DockerModel
    from docker_model.http.client import Client
    from langchain_docker_model._request import Call

__all__ = ["OverCli", "OverHttp", "Way"]


class Way(Protocol):
    """A way to a model, for one call."""

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """The whole answer."""

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """The whole answer."""

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """The answer in pieces, the last of which says how it ended."""

    def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """The answer in pieces, the last of which says how it ended."""


@dataclass(frozen=True, slots=True)
class OverCli:
    """Through `docker model run`: one prompt, no parameters."""

    model: DockerModel

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """The whole answer."""
        with _of_a_chat():
            return result_of_run(self.model.generate(flatten(messages)))

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """The whole answer."""
        with _of_a_chat():
            return result_of_run(await self.model.agenerate(flatten(messages)))

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """The answer in pieces, the last of which says how it ended."""
        with _of_a_chat(), self.model.stream(flatten(messages)) as stream:
            for event in stream.events():
                yield chunk_of_run(event)

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """The answer in pieces, the last of which says how it ended."""
        with _of_a_chat():
            async with self.model.astream(flatten(messages)) as stream:
                async for event in stream.events():
                    yield chunk_of_run(event)


@contextmanager
def _of_a_chat() -> Iterator[None]:
    """Have a timeout name the cap that a chat has, which is not `DockerModel`'s `max_chars`."""
    try:
        yield
    except GenerationTimeoutError as error:
        if error.phase == "total":
            error.hint = "raise timeout.total, or cap the answer by max_tokens, over HTTP"
        raise


@dataclass(frozen=True, slots=True)
class OverHttp:
    """Through the runner's API.

    Attributes:
        client: Asks it.
        call: The call's settings.
    """

    client: Client
    call: Call

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """The whole answer."""
        asked = to_runner(messages)
        return self._result(self.client.chat(self.call.model, asked, **self.call.body), asked)

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """The whole answer."""
        asked = to_runner(messages)
        reply = await self.client.achat(self.call.model, asked, **self.call.body)
        return self._result(reply, asked)

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """The answer in pieces, the last of which says how it ended."""
        self.call.refuse_several()
        asked = to_runner(messages)
        chunks = Chunks(self.call.model)
        with self.client.stream_chat(self.call.model, asked, **self.call.body) as pieces:
            for piece in pieces:
                chunk = chunks.feed(piece)
                if chunk is not None:
                    yield chunk
        yield self._last(chunks, asked)

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """The answer in pieces, the last of which says how it ended."""
        self.call.refuse_several()
        asked = to_runner(messages)
        chunks = Chunks(self.call.model)
        async with self.client.astream_chat(self.call.model, asked, **self.call.body) as pieces:
            async for piece in pieces:
                chunk = chunks.feed(piece)
                if chunk is not None:
                    yield chunk
        yield self._last(chunks, asked)

    def _result(self, reply: dict[str, Any], asked: list[dict[str, Any]]) -> ChatResult:
        result = result_of(reply)
        said = [choice["message"] for choice in reply["choices"]]
        if not any(one.get("tool_calls") for one in said):
            self._notice_no_call(asked, reply)
        return result

    def _last(self, chunks: Chunks, asked: list[dict[str, Any]]) -> ChatGenerationChunk:
        if not chunks.called:
            self._notice_no_call(asked, chunks.told)
        return chunks.close()

    def _notice_no_call(self, asked: list[dict[str, Any]], told: dict[str, Any]) -> None:
        from docker_model.http.tools import notice_no_call  # noqa: PLC0415  not for the CLI

        notice_no_call(self.call.parameters, asked, told)
