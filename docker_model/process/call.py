"""One coroutine on the I/O thread, whose caller waits elsewhere: a stream of one item."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model.process.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from docker_model.process.stream import Sink

_T = TypeVar("_T")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread and wait: the sync end.

    Works inside a running event loop too, which it blocks. Whatever interrupts the wait
    (Ctrl-C) cancels the coroutine.

    Raises:
        GenerationError: See `docker_model.process.io.check_alive`.
    """
    return _result(_stream(coroutine).next())


async def arun(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread and await it from any loop: the async end.

    Cancelling the caller cancels the coroutine and does not wait for its end.

    Raises:
        GenerationError: See `docker_model.process.io.check_alive`.
    """
    return _result(await _stream(coroutine).anext())


def _stream(coroutine: Coroutine[Any, Any, _T]) -> Stream[tuple[_T]]:
    async def produce(sink: Sink[tuple[_T]]) -> None:
        sink.put((await coroutine,), last=True)

    # Closing does nothing to one that has run, and spares one that never ran a warning.
    return Stream(produce, coroutine.close)


def _result(item: tuple[_T] | None) -> _T:
    if item is None:  # the coroutine was cancelled by itself
        raise asyncio.CancelledError
    return item[0]
