"""Streams of a chat's chunks, for sync and async callers."""

from __future__ import annotations

from typing import Any

from docker_model.streams import AsyncEnd, SyncEnd

__all__ = ["AsyncChatStream", "ChatStream"]


class ChatStream(SyncEnd[dict[str, Any]]):
    """The chunks of an answer: an iterator and a context manager.

    The request starts when the first one is asked for. Breaking out of the loop and dropping
    the stream, leaving the `with`, and `cancel()` end it at once.
    """

    def __next__(self) -> dict[str, Any]:
        chunk = self._stream.next()
        if chunk is None:
            raise StopIteration
        return chunk


class AsyncChatStream(AsyncEnd[dict[str, Any]]):
    """The chunks of an answer for `async for` and `async with`, in any asyncio or uvloop loop.

    Cancelling the task that awaits a chunk ends the request at once.
    """

    async def __anext__(self) -> dict[str, Any]:
        chunk = await self._stream.anext()
        if chunk is None:
            raise StopAsyncIteration
        return chunk
