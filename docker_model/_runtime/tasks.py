"""Coroutines on the I/O thread for callers elsewhere: one each, or one shared by all who ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model._runtime.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from docker_model._runtime.stream import Sink

_T = TypeVar("_T")


def run_blocking(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread and wait: the sync end.

    Works inside a running event loop too, which it blocks. Whatever interrupts the wait
    (Ctrl-C) cancels the coroutine.

    Raises:
        GenerationError: See `docker_model._runtime.io_thread.check_alive`.
    """
    return _result(_stream(coroutine).next())


async def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread and await it from any loop: the async end.

    Cancelling the caller cancels the coroutine and does not wait for its end.

    Raises:
        GenerationError: See `docker_model._runtime.io_thread.check_alive`.
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


class SingleFlight:
    """What is being done, by key; on the I/O thread alone."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, tuple[asyncio.Task[BaseException | None], list[None]]] = {}

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await `work()`, shared with everybody who wants `key` at this time.

        It goes on while anybody waits for it, and is cancelled when nobody does.

        Raises:
            BaseException: What `work` raised.
        """
        task, waiting = self._tasks.get(key, (None, []))
        if task is None:
            task = asyncio.get_running_loop().create_task(_outcome(work()))
            self._tasks[key] = task, waiting
            task.add_done_callback(lambda task: self._drop(key, task))
        waiting.append(None)
        try:
            error = await asyncio.shield(task)
        finally:
            waiting.pop()
            if not waiting:  # the last one who wanted it is gone
                self._drop(key, task)  # at once: who asks next must not get a cancelled one
                task.cancel()
        if error is not None:
            raise error

    def _drop(self, key: Hashable, task: asyncio.Task[BaseException | None]) -> None:
        if self._tasks.get(key, (None,))[0] is task:
            del self._tasks[key]


async def _outcome(work: Coroutine[Any, Any, object]) -> BaseException | None:
    """What it failed with, if it did.

    Never raised in the task itself: a user's callback may raise SystemExit, which would end
    the loop of us all. And what nobody waits for any more is not logged.
    """
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  raised again for each who waits
        return error
    return None
