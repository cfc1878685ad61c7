"""The two backends of a chat: the runner's HTTP API and `docker model run`."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from docker_model.errors import DockerModelError, GenerationTimeoutError
from docker_model.http import by_prompt
from docker_model.http.by_prompt import PromptedChat
from docker_model.http.chat_request import Conversation, asked_again
from docker_model.http.thinking import thinking_budget, thinking_parameters
from docker_model.http.tool_schema import plain_turns
from docker_model.http.tools import notice_no_call
from langchain_docker_model._messages import HTTP_HINT, flattened, to_openai, to_prompt
from langchain_docker_model._replies import (
    ChunkReader,
    chunk_of_event,
    chunks_of,
    read_completion,
    read_whole,
    replaced,
)
from langchain_docker_model._structured import check_of, repairs_streams
from langchain_docker_model.errors import UnsupportedParameterError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
    from typing import Any

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from docker_model import DockerModel
    from docker_model.http.client import Client
    from docker_model.http.replies import Answer
    from docker_model.types import ModelInfo
    from langchain_docker_model._request import RequestSettings

__all__ = ["Backend", "CliBackend", "HttpBackend"]


class Backend(Protocol):
    """The transport of one call."""

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""

    def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""

    def warm_up(self) -> None:
        """Load the model."""

    async def awarm_up(self) -> None:
        """Load the model."""

    def count_tokens(
        self, messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]
    ) -> int:
        """Count the tokens of a conversation."""


@dataclass(frozen=True, slots=True)
class CliBackend:
    """Runs `docker model run` with one prompt and no parameters.

    With `tool_calling="schema"`, tools and schemas are described in the prompt.

    Attributes:
        model: The model, with the settings of the call.
        settings: The settings of the call.
    """

    model: DockerModel
    settings: RequestSettings

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        with _chat_hints():
            if (chat := self._prompted(messages)) is not None:
                return read_whole(by_prompt.answer(self.model, chat), self.settings)[0]
            return read_completion(self.model.generate(self._prompt(messages)))

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        with _chat_hints():
            if (chat := self._prompted(messages)) is not None:
                reply = await by_prompt.answer_async(self.model, chat)
                return read_whole(reply, self.settings)[0]
            return read_completion(await self.model.agenerate(self._prompt(messages)))

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason.

        A tool call or an object is one piece, because it is validated as a whole.
        """
        with _chat_hints():
            if (chat := self._prompted(messages)) is not None:
                yield from chunks_of(by_prompt.answer(self.model, chat), self.settings)
                return
            with self.model.stream(self._prompt(messages)) as stream:
                for event in stream.events():
                    yield chunk_of_event(event)

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        with _chat_hints():
            if (chat := self._prompted(messages)) is not None:
                reply = await by_prompt.answer_async(self.model, chat)
                for chunk in chunks_of(reply, self.settings):
                    yield chunk
                return
            async with self.model.astream(self._prompt(messages)) as stream:
                async for event in stream.events():
                    yield chunk_of_event(event)

    def _prompted(self, messages: Sequence[BaseMessage]) -> PromptedChat | None:
        """Return the chat with a description of its tools or schema; `None` without either."""
        parameters = self.settings.parameters
        if not (parameters.get("tools") or self.settings.wants_json):
            return None
        request = {**parameters, **self.settings.chat_settings, "check": check_of(parameters)}
        return PromptedChat.of(self.model.model, to_openai(messages), request, flattened)

    def _prompt(self, messages: Sequence[BaseMessage]) -> str:
        if self.settings.chat_settings.get("tool_calling") != "schema":
            return to_prompt(messages)
        return flattened(list(plain_turns(to_openai(messages), wrapped=False)))

    def warm_up(self) -> None:
        """Load the model and fill the standby."""
        self.model.warm_up()

    async def awarm_up(self) -> None:
        """Load the model and fill the standby."""
        await self.model.awarm_up()

    def count_tokens(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Mapping[str, Any]],
    ) -> int:
        """Raise an error, because the CLI cannot count tokens.

        Raises:
            UnsupportedParameterError: If this method is called.
        """
        msg = "`docker model` cannot count tokens"
        hint = (
            f"{HTTP_HINT}; or pass custom_get_token_ids=, or count with "
            "langchain_core.messages.utils.count_tokens_approximately"
        )
        raise UnsupportedParameterError(msg, hint=hint)


@contextmanager
def _chat_hints() -> Iterator[None]:
    """Replace the hint of a timeout, because a chat has `max_tokens` but no `max_chars`."""
    try:
        yield
    except GenerationTimeoutError as error:
        if error.phase == "total":
            error.hint = "raise timeout.total, or limit the answer with max_tokens over HTTP"
        raise


@dataclass(frozen=True, slots=True)
class HttpBackend:
    """Uses the runner's HTTP API.

    Attributes:
        client: The client that sends the requests.
        settings: The settings of the call.
        configuration: The configuration to apply to the model before its first request.
    """

    client: Client
    settings: RequestSettings
    configuration: Mapping[str, Any]

    def generate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        sent = to_openai(messages)
        body = self._body()
        reply = self.client.chat(self.settings.model, sent, **body, check=self._check())
        return self._result(reply, sent)

    async def agenerate(self, messages: Sequence[BaseMessage]) -> ChatResult:
        """Return the whole answer."""
        sent = to_openai(messages)
        body = await self._abody()
        reply = await self.client.achat(self.settings.model, sent, **body, check=self._check())
        return self._result(reply, sent)

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        self.settings.check_streamable()
        sent = to_openai(messages)
        reader = ChunkReader(self.settings)
        with self.client.stream_chat(self.settings.model, sent, **self._body()) as pieces:
            for piece in pieces:
                if chunk := reader.feed(piece):
                    yield chunk
        last = self._last(reader, sent)
        if (repair := self._repair_messages(reader, sent)) is None:
            yield last
            return
        yield replaced(last, reader.answer.text)
        yield from chunks_of(
            self.client.chat(self.settings.model, repair, **self._body()), self.settings
        )

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk]:
        """Yield the answer in pieces; the last one has the finish reason."""
        self.settings.check_streamable()
        sent = to_openai(messages)
        reader = ChunkReader(self.settings)
        pieces = self.client.astream_chat(self.settings.model, sent, **await self._abody())
        async with pieces:
            async for piece in pieces:
                if chunk := reader.feed(piece):
                    yield chunk
        last = self._last(reader, sent)
        if (repair := self._repair_messages(reader, sent)) is None:
            yield last
            return
        yield replaced(last, reader.answer.text)
        body = await self._abody()
        reply = await self.client.achat(self.settings.model, repair, **body)
        for chunk in chunks_of(reply, self.settings):
            yield chunk

    def _repair_messages(
        self, reader: ChunkReader, sent: list[dict[str, Any]]
    ) -> list[dict[str, Any]] | None:
        """Return messages that ask the model to correct its object; `None` if it is valid.

        The result is always `None` unless a parser of this package reads the stream: only that
        parser can separate the second answer from the first.
        """
        check = self._check() if repairs_streams(self.settings.parameters) else None
        problem = check(reader.answer) if check is not None else ""
        if not problem:
            return None
        conversation = Conversation.of(self.settings.model, sent, self.settings.body)
        return asked_again(conversation, reader.answer, problem).messages

    def warm_up(self) -> None:
        """Load the model."""
        self._configure()
        self.client.preload_model(self.settings.model)

    async def awarm_up(self) -> None:
        """Load the model."""
        await self._aconfigure()
        await self.client.apreload_model(self.settings.model)

    def count_tokens(
        self, messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]
    ) -> int:
        """Count the tokens of a conversation."""
        body = self._body()
        extra = {name: body.get(name) for name in ("chat_template_kwargs", "tool_calling")}
        return self.client.count_tokens(self.settings.model, to_openai(messages), tools, **extra)

    # --- Before a request ---

    def _body(self) -> dict[str, Any]:
        self._configure()
        model = None
        if self.settings.thinking:
            with suppress(DockerModelError):  # the request itself raises a better error
                model = self.client.observe_model(self.settings.model)
        return self._with_thinking(model)

    async def _abody(self) -> dict[str, Any]:
        await self._aconfigure()
        model = None
        if self.settings.thinking:
            with suppress(DockerModelError):  # the request itself raises a better error
                model = await self.client.aobserve_model(self.settings.model)
        return self._with_thinking(model)

    def _with_thinking(self, model: ModelInfo | None) -> dict[str, Any]:
        body = self.settings.body
        thinking = thinking_parameters(self.settings.thinking, model)
        variables = {
            **thinking.get("chat_template_kwargs", {}),
            **(body.get("chat_template_kwargs") or {}),
        }
        if variables:
            body["chat_template_kwargs"] = variables
        return {**thinking, **body}

    def _configure(self) -> None:
        if changes := self._changes():
            self.client.configure_once(self.settings.model, **changes)

    async def _aconfigure(self) -> None:
        if changes := self._changes():
            await self.client.aconfigure_once(self.settings.model, **changes)

    def _changes(self) -> dict[str, Any]:
        changes = {**self.configuration, "think": thinking_budget(self.settings.thinking)}
        return {name: value for name, value in changes.items() if value is not None}

    def _check(self) -> Callable[[Answer], str] | None:
        return check_of(self.settings.parameters)

    # --- After an answer ---

    def _result(self, reply: dict[str, Any], sent: list[dict[str, Any]]) -> ChatResult:
        result, called = read_whole(reply, self.settings)
        if not called and self._is_native(reply):
            notice_no_call(self.settings.parameters, sent, reply)
        return result

    def _last(self, reader: ChunkReader, sent: list[dict[str, Any]]) -> ChatGenerationChunk:
        last = reader.close()
        if not reader.called and self._is_native(reader.metadata):
            notice_no_call(self.settings.parameters, sent, reader.metadata)
        return last

    @staticmethod
    def _is_native(metadata: Mapping[str, Any]) -> bool:
        """Whether the engine makes the tool calls; with a schema, calls are enforced."""
        return metadata.get("tool_calling") != "schema"
