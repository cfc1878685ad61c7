"""Run coroutines on the I/O thread for callers in other threads, alone or shared by key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model._runtime.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from docker_model._runtime.stream import Sink

_T = TypeVar("_T")


def run_blocking(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread, and wait for its result.

    This also works in a running event loop, which it blocks. An exception that interrupts the
    wait (Ctrl-C) cancels the coroutine.

    Raises:
        GenerationError: If the I/O thread died, or the interpreter is shutting down.
    """
    return _result(_stream(coroutine).next())


async def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the I/O thread, and await its result in any loop.

    Canceling the caller cancels the coroutine, without waiting for its end.

    Raises:
        GenerationError: If the I/O thread died, or the interpreter is shutting down.
    """
    return _result(await _stream(coroutine).anext())


def _stream(coroutine: Coroutine[Any, Any, _T]) -> Stream[tuple[_T]]:
    async def produce(sink: Sink[tuple[_T]]) -> None:
        sink.put((await coroutine,), last=True)

    # `close` prevents the warning about a coroutine that was never awaited.
    return Stream(produce, coroutine.close)


def _result(item: tuple[_T] | None) -> _T:
    if item is None:  # the coroutine canceled itself
        raise asyncio.CancelledError
    return item[0]


class SingleFlight:
    """Shares running work between callers with the same key; only the I/O thread uses it."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, tuple[asyncio.Task[BaseException | None], list[None]]] = {}

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await `work()`, shared with all callers that currently wait for `key`.

        The work is canceled when no caller waits for it.

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
                self._drop(key, task)  # now, so that no new caller gets the canceled task
                task.cancel()
        if error is not None:
            raise error

    def _drop(self, key: Hashable, task: asyncio.Task[BaseException | None]) -> None:
        if self._tasks.get(key, (None,))[0] is task:
            del self._tasks[key]


async def _outcome(work: Coroutine[Any, Any, object]) -> BaseException | None:
    """Return the exception that `work` raised, if any.

    The task itself does not raise it: a user's callback can raise SystemExit, which would end the
    event loop, and asyncio would log an exception that no caller retrieves.
    """
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  raised again for each caller
        return error
    return None
