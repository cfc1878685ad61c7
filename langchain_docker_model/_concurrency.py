"""Several answers at once: the first that fails ends the others.

How many runs there are at a time is `docker_model`'s business (`max_concurrency`); here is
only who waits for them. Async callers have tasks for that, sync callers short-lived threads
of their own: LangChain's shared pools stay free for others.
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
    streams: Sequence[TextStream], tell_of_first: Callable[[Event], object], *, at_once: int
) -> list[Completion]:
    """Read `streams` to their ends, at most about `at_once` at a time.

    The first is read on the caller's own thread, where `tell_of_first` hears of its events:
    callbacks see the context they were set up in.
    """
    if not streams:
        return []

    def read(stream: TextStream, tell: Callable[[Event], object] = _nobody) -> Completion | None:
        with _all_or_none(streams), stream:
            for event in stream.events():
                tell(event)
        return stream.completion

    first, *others = streams
    with ThreadPoolExecutor(at_once) as pool, _all_or_none(streams):
        waiting = [pool.submit(read, stream) for stream in others]
        completions = [read(first, tell_of_first), *(future.result() for future in waiting)]
    # A stream without completion was ended by another's failure, which has been raised.
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
    streams: Sequence[AsyncTextStream], tell_of_first: Callable[[Event], Awaitable[object]]
) -> list[Completion]:
    """The same for async callers."""

    async def read(
        stream: AsyncTextStream, tell: Callable[[Event], Awaitable[object]] = _anobody
    ) -> Completion | None:
        async with stream:
            async for event in stream.events():
                await tell(event)
        return stream.completion

    tasks = [
        asyncio.ensure_future(read(stream, tell_of_first if number == 0 else _anobody))
        for number, stream in enumerate(streams)
    ]
    try:
        return cast("list[Completion]", await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _nobody(_: Event) -> None:
    pass


async def _anobody(_: Event) -> None:
    pass
