"""The two ways to ask, by the command and by the API, behind one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from docker_model.errors import EmptyAnswerError, GenerationError
from llama_index_docker_model._replies import ReplyReader, answer_of
from llama_index_docker_model._responses import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from docker_model import AsyncTextStream, DockerModel, TextStream
    from docker_model.http import AsyncChatStream, ChatStream, Client
    from docker_model.types import Event

__all__ = ["OverCli", "OverHttp", "Question", "Reader"]


class Stoppable(Protocol):
    """A stream of either way."""

    def cancel(self) -> None:
        """End it now, from any thread; never waits."""


class Reader(Protocol):
    """Makes answers of a stream's events.

    Attributes:
        answer: All so far.
    """

    answer: Answer

    def feed(self, event: Any, /) -> Answer | None:
        """Take an event; `None` when it adds nothing."""

    def close(self) -> Answer | None:
        """The end; `None` when there is nothing more to tell."""


class Question(Protocol):
    """What a call asks, and of whom."""

    def ask(self) -> Answer:
        """Wait for the whole answer."""

    async def aask(self) -> Answer:
        """The same, awaited."""

    def stream(self) -> tuple[Stoppable, Iterator[Any]]:
        """A stream, and its events; starts nothing before they are iterated."""

    def astream(self) -> tuple[Stoppable, AsyncIterator[Any]]:
        """The same for `async for`."""

    def reader(self) -> Reader:
        """What reads the events."""


class EventReader:
    """Reads the events of `docker_model`."""

    def __init__(self, model: str) -> None:
        self.answer = Answer.start(model)

    def feed(self, event: Event) -> Answer:
        """Take an event."""
        self.answer = self.answer.after(event)
        return self.answer

    def close(self) -> None:
        """The last event has told all."""


@dataclass(frozen=True, slots=True)
class OverCli:
    """One prompt for `docker model run`.

    Attributes:
        model: The model with the call's own settings.
        prompt: What it is to read.
    """

    model: DockerModel
    prompt: str

    def ask(self) -> Answer:
        """Wait for the whole answer."""
        return Answer.of(self.model.generate(self.prompt))

    async def aask(self) -> Answer:
        """The same, awaited."""
        return Answer.of(await self.model.agenerate(self.prompt))

    def stream(self) -> tuple[TextStream, Iterator[Event]]:
        """A stream, and its events."""
        stream = self.model.stream(self.prompt)
        return stream, stream.events()

    def astream(self) -> tuple[AsyncTextStream, AsyncIterator[Event]]:
        """The same for `async for`."""
        stream = self.model.astream(self.prompt)
        return stream, stream.events()

    def reader(self) -> EventReader:
        """What reads the events."""
        return EventReader(self.model.model)


@dataclass(frozen=True, slots=True)
class OverHttp:
    """A chat for the runner's API.

    Attributes:
        client: Asks it.
        model: The model's name.
        messages: In the API's words.
        parameters: What else the request says.
    """

    client: Client
    model: str
    messages: Sequence[dict[str, Any]]
    parameters: dict[str, Any]

    def ask(self) -> Answer:
        """Wait for the whole answer."""
        return self._read(self.client.chat(self.model, self.messages, **self.parameters))

    async def aask(self) -> Answer:
        """The same, awaited."""
        return self._read(await self.client.achat(self.model, self.messages, **self.parameters))

    def stream(self) -> tuple[ChatStream, Iterator[dict[str, Any]]]:
        """A stream, which is its own events."""
        stream = self.client.stream_chat(self.model, self.messages, **self.parameters)
        return stream, stream

    def astream(self) -> tuple[AsyncChatStream, AsyncIterator[dict[str, Any]]]:
        """The same for `async for`."""
        stream = self.client.astream_chat(self.model, self.messages, **self.parameters)
        return stream, stream

    def reader(self) -> ReplyReader:
        """What reads the chunks."""
        return ReplyReader(self.model, self._check)

    def _read(self, reply: dict[str, Any]) -> Answer:
        answer = answer_of(reply, self.model)
        self._check(answer)
        return answer

    def _check(self, answer: Answer) -> None:
        """Notice what the runner does not tell of.

        Raises:
            EmptyAnswerError: The answer says nothing, and no stop sequence can be the reason.
            GenerationError: It was cut off within a tool's arguments. Core would complete
                what there is of them, and an agent call the tool.
        """
        from docker_model.http.tools import is_whole, notice_no_call  # noqa: PLC0415  not for the CLI

        if answer.tool_calls:
            called = answer.tool_calls[-1]["function"]
            if answer.raw["finish_reason"] == "length" and not is_whole(called["arguments"]):
                msg = f"the answer was cut off within the arguments of {called['name']!r}"
                hint = "raise max_tokens, or the model's context size"
                raise GenerationError(msg, hint=hint, partial=answer.text)
            return
        notice_no_call(self.parameters, self.messages, answer.raw)
        cut = answer.raw["finish_reason"] != "stop" or "stop" in self.parameters
        if not (answer.text or answer.reasoning or cut):
            msg = f"{self.model!r} ended its answer without having said anything"
            raise EmptyAnswerError(msg, hint="try again, or other words; see `docker model logs`")
