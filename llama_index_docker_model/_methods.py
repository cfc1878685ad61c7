"""Decorators that make LlamaIndex's eight methods, with core's events, out of a backend.

Core's own decorators emit the events. A public method that called another would emit them
twice. So each of the eight methods only returns the backend of its request, and `Methods`
runs it in the four ways that core has.

`functools.wraps` is not used: core takes a function's `__wrapped__` attribute for its own mark
"already decorated", and would emit no event.

A stream's outermost generator is an object, `OwnedStream`, because core's decorators do not
close the generator that they wrap: a callback handler that keeps an exception
(`LlamaDebugHandler` does) keeps that generator too, and the model would go on. An object can
also end a stream whose `next()` waits in another thread, and needs no event loop to be
finalized.
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
        respond: The function that makes core's response of an answer.
    """

    events: Callable[[], Any]
    respond: Callable[[AnswerState], _R]

    def whole(self, prepare: Callable[_P, Backend]) -> Callable[_P, _R]:
        """Make a method that returns the whole answer."""

        def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            backend, reported = reporting(prepare(*args, **kwargs))
            with reported:
                return self.respond(backend.answer())

        return _named(self._observed(body), prepare)

    def whole_async(self, prepare: Callable[_P, Backend]) -> Callable[_P, Coroutine[Any, Any, _R]]:
        """Make a coroutine method that returns the whole answer."""

        async def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            backend, reported = reporting_async(prepare(*args, **kwargs))
            async with reported:
                return self.respond(await backend.answer_async())

        return _named(self._observed(body), prepare)

    def stream(self, prepare: Callable[_P, Backend]) -> Callable[_P, Generator[_R, None, None]]:
        """Make a method that returns a generator of responses."""

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
        """Make a coroutine method that returns an async generator of responses."""

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
    """Yield a stream's responses, at least one: core makes an event of the last."""
    start = reader.state
    with reported:
        for event in events:
            state = reader.feed(event)
            if state is not None:
                yield respond(state)
    last = reader.close()
    if last is not None or reader.state is start:  # it was canceled before there was anything
        yield respond(last or start)


async def _responses_async(
    events: AsyncIterator[Any],
    reader: Reader,
    respond: Callable[[AnswerState], _R],
    reported: AbstractAsyncContextManager[object],
) -> AsyncGenerator[_R, None]:
    """Yield an async stream's responses, at least one: core makes an event of the last."""
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
    """A generator that ends the model's work when it is closed, dropped or fails.

    Args:
        stream: The stream to cancel.
        layers: The generators above the stream, innermost first; the last is iterated.
    """

    def __init__(self, stream: Cancellable, *layers: Generator[_R, None, None]) -> None:
        self._stream = stream
        self._layers = layers

    @property
    def gi_frame(self) -> FrameType | None:
        """A generator's attribute: `None` once it has ended. OpenInference reads it."""
        return cast("GeneratorType[_R, None, None]", self._layers[-1]).gi_frame

    def send(self, value: None, /) -> _R:
        """Return the next response."""
        try:
            return self._layers[-1].send(value)
        except BaseException:
            self.close()
            raise

    def throw(self, *error: Any) -> _R:
        """Raise an error at the place where the last response was yielded.

        Args:
            error: The error in any of the forms that `Generator.throw` takes. Python 3.12
                warns about all of them but a single exception.
        """
        try:
            return self._layers[-1].throw(*error)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the model's work, from any thread, also while another one waits for it."""
        self._stream.cancel()
        for layer in reversed(self._layers):
            # A layer that is running, in another thread, comes to its end by itself.
            if not cast("GeneratorType[_R, None, None]", layer).gi_running:
                layer.close()

    __del__ = close


class OwnedAsyncStream(AsyncGenerator[_R, None]):
    """An async generator that ends the model's work when it is closed, dropped or fails.

    Args:
        stream: The stream to cancel.
        layers: The generators above the stream, innermost first; the last is iterated.
    """

    def __init__(self, stream: Cancellable, *layers: AsyncGenerator[_R, None]) -> None:
        self._stream = stream
        self._layers = layers

    @property
    def ag_frame(self) -> FrameType | None:
        """An async generator's attribute: `None` once it has ended. OpenInference reads it."""
        return cast("AsyncGeneratorType[_R, None]", self._layers[-1]).ag_frame

    async def asend(self, value: None, /) -> _R:
        """Return the next response."""
        try:
            return await self._layers[-1].asend(value)
        except BaseException:
            self._close()
            raise

    async def athrow(self, *error: Any) -> _R:
        """Raise an error at the place where the last response was yielded."""
        try:
            return await self._layers[-1].athrow(*error)
        except BaseException:
            self._close()
            raise

    async def aclose(self) -> None:
        """End the model's work; nothing is awaited."""
        self._close()

    def _close(self) -> None:
        self._stream.cancel()
        for layer in reversed(self._layers):
            # A layer that is running, in another task, comes to its end by itself. The others
            # rest at a `yield` and await nothing on their way out, so no loop is needed.
            if not cast("AsyncGeneratorType[_R, None]", layer).ag_running:
                with suppress(StopIteration):
                    layer.aclose().send(None)

    __del__ = _close
