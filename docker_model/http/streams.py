"""A chat's answer as it comes: the two ends that callers iterate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from docker_model.process import Stream

__all__ = ["AsyncChatStream", "ChatStream"]


class _ChatStream:
    def __init__(self, stream: Stream[dict[str, Any]]) -> None:
        self._stream = stream

    def cancel(self) -> None:
        """End the request now, and with it the iteration.

        From any thread; never waits; may be called again.
        """
        self._stream.cancel()


class ChatStream(_ChatStream):
    """The chunks of an answer: an iterator and a context manager.

    The request starts when the first one is asked for. Breaking out of the loop and dropping
    the stream, leaving the `with`, and `cancel()` end it at once.
    """

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        chunk = self._stream.next()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """The same as `cancel()`."""
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


class AsyncChatStream(_ChatStream):
    """The same for `async for` and `async with`, in any asyncio or uvloop loop.

    Cancelling the task that awaits a chunk ends the request at once.
    """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        chunk = await self._stream.anext()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """The same as `cancel()`; nothing is awaited."""
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
