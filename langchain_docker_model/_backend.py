"""The two backends of a chat: the runner's HTTP API and `docker model run`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from docker_model.errors import GenerationTimeoutError
from docker_model.http.tools import notice_no_call
from langchain_docker_model._messages import to_openai, to_prompt
from langchain_docker_model._replies import ChunkReader, chunk_of_event, read_completion, read_whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from typing import Any

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from docker_model import DockerModel
    from docker_model.http.client import Client
    from langchain_docker_model._request import RequestSettings

__all__ = ["Backend", "CliBackend", "HttpBackend"]


class Backend(Protocol):
    """A way to a model, for one call."""

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""

    def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""


@dataclass(frozen=True, slots=True)
class CliBackend:
    """Asks through `docker model run`: one prompt, no parameters."""

    model: DockerModel

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        with _hint_of_a_chat():
            return read_completion(self.model.generate(to_prompt(messages)))

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        with _hint_of_a_chat():
            return read_completion(await self.model.agenerate(to_prompt(messages)))

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        with _hint_of_a_chat(), self.model.stream(to_prompt(messages)) as stream:
            for event in stream.events():
                yield chunk_of_event(event)

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        with _hint_of_a_chat():
            async with self.model.astream(to_prompt(messages)) as stream:
                async for event in stream.events():
                    yield chunk_of_event(event)


@contextmanager
def _hint_of_a_chat() -> Iterator[None]:
    """Let a timeout name the limit that a chat has, which is not `DockerModel`'s `max_chars`."""
    try:
        yield
    except GenerationTimeoutError as error:
        if error.phase == "total":
            error.hint = "raise timeout.total, or limit the answer by max_tokens, over HTTP"
        raise


@dataclass(frozen=True, slots=True)
class HttpBackend:
    """Asks the runner's HTTP API.

    Attributes:
        client: Sends the requests.
        settings: The settings of the call.
    """

    client: Client
    settings: RequestSettings

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        sent = to_openai(messages)
        reply = self.client.chat(self.settings.model, sent, **self.settings.body)
        return self._result(reply, sent)

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        sent = to_openai(messages)
        reply = await self.client.achat(self.settings.model, sent, **self.settings.body)
        return self._result(reply, sent)

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        self.settings.check_streamable()
        sent = to_openai(messages)
        reader = ChunkReader(self.settings)
        with self.client.stream_chat(self.settings.model, sent, **self.settings.body) as pieces:
            for piece in pieces:
                if chunk := reader.feed(piece):
                    yield chunk
        yield self._last(reader, sent)

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        self.settings.check_streamable()
        sent = to_openai(messages)
        reader = ChunkReader(self.settings)
        pieces = self.client.astream_chat(self.settings.model, sent, **self.settings.body)
        async with pieces:
            async for piece in pieces:
                if chunk := reader.feed(piece):
                    yield chunk
        yield self._last(reader, sent)

    def _result(self, reply: dict[str, Any], sent: list[dict[str, Any]]) -> ChatResult:
        result, called = read_whole(reply, self.settings)
        if not called:
            notice_no_call(self.settings.parameters, sent, reply)
        return result

    def _last(self, reader: ChunkReader, sent: list[dict[str, Any]]) -> ChatGenerationChunk:
        last = reader.close()
        if not reader.called:
            notice_no_call(self.settings.parameters, sent, reader.remarks)
        return last
