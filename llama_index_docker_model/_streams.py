"""A streaming method's outermost generator, which owns the stream below core's.

Core's decorators do not close the generator that they wrap, they rely on its being
collected. A callback handler that keeps the exception (`LlamaDebugHandler` does) keeps that
generator too, and the model would go on for nobody.

Objects rather than generators of their own: an object can end a stream whose `next()` waits
in another thread, and a dropped async generator is finalised at some later turn of its event
loop, or never when the loop ends first, as inside core's `asyncio_run`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import AsyncGeneratorType, GeneratorType

    from llama_index_docker_model._questions import Reader, Stoppable
    from llama_index_docker_model._responses import Answer

_R = TypeVar("_R")


def chunks_of(
    events: Iterator[Any], reader: Reader, respond: Callable[[Answer], _R]
) -> Generator[_R, None, None]:
    """The responses of a stream, at least one: core makes an event of the last."""
    start = reader.answer
    for event in events:
        answer = reader.feed(event)
        if answer is not None:
            yield respond(answer)
    last = reader.close()
    if last is not None or reader.answer is start:  # it was cancelled before there was anything
        yield respond(last or start)


async def achunks_of(
    events: AsyncIterator[Any], reader: Reader, respond: Callable[[Answer], _R]
) -> AsyncGenerator[_R, None]:
    """The same, awaited."""
    start = reader.answer
    async for event in events:
        answer = reader.feed(event)
        if answer is not None:
            yield respond(answer)
    last = reader.close()
    if last is not None or reader.answer is start:
        yield respond(last or start)


class OwnedChunks(Generator[_R, None, None]):
    """Core's generator, and the end of everything below it.

    Args:
        stream: The stream that is to end.
        layers: The generators above it, innermost first; the last is iterated.
    """

    def __init__(self, stream: Stoppable, *layers: Generator[_R, None, None]) -> None:
        self._stream = stream
        self._layers = layers

    def send(self, value: None, /) -> _R:
        """Give the next response."""
        try:
            return self._layers[-1].send(value)
        except BaseException:
            self.close()
            raise

    def throw(self, *error: Any) -> _R:
        """Raise at the place where the last response was given.

        Args:
            error: In whichever way it came: Python 3.12 warns of all but a single one.
        """
        try:
            return self._layers[-1].throw(*error)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the model's work, from any thread, while another one waits for it as well."""
        self._stream.cancel()
        for layer in reversed(self._layers):
            # One that runs, in another thread, comes to its end by itself.
            if not cast("GeneratorType[_R, None, None]", layer).gi_running:
                layer.close()

    __del__ = close


class OwnedAsyncChunks(AsyncGenerator[_R, None]):
    """The same for `async for`."""

    def __init__(self, stream: Stoppable, *layers: AsyncGenerator[_R, None]) -> None:
        self._stream = stream
        self._layers = layers

    async def asend(self, value: None, /) -> _R:
        """Give the next response."""
        try:
            return await self._layers[-1].asend(value)
        except BaseException:
            self._close()
            raise

    async def athrow(self, *error: Any) -> _R:
        """Raise at the place where the last response was given; see `OwnedChunks.throw`."""
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
            # One that runs, in another task, comes to its end by itself. The others rest at a
            # `yield`, and await nothing on their way out: no loop is needed.
            if not cast("AsyncGeneratorType[_R, None]", layer).ag_running:
                with suppress(StopIteration):
                    layer.aclose().send(None)

    __del__ = _close
