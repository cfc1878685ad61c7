"""Concurrent answers: the first failure cancels the others.

`docker_model` limits how many run at a time (`max_concurrency`). Async callers wait in tasks,
and sync callers wait in short-lived threads, so that LangChain's shared pools are not blocked.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from docker_model import AsyncTextStream, TextStream
    from docker_model.types import Completion, Event


def complete(
    streams: Sequence[TextStream], on_first_event: Callable[[Event], object], *, at_once: int
) -> list[Completion]:
    """Read `streams` to their ends, about `at_once` at a time.

    The first stream is read in the caller's thread, and its events are passed to
    `on_first_event`: callbacks must run in the context in which they were registered.
    """
    if not streams:
        return []

    def read(
        stream: TextStream, on_event: Callable[[Event], object] = _ignore
    ) -> Completion | None:
        with _all_or_none(streams), stream:
            for event in stream.events():
                on_event(event)
        return stream.completion

    first, *others = streams
    with ThreadPoolExecutor(at_once) as pool, _all_or_none(streams):
        futures = [pool.submit(read, stream) for stream in others]
        completions = [read(first, on_first_event), *(future.result() for future in futures)]
    # A stream has no completion only if another stream failed, and that error was raised above.
    return cast("list[Completion]", completions)


@contextmanager
def _all_or_none(streams: Sequence[TextStream]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for stream in streams:
            stream.cancel()
        raise


async def acomplete(
    streams: Sequence[AsyncTextStream], on_first_event: Callable[[Event], Awaitable[object]]
) -> list[Completion]:
    """Read `streams` to their ends concurrently."""

    async def read(
        stream: AsyncTextStream, on_event: Callable[[Event], Awaitable[object]] = _ignore_async
    ) -> Completion | None:
        async with stream:
            async for event in stream.events():
                await on_event(event)
        return stream.completion

    tasks = [
        asyncio.ensure_future(read(stream, on_first_event if number == 0 else _ignore_async))
        for number, stream in enumerate(streams)
    ]
    try:
        return cast("list[Completion]", await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _ignore(_: Event) -> None:
    pass


async def _ignore_async(_: Event) -> None:
    pass
