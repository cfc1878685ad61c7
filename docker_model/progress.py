"""Forward the progress of a call to a framework, outside the I/O thread.

`on_progress` is called on the I/O thread, which must not block. The event handlers of a
framework are user code, so they run on a separate thread or in the caller's event loop.

A call that never waits reports no progress: the framework's own events show when the answer
begins and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from docker_model.types import Progress

__all__ = ["AsyncProgressRelay", "ProgressRelay"]

_ALL = 100  # per cent


def _is_a_wait(progress: Progress) -> bool:
    return progress.stage not in ("first_token", "speed") and progress.percent != _ALL


class ProgressRelay:
    """An `on_progress` that calls a function on a separate thread, in the caller's context.

    A context manager around one call. Its exit waits until the function has handled every
    step, and raises the function's exception. If the call failed, the exit does not wait.

    Args:
        deliver: Called with each `Progress`, in order.
        own: The user's `on_progress`, called first, on the I/O thread.
    """

    def __init__(
        self, deliver: Callable[[Progress], object], own: Callable[[Progress], object] | None
    ) -> None:
        self._deliver = deliver
        self._own = own
        self._context = contextvars.copy_context()
        self._waiting: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self._waited = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __call__(self, progress: Progress) -> None:
        """Pass a step on; never blocks."""
        if self._own is not None:
            self._own(progress)
        self._waited = self._waited or _is_a_wait(progress)
        if not self._waited:
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._context.run, args=(self._run,), name="docker-model-progress"
            )
            self._thread.daemon = True
            self._thread.start()
        self._waiting.put(progress)

    def _run(self) -> None:
        while (progress := self._waiting.get()) is not None:
            try:
                self._deliver(progress)
            except BaseException as error:  # noqa: BLE001  raised again for the caller
                self._error = self._error or error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiting.put(None)
        if error is None and self._thread is not None:
            self._thread.join()
            if self._error is not None:
                raise self._error


class AsyncProgressRelay:
    """An `on_progress` that awaits a function in the caller's event loop and context.

    An async context manager around one call. Its exit behaves like that of `ProgressRelay`.

    Args:
        deliver: Awaited with each `Progress`, in order.
        own: The user's `on_progress`, called first, on the I/O thread.
    """

    def __init__(
        self,
        deliver: Callable[[Progress], Awaitable[object]],
        own: Callable[[Progress], object] | None,
    ) -> None:
        self._deliver = deliver
        self._own = own
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Progress | None] = asyncio.Queue()
        self._waited = False
        self._task: asyncio.Task[None] | None = None

    def __call__(self, progress: Progress) -> None:
        """Pass a step on; never blocks."""
        if self._own is not None:
            self._own(progress)
        self._waited = self._waited or _is_a_wait(progress)
        if not self._waited:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._waiting.put_nowait, progress)

    async def _run(self) -> None:
        while (progress := await self._waiting.get()) is not None:
            await self._deliver(progress)

    async def __aenter__(self) -> Self:
        self._task = self._loop.create_task(self._run(), context=self._context)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        if error is not None:
            self._task.cancel()
            return
        # Queued behind the steps that the I/O thread has already scheduled in the loop.
        self._loop.call_soon(self._waiting.put_nowait, None)
        await self._task
