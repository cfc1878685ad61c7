"""Decorators that create LlamaIndex's eight methods, with core's events, from a backend.

Core's own decorators emit the events. If a public method called another public method, the
events would be emitted twice. So each of the eight methods only returns the backend of its
request, and `Methods` runs the backend in one of four ways.

`functools.wraps` is not used, because core interprets the `__wrapped__` attribute as its own mark
"already decorated", and would not emit events.

A stream is an `OwnedStream` object around the generators, because core's decorators do not close
the generator that they wrap. A callback handler that stores an exception, such as
`LlamaDebugHandler`, keeps that generator alive, and the model would continue. An object can also
end a stream while `next()` waits in another thread, and can be finalized without an event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from llama_index_docker_model._progress import reporting, reporting_async
from llama_index_docker_model._responses import chat_response, completion_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import AsyncGeneratorType, FrameType, GeneratorType

    from llama_index_docker_model._backends import Backend, Cancellable, Reader
    from llama_index_docker_model._responses import AnswerState

__all__ = ["chat_methods", "completion_methods"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Function = TypeVar("_Function", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Methods(Generic[_R]):
    """The four ways to run a backend, for completions or for chats.

    Attributes:
        events: Core's decorator that emits the events.
        respond: The function that converts an answer to core's response.
    """

    events: Callable[[], Any]
    respond: Callable[[AnswerState], _R]

    def whole(self, prepare: Callable[_P, Backend]) -> Callable[_P, _R]:
        """Create a method that returns the whole answer."""

        def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            backend, reported = reporting(prepare(*args, **kwargs))
            with reported:
                return self.respond(backend.answer())

        return _named(self._observed(body), prepare)

    def whole_async(self, prepare: Callable[_P, Backend]) -> Callable[_P, Coroutine[Any, Any, _R]]:
        """Create a coroutine method that returns the whole answer."""

        async def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            backend, reported = reporting_async(prepare(*args, **kwargs))
            async with reported:
                return self.respond(await backend.answer_async())

        return _named(self._observed(body), prepare)

    def stream(self, prepare: Callable[_P, Backend]) -> Callable[_P, Generator[_R, None, None]]:
        """Create a method that returns a generator of responses."""

        def method(*args: _P.args, **kwargs: _P.kwargs) -> Generator[_R, None, None]:
            stream: Cancellable
            inner: Generator[_R, None, None]

            def body(*args: _P.args, **kwargs: _P.kwargs) -> Generator[_R, None, None]:
                nonlocal stream, inner
                backend, reported = reporting(prepare(*args, **kwargs))
                stream, events = backend.stream()
                inner = _responses(events, backend.reader(), self.respond, reported)
                return inner

            outer = self._observed(body)(*args, **kwargs)
            return OwnedStream(stream, inner, outer)

        return _named(method, prepare)

    def stream_async(
        self, prepare: Callable[_P, Backend]
    ) -> Callable[_P, Coroutine[Any, Any, AsyncGenerator[_R, None]]]:
        """Create a coroutine method that returns an async generator of responses."""

        async def method(*args: _P.args, **kwargs: _P.kwargs) -> AsyncGenerator[_R, None]:
            stream: Cancellable
            inner: AsyncGenerator[_R, None]

            async def body(*args: _P.args, **kwargs: _P.kwargs) -> AsyncGenerator[_R, None]:
                nonlocal stream, inner
                backend, reported = reporting_async(prepare(*args, **kwargs))
                stream, events = await backend.stream_async()
                inner = _responses_async(events, backend.reader(), self.respond, reported)
                return inner

            outer = await self._observed(body)(*args, **kwargs)
            return OwnedAsyncStream(stream, inner, outer)

        return _named(method, prepare)

    def _observed(self, body: _Function) -> _Function:
        observed: _Function = self.events()(body)
        return observed


completion_methods = Methods(llm_completion_callback, completion_response)
chat_methods = Methods(llm_chat_callback, chat_response)


def _named(function: _Function, method: Callable[..., Any]) -> _Function:
    """Copy the name and the docstring of `method` to `function`."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(function, attribute, getattr(method, attribute))
    return function


def _responses(
    events: Iterator[Any],
    reader: Reader,
    respond: Callable[[AnswerState], _R],
    reported: AbstractContextManager[object],
) -> Generator[_R, None, None]:
    """Yield the responses of a stream, at least one, because core's end event needs it."""
    start = reader.state
    with reported:
        for event in events:
            state = reader.feed(event)
            if state is not None:
                yield respond(state)
    last = reader.close()
    if last is not None or reader.state is start:  # the stream was canceled before any event
        yield respond(last or start)


async def _responses_async(
    events: AsyncIterator[Any],
    reader: Reader,
    respond: Callable[[AnswerState], _R],
    reported: AbstractAsyncContextManager[object],
) -> AsyncGenerator[_R, None]:
    """Yield the responses of an async stream, at least one, because core's end event needs it."""
    start = reader.state
    async with reported:
        async for event in events:
            state = reader.feed(event)
            if state is not None:
                yield respond(state)
    last = reader.close()
    if last is not None or reader.state is start:
        yield respond(last or start)


class OwnedStream(Generator[_R, None, None]):
    """A generator that stops the model when it is closed, garbage-collected or fails.

    Args:
        stream: The stream to cancel.
        layers: The generators around the stream, innermost first; the last one is iterated.
    """

    def __init__(self, stream: Cancellable, *layers: Generator[_R, None, None]) -> None:
        self._stream = stream
        self._layers = layers

    @property
    def gi_frame(self) -> FrameType | None:
        """The frame of the generator; `None` after its end. OpenInference reads this attribute."""
        return cast("GeneratorType[_R, None, None]", self._layers[-1]).gi_frame

    def send(self, value: None, /) -> _R:
        """Return the next response."""
        try:
            return self._layers[-1].send(value)
        except BaseException:
            self.close()
            raise

    def throw(self, *error: Any) -> _R:
        """Raise an error where the last response was yielded.

        Args:
            error: The arguments of `Generator.throw`. Python 3.12 issues a warning unless they
                are a single exception.
        """
        try:
            return self._layers[-1].throw(*error)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the model, from any thread, even while another thread waits for a response."""
        self._stream.cancel()
        for layer in reversed(self._layers):
            # A generator that is running in another thread ends on its own.
            if not cast("GeneratorType[_R, None, None]", layer).gi_running:
                layer.close()

    __del__ = close


class OwnedAsyncStream(AsyncGenerator[_R, None]):
    """An async generator that stops the model when it is closed, garbage-collected or fails.

    Args:
        stream: The stream to cancel.
        layers: The generators around the stream, innermost first; the last one is iterated.
    """

    def __init__(self, stream: Cancellable, *layers: AsyncGenerator[_R, None]) -> None:
        self._stream = stream
        self._layers = layers

    @property
    def ag_frame(self) -> FrameType | None:
        """The frame of the generator; `None` after its end. OpenInference reads this attribute."""
        return cast("AsyncGeneratorType[_R, None]", self._layers[-1]).ag_frame

    async def asend(self, value: None, /) -> _R:
        """Return the next response."""
        try:
            return await self._layers[-1].asend(value)
        except BaseException:
            self._close()
            raise

    async def athrow(self, *error: Any) -> _R:
        """Raise an error where the last response was yielded."""
        try:
            return await self._layers[-1].athrow(*error)
        except BaseException:
            self._close()
            raise

    async def aclose(self) -> None:
        """Stop the model; this method awaits nothing."""
        self._close()

    def _close(self) -> None:
        self._stream.cancel()
        for layer in reversed(self._layers):
            # A generator that is running in another task ends on its own. The others are
            # suspended at a `yield` and await nothing when closed, so no event loop is needed.
            if not cast("AsyncGeneratorType[_R, None]", layer).ag_running:
                with suppress(StopIteration):
                    layer.aclose().send(None)

    __del__ = _close
