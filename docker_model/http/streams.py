"""Streams of chat chunks, sync and async."""

from __future__ import annotations

from typing import Any

from docker_model.streams import AsyncEnd, SyncEnd

__all__ = ["AsyncChatStream", "ChatStream"]


class ChatStream(SyncEnd[dict[str, Any]]):
    """The chunks of an answer: an iterator and a context manager.

    The first iteration starts the request. The request ends immediately when the `with` block
    exits, when `cancel()` is called, or when the stream is garbage-collected after a `break`.
    """

    def __next__(self) -> dict[str, Any]:
        chunk = self._stream.next()
        if chunk is None:
            raise StopIteration
        return chunk


class AsyncChatStream(AsyncEnd[dict[str, Any]]):
    """The chunks of an answer for `async for` and `async with`, in any asyncio or uvloop loop.

    Canceling the task that awaits a chunk ends the request immediately.
    """

    async def __anext__(self) -> dict[str, Any]:
        chunk = await self._stream.anext()
        if chunk is None:
            raise StopAsyncIteration
        return chunk
