"""The transports of one request: `docker model run` and the runner's HTTP API."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from llama_index.core.base.llms.types import ChatMessage

from docker_model.errors import (
    DockerModelError,
    GenerationError,
    ModelNotFoundError,
    RunnerUnavailableError,
)
from docker_model.http.by_prompt import PromptedChat, PromptedReply, answer, answer_async
from docker_model.http.replies import Answer, StreamReader, require_text
from docker_model.http.thinking import thinking_parameters
from docker_model.http.tools import notice_no_call
from llama_index_docker_model._messages import chat_prompt, openai_messages, text_and_calls
from llama_index_docker_model._responses import AnswerState
from llama_index_docker_model._settings import by_prompt
from llama_index_docker_model._tools import ToolList

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from docker_model import AsyncTextStream, DockerModel, TextStream
    from docker_model.http import AsyncChatStream, ChatStream, Client
    from docker_model.http.thinking import Thinking
    from docker_model.types import Event, Progress
    from llama_index_docker_model._settings import MergedSettings

    Report = Callable[[Progress], object]

__all__ = ["Backend", "Cancellable", "CliBackend", "HttpBackend", "Reader", "cli_backend"]


class Cancellable(Protocol):
    """A stream of either transport."""

    def cancel(self) -> None:
        """End the stream now, from any thread, without waiting."""


class Reader(Protocol):
    """Converts the events of a stream to states of the answer.

    Attributes:
        state: The answer so far.
    """

    state: AnswerState

    def feed(self, event: Any, /) -> AnswerState | None:
        """Add an event; return `None` if it adds nothing to the answer."""

    def close(self) -> AnswerState | None:
        """End the stream; return `None` if the last state is unchanged."""


class Backend(Protocol):
    """A request and its transport."""

    @property
    def on_progress(self) -> Report | None:
        """The user's `on_progress` function."""

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend with another `on_progress` function."""

    def answer(self) -> AnswerState:
        """Wait for the whole answer."""

    async def answer_async(self) -> AnswerState:
        """Await the whole answer."""

    def stream(self) -> tuple[Cancellable, Iterator[Any]]:
        """Return a stream and its events; the request starts on the first iteration."""

    async def stream_async(self) -> tuple[Cancellable, AsyncIterator[Any]]:
        """Return a stream and its events, for `async for`."""

    def reader(self) -> Reader:
        """Return a reader for the events of one stream."""


# Models without metadata, on servers other than the runner.
_undescribed: set[tuple[Client, str]] = set()

# Fields that the client adds to a reply.
_CLIENT_FIELDS = ("docker_model", "tool_calling", "trimmed")


# --- CLI ---


def _reporting(model: DockerModel, on_progress: Report) -> DockerModel:
    """Return a model with another `on_progress` function; with standby, return `model` itself.

    Standby processes belong to one model object, and a call that uses them has no wait to report.
    """
    return model if model.standby else replace(model, on_progress=on_progress)


@dataclass(frozen=True, slots=True)
class CliBackend:
    """A prompt for `docker model run`.

    Attributes:
        model: The model, with the settings of the call.
        prompt: The prompt.
    """

    model: DockerModel
    prompt: str

    @property
    def on_progress(self) -> Report | None:
        """The user's `on_progress` function."""
        return self.model.on_progress

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend with another `on_progress` function."""
        return replace(self, model=_reporting(self.model, on_progress))

    def answer(self) -> AnswerState:
        """Wait for the whole answer."""
        return self.check(AnswerState.of(self.model.generate(self.prompt)))

    async def answer_async(self) -> AnswerState:
        """Await the whole answer."""
        return self.check(AnswerState.of(await self.model.agenerate(self.prompt)))

    def stream(self) -> tuple[TextStream, Iterator[Event]]:
        """Return a stream and its events."""
        stream = self.model.stream(self.prompt)
        return stream, stream.events()

    async def stream_async(self) -> tuple[AsyncTextStream, AsyncIterator[Event]]:
        """Return a stream and its events, for `async for`."""
        stream = self.model.astream(self.prompt)
        return stream, stream.events()

    def reader(self) -> CliReader:
        """Return a reader for the events of one stream."""
        return CliReader(self)

    def check(self, state: AnswerState) -> AnswerState:
        """Return the state of a whole answer.

        Raises:
            EmptyAnswerError: If the answer contains only reasoning.
        """
        if state.reasoning and not state.text.strip() and state.raw["finish_reason"] == "stop":
            require_text(Answer(reasoning=state.reasoning, finish_reason="stop"), self.model.model)
        return state


class CliReader:
    """Reads the events of a stream from the CLI."""

    def __init__(self, backend: CliBackend) -> None:
        self._backend = backend
        self.state = AnswerState.start(backend.model.model)

    def feed(self, event: Event) -> AnswerState:
        """Add an event."""
        self.state = self.state.after(event)
        return self.state

    def close(self) -> None:
        """End the stream, whose last event was the whole answer."""
        self._backend.check(self.state)


@dataclass(frozen=True, slots=True)
class PromptBackend:
    """A chat for `docker model run`, with tools or a schema described in the prompt.

    Attributes:
        model: The model, with the settings of the call.
        chat: The chat and its prompt.
    """

    model: DockerModel
    chat: PromptedChat

    @property
    def on_progress(self) -> Report | None:
        """The user's `on_progress` function."""
        return self.model.on_progress

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend with another `on_progress` function."""
        return replace(self, model=_reporting(self.model, on_progress))

    def answer(self) -> AnswerState:
        """Wait for the whole answer."""
        return self._read(answer(self.model, self.chat))

    async def answer_async(self) -> AnswerState:
        """Await the whole answer."""
        return self._read(await answer_async(self.model, self.chat))

    def stream(self) -> tuple[Cancellable, Iterator[dict[str, Any]]]:
        """Return a stream of one reply, because the answer is validated as a whole."""
        stream = PromptedReply(self.model, self.chat)

        def replies() -> Iterator[dict[str, Any]]:
            if (reply := stream.read()) is not None:
                yield reply

        return stream, replies()

    async def stream_async(self) -> tuple[Cancellable, AsyncIterator[dict[str, Any]]]:
        """Return a stream of one reply, for `async for`."""
        stream = PromptedReply(self.model, self.chat)

        async def replies() -> AsyncIterator[dict[str, Any]]:
            if (reply := await stream.read_async()) is not None:
                yield reply

        return stream, replies()

    def reader(self) -> HttpReader:
        """Return a reader for the reply of one stream."""
        return HttpReader(self.model.model, self.chat.conversation.parameters, lambda *_: None)

    def _read(self, reply: dict[str, Any]) -> AnswerState:
        return _whole(self.reader(), reply)


def cli_backend(
    model: DockerModel,
    messages: Sequence[ChatMessage],
    settings: MergedSettings,
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None,
) -> Backend:
    """Return the backend of a chat over the CLI, with its tools or schema in the prompt."""
    if not by_prompt(settings.values):
        return CliBackend(model, chat_prompt(messages, messages_to_prompt))

    def write(turns: Sequence[Mapping[str, Any]]) -> str:
        written = [ChatMessage(turn["content"], role=turn["role"]) for turn in turns]
        return chat_prompt(written, messages_to_prompt)

    sent, parameters = openai_messages(text_and_calls(messages)), settings.parameters()
    chat = PromptedChat.of(model.model, sent, parameters, write)
    if parameters.get("tools") or parameters.get("response_format"):
        return PromptBackend(model, chat)
    return CliBackend(model, chat.prompt)


# --- HTTP ---


@dataclass(frozen=True, slots=True)
class HttpBackend:
    """A chat for the runner's API.

    Attributes:
        client: The client that sends the request.
        model: The model's name.
        messages: OpenAI's message objects.
        parameters: The parameters of the request.
        configuration: The configuration to apply to the model before its first request.
        thinking: Whether the model thinks, at which level, or for how many tokens.
    """

    client: Client
    model: str
    messages: Sequence[dict[str, Any]]
    parameters: dict[str, Any]
    configuration: dict[str, Any]
    thinking: Thinking

    @property
    def on_progress(self) -> Report | None:
        """The user's `on_progress` function."""
        return self.client.on_progress

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend with another `on_progress` function."""
        return replace(self, client=replace(self.client, on_progress=on_progress))

    @classmethod
    def of(cls, messages: Sequence[ChatMessage], settings: MergedSettings) -> Self:
        """Create the request for a chat with the settings of a call."""
        settings.refuse_over_http()
        parameters = settings.parameters()
        return cls(
            settings.client(),
            settings.values["model"],
            openai_messages(messages),
            parameters,
            settings.configuration(),
            settings.thinking(),
        )

    def answer(self) -> AnswerState:
        """Wait for the whole answer."""
        self._prepare()
        return self._read(self.client.chat(self.model, self.messages, **self.parameters))

    async def answer_async(self) -> AnswerState:
        """Await the whole answer."""
        await self._prepare_async()
        return self._read(await self.client.achat(self.model, self.messages, **self.parameters))

    def stream(self) -> tuple[ChatStream, Iterator[dict[str, Any]]]:
        """Return a stream, which is the iterator of its own chunks."""
        self._prepare()
        stream = self.client.stream_chat(self.model, self.messages, **self.parameters)
        return stream, stream

    async def stream_async(self) -> tuple[AsyncChatStream, AsyncIterator[dict[str, Any]]]:
        """Return a stream, which is the async iterator of its own chunks."""
        await self._prepare_async()
        stream = self.client.astream_chat(self.model, self.messages, **self.parameters)
        return stream, stream

    def _prepare(self) -> None:
        """Configure the model if the settings require it, and read its metadata once."""
        if self.configuration:
            self.client.configure_once(self.model, **self.configuration)
        if self.thinking or self._is_unknown:
            with self._reading_metadata():
                read = self.client.observe_model if self.thinking else self.client.inspect_model
                read(self.model)
        self._check_thinking()

    async def _prepare_async(self) -> None:
        """Configure the model if the settings require it, and read its metadata once."""
        if self.configuration:
            await self.client.aconfigure_once(self.model, **self.configuration)
        if self.thinking or self._is_unknown:
            with self._reading_metadata():
                read = self.client.aobserve_model if self.thinking else self.client.ainspect_model
                await read(self.model)
        self._check_thinking()

    @property
    def _is_unknown(self) -> bool:
        undescribed = self._server_and_model in _undescribed
        return not undescribed and self.client.known_model(self.model) is None

    @contextmanager
    def _reading_metadata(self) -> Iterator[None]:
        """Suppress errors, and remember servers that have no metadata about their models."""
        try:
            yield
        except (ModelNotFoundError, RunnerUnavailableError):
            return  # the request itself pulls the model, or raises the same error
        except DockerModelError:
            _undescribed.add(self._server_and_model)

    @property
    def _server_and_model(self) -> tuple[Client, str]:
        return replace(self.client, on_progress=None), self.model

    def _check_thinking(self) -> None:
        if self.thinking:
            thinking_parameters(self.thinking, self.client.known_model(self.model))

    def reader(self) -> HttpReader:
        """Return a reader for the chunks of one stream."""
        return HttpReader(self.model, self.parameters, self.check)

    def _read(self, reply: dict[str, Any]) -> AnswerState:
        return _whole(self.reader(), reply)

    def check(self, answer: Answer, raw: Mapping[str, Any]) -> None:
        """Raise an error for an unusable answer.

        Raises:
            EmptyAnswerError: If the answer is empty, and no stop sequence can be the reason.
            GenerationError: If the answer was cut off within the arguments of a tool.
        """
        if answer.calls:
            call = answer.calls[-1]
            if answer.finish_reason == "length" and not call.ok:
                msg = f"the answer was cut off within the arguments of {call.name!r}"
                hint = "raise max_tokens, or the model's context size"
                raise GenerationError(msg, hint=hint, partial=answer.text)
            return
        if raw.get("tool_calling") != "schema":
            notice_no_call(self.parameters, self.messages, {})
        # A stop sequence or a limit can end the answer before its first character.
        if answer.finish_reason == "stop":
            required = "stop" not in self.parameters
        else:
            required = answer.only_thought
        if required:
            require_text(answer, self.model)


class HttpReader:
    """Reads the chunks of a stream, or a whole reply.

    Args:
        model: The model's name.
        parameters: The parameters of the request.
        check: A function that raises an error for an unusable answer.
    """

    def __init__(
        self,
        model: str,
        parameters: Mapping[str, Any],
        check: Callable[[Answer, Mapping[str, Any]], None],
    ) -> None:
        self._model = model
        self._check = check
        self._tools = parameters.get("tools")
        self._replies = StreamReader(
            thoughts_in_text=bool(parameters.get("response_format")),
            tools=[tool["function"]["name"] for tool in parameters.get("tools") or ()],
            model=model,
        )
        self._client_fields: dict[str, Any] = {}
        self.state = AnswerState.start(model)

    def feed(self, chunk: Mapping[str, Any]) -> AnswerState | None:
        """Add a chunk; return `None` if it adds nothing to the answer."""
        self._client_fields |= {name: chunk[name] for name in _CLIENT_FIELDS if chunk.get(name)}
        delta = self._replies.feed(chunk)
        if not (delta.text or delta.reasoning or delta.calls):
            return None
        self.state = replace(
            self.state,
            text=self.state.text + delta.text,
            delta=delta.text,
            reasoning=self.state.reasoning + delta.reasoning,
            thinking_delta=delta.reasoning,
            calls=self._replies.answer.calls if delta.calls else self.state.calls,
        )
        return self.state

    def close(self) -> AnswerState | None:
        """End the stream; return `None` if it was canceled."""
        return None if self._replies.answer.finish_reason is None else self.end()

    def end(self) -> AnswerState:
        """Return the state of the complete answer."""
        delta = self._replies.close()
        answer = self._replies.answer
        raw = {"model": self._model, "finish_reason": answer.finish_reason}
        optional = {
            **self._client_fields,
            "usage": self._replies.usage,
            "timings": self._replies.timings,
            "reasoning": answer.reasoning,
            "logprobs": answer.logprobs,
            "invalid_calls": self._invalid(answer),
        }
        raw |= {name: value for name, value in optional.items() if value}
        self.state = AnswerState(
            raw, answer.text, answer.reasoning, delta.text, delta.reasoning, answer.calls
        )
        self._check(answer, raw)
        return self.state

    def _invalid(self, answer: Answer) -> dict[str, str]:
        """Return the problems of invalid calls, by call id; their tools must not run."""
        return self._tools.problems(answer.calls) if isinstance(self._tools, ToolList) else {}


def _whole(reader: HttpReader, reply: Mapping[str, Any]) -> AnswerState:
    """Return the state of a reply that was not streamed."""
    reader.feed(reply)
    return replace(reader.end(), delta=None, thinking_delta="")
