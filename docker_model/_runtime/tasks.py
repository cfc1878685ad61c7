"""Coroutines that run on the I/O thread for callers elsewhere, each alone or shared by a key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model._runtime.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from docker_model._runtime.stream import Sink

_T = TypeVar("_T")


def run_blocking(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread and wait for its result.

    Works inside a running event loop too, which it blocks. An exception that interrupts the wait
    (Ctrl-C) cancels the coroutine.

    Raises:
        GenerationError: If the I/O thread died or the interpreter is ending.
    """
    return _result(_stream(coroutine).next())


async def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread and await its result from any loop.

    Cancelling the caller cancels the coroutine and does not wait for its end.

    Raises:
        GenerationError: If the I/O thread died or the interpreter is ending.
    """
    return _result(await _stream(coroutine).anext())


def _stream(coroutine: Coroutine[Any, Any, _T]) -> Stream[tuple[_T]]:
    async def produce(sink: Sink[tuple[_T]]) -> None:
        sink.put((await coroutine,), last=True)

    # Closing a coroutine that has run does nothing; one that never ran would cause a warning.
    return Stream(produce, coroutine.close)


def _result(item: tuple[_T] | None) -> _T:
    if item is None:  # the coroutine was cancelled by itself
        raise asyncio.CancelledError
    return item[0]


class SingleFlight:
    """Work that is under way, by key, shared by all who ask for it; on the I/O thread alone."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, tuple[asyncio.Task[BaseException | None], list[None]]] = {}

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await `work()`, shared with all other callers that wait for `key` at this time.

        The work goes on while at least one caller waits for it, and is then cancelled.

        Raises:
            BaseException: If `work` raised it.
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
            if not waiting:
                self._drop(key, task)  # at once: the next caller must not get a cancelled task
                task.cancel()
        if error is not None:
            raise error

    def _drop(self, key: Hashable, task: asyncio.Task[BaseException | None]) -> None:
        if self._tasks.get(key, (None,))[0] is task:
            del self._tasks[key]


async def _outcome(work: Coroutine[Any, Any, object]) -> BaseException | None:
    """Return the exception that `work` raised, if any.

    It is never raised in the task itself: a user's callback may raise SystemExit, which would end
    the loop of all calls. And asyncio would log an exception that no caller waits for any more.
    """
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  raised again for each caller
        return error
    return None
