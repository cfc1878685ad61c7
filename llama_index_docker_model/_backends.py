"""One request, ready to run, over the CLI or over HTTP."""

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
    """Makes states of an answer out of a stream's events.

    Attributes:
        state: The answer so far.
    """

    state: AnswerState

    def feed(self, event: Any, /) -> AnswerState | None:
        """Take an event; `None` when it adds nothing to the answer."""

    def close(self) -> AnswerState | None:
        """End the stream; `None` when there is nothing to add to the last state."""


class Backend(Protocol):
    """A request and the transport that it takes."""

    @property
    def on_progress(self) -> Report | None:
        """The user's own function for the progress of calls."""

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend that reports to another function."""

    def answer(self) -> AnswerState:
        """Wait for the whole answer."""

    async def answer_async(self) -> AnswerState:
        """Await the whole answer."""

    def stream(self) -> tuple[Cancellable, Iterator[Any]]:
        """Return a stream and its events. Nothing starts before they are iterated."""

    async def stream_async(self) -> tuple[Cancellable, AsyncIterator[Any]]:
        """Return a stream and its events, for `async for`."""

    def reader(self) -> Reader:
        """Return a reader for the events of one stream."""


# Models that their server does not describe, as other servers than the runner.
_undescribed: set[tuple[Client, str]] = set()

# What the client says about a request beside the answer.
_NOTES = ("docker_model", "tool_calling", "trimmed")


# --- CLI ---


def _reporting(model: DockerModel, on_progress: Report) -> DockerModel:
    """Return a model that reports to another function; with standby, the same.

    Standby belongs to one model object. Its answers come at once, without a wait to report.
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
        """The user's own function for the progress of calls."""
        return self.model.on_progress

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend that reports to another function."""
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
            EmptyAnswerError: If the model thought and then did not answer.
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
        """Take an event."""
        self.state = self.state.after(event)
        return self.state

    def close(self) -> None:
        """End the stream, whose last event was the whole answer."""
        self._backend.check(self.state)


@dataclass(frozen=True, slots=True)
class PromptBackend:
    """A chat with tools or a schema for `docker model run`, which are described in the prompt.

    Attributes:
        model: The model, with the settings of the call.
        chat: The chat, and how it is written as a prompt.
    """

    model: DockerModel
    chat: PromptedChat

    @property
    def on_progress(self) -> Report | None:
        """The user's own function for the progress of calls."""
        return self.model.on_progress

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend that reports to another function."""
        return replace(self, model=_reporting(self.model, on_progress))

    def answer(self) -> AnswerState:
        """Wait for the whole answer."""
        return self._read(answer(self.model, self.chat))

    async def answer_async(self) -> AnswerState:
        """Await the whole answer."""
        return self._read(await answer_async(self.model, self.chat))

    def stream(self) -> tuple[Cancellable, Iterator[dict[str, Any]]]:
        """Return a stream of one reply, since an answer is checked as a whole."""
        whole = PromptedReply(self.model, self.chat)

        def replies() -> Iterator[dict[str, Any]]:
            if (reply := whole.read()) is not None:
                yield reply

        return whole, replies()

    async def stream_async(self) -> tuple[Cancellable, AsyncIterator[dict[str, Any]]]:
        """Return a stream of one reply, for `async for`."""
        whole = PromptedReply(self.model, self.chat)

        async def replies() -> AsyncIterator[dict[str, Any]]:
            if (reply := await whole.read_async()) is not None:
                yield reply

        return whole, replies()

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
        client: The client that sends it.
        model: The model's name.
        messages: OpenAI's message objects.
        parameters: The rest of the request.
        configuration: What the model is configured with before its first request.
        thinking: Whether the model is to think, which not every model can.
    """

    client: Client
    model: str
    messages: Sequence[dict[str, Any]]
    parameters: dict[str, Any]
    configuration: dict[str, Any]
    thinking: Thinking

    @property
    def on_progress(self) -> Report | None:
        """The user's own function for the progress of calls."""
        return self.client.on_progress

    def reporting(self, on_progress: Report) -> Self:
        """Return a backend that reports to another function."""
        return replace(self, client=replace(self.client, on_progress=on_progress))

    @classmethod
    def of(cls, messages: Sequence[ChatMessage], settings: MergedSettings) -> Self:
        """Make the request of a chat and the settings of its call."""
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
        """Configure the model where that is asked for, and learn what it is, once."""
        if self.configuration:
            self.client.configure_once(self.model, **self.configuration)
        if self.thinking or self._is_new:
            with self._learning():
                learn = self.client.observe_model if self.thinking else self.client.inspect_model
                learn(self.model)
        self._check_thinking()

    async def _prepare_async(self) -> None:
        """Configure the model where that is asked for, and learn what it is, once."""
        if self.configuration:
            await self.client.aconfigure_once(self.model, **self.configuration)
        if self.thinking or self._is_new:
            with self._learning():
                learn = self.client.aobserve_model if self.thinking else self.client.ainspect_model
                await learn(self.model)
        self._check_thinking()

    @property
    def _is_new(self) -> bool:
        undescribed = self._server in _undescribed
        return not undescribed and self.client.known_model(self.model) is None

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Remember not to ask again a server that describes no models."""
        try:
            yield
        except (ModelNotFoundError, RunnerUnavailableError):
            return  # the call itself pulls the model, or raises the same
        except DockerModelError:
            _undescribed.add(self._server)

    @property
    def _server(self) -> tuple[Client, str]:
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
        """Raise for an answer that is of no use.

        Raises:
            EmptyAnswerError: If the answer says nothing, and no stop sequence can be the reason.
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
        # A stop sequence or a limit may have ended the answer at its start.
        if answer.finish_reason == "stop":
            required = "stop" not in self.parameters
        else:
            required = answer.only_thought
        if required:
            require_text(answer, self.model)


class HttpReader:
    """Reads a stream's chunks, or a whole reply.

    Args:
        model: The model's name.
        parameters: Those of the request.
        check: Raises for an answer that is of no use.
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
        self._notes: dict[str, Any] = {}
        self.state = AnswerState.start(model)

    def feed(self, chunk: Mapping[str, Any]) -> AnswerState | None:
        """Take a chunk; `None` when it adds nothing to the answer."""
        self._notes |= {name: chunk[name] for name in _NOTES if chunk.get(name)}
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
        """End the stream; `None` when it was canceled."""
        return None if self._replies.answer.finish_reason is None else self.end()

    def end(self) -> AnswerState:
        """End the answer, which is whole."""
        delta = self._replies.close()
        answer = self._replies.answer
        raw = {"model": self._model, "finish_reason": answer.finish_reason}
        remarks = {
            **self._notes,
            "usage": self._replies.usage,
            "timings": self._replies.timings,
            "reasoning": answer.reasoning,
            "logprobs": answer.logprobs,
            "invalid_calls": self._invalid(answer),
        }
        raw |= {name: value for name, value in remarks.items() if value}
        self.state = AnswerState(
            raw, answer.text, answer.reasoning, delta.text, delta.reasoning, answer.calls
        )
        self._check(answer, raw)
        return self.state

    def _invalid(self, answer: Answer) -> dict[str, str]:
        """Return what is wrong with calls, by their ids: their tools must not run."""
        return self._tools.problems(answer.calls) if isinstance(self._tools, ToolList) else {}


def _whole(reader: HttpReader, reply: Mapping[str, Any]) -> AnswerState:
    """Return the state of a reply that came in one piece."""
    reader.feed(reply)
    return replace(reader.end(), delta=None, thinking_delta="")
