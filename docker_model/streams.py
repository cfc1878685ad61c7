"""The streams that callers iterate, sync and async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

from docker_model.types import Completion, TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from docker_model._runtime import Stream
    from docker_model.types import Event

__all__ = ["AsyncTextStream", "TextStream"]


_T = TypeVar("_T")


class _End(Generic[_T]):
    def __init__(self, stream: Stream[_T]) -> None:
        self._stream = stream

    def cancel(self) -> None:
        """End the run and the iteration immediately.

        Can be called from any thread, and more than once; never blocks.
        """
        self._stream.cancel()


class SyncEnd(_End[_T]):
    """Base class for use with `for` and `with`; a subclass adds `__next__`."""

    def __iter__(self) -> Self:
        return self

    def close(self) -> None:
        """End the run immediately, as `cancel()` does."""
        self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


class AsyncEnd(_End[_T]):
    """Base class for use with `async for` and `async with`; a subclass adds `__anext__`."""

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """End the run immediately, as `cancel()` does; never waits."""
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


class _Completed:
    completion: Completion | None = None
    """The finished answer; `None` before the end, and after `cancel()`, `close()` or an error."""

    def _note(self, event: Event | None) -> Event | None:
        if isinstance(event, Completion):
            self.completion = event
        return event


class TextStream(_Completed, SyncEnd["Event"]):
    """The pieces of an answer as `str`: an iterator and a context manager.

    The first iteration starts the run. The run ends immediately when the `with` block exits,
    when `cancel()` is called, or when the stream is garbage-collected after a `break`.
    Iteration raises the errors of `DockerModel.generate`.
    """

    def __next__(self) -> str:
        while (event := self._note(self._stream.next())) is not None:
            if isinstance(event, TextDelta):
                return event.text
        raise StopIteration

    def events(self) -> Iterator[Event]:
        """Iterate over `TextDelta` and `ReasoningDelta` events, then the `Completion`."""
        while (event := self._note(self._stream.next())) is not None:
            yield event


class AsyncTextStream(_Completed, AsyncEnd["Event"]):
    """The pieces of an answer as `str`, for `async for` in any asyncio or uvloop loop.

    Also an async context manager. Canceling the task that awaits a piece ends the run
    immediately.
    """

    async def __anext__(self) -> str:
        while (event := self._note(await self._stream.anext())) is not None:
            if isinstance(event, TextDelta):
                return event.text
        raise StopAsyncIteration

    def events(self) -> AsyncIterator[Event]:
        """Iterate over `TextDelta` and `ReasoningDelta` events, then the `Completion`."""
        return _AsyncEvents(self)


class _AsyncEvents:
    """An async iterator over the events of a stream.

    This is a class, not an async generator, because an object is collected immediately. The
    loop finalizes an unreferenced async generator later, or never if the loop ends first.
    """

    def __init__(self, stream: AsyncTextStream) -> None:
        self._text_stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = self._text_stream._note(await self._text_stream._stream.anext())  # noqa: SLF001  same module
        if event is None:
            raise StopAsyncIteration
        return event
