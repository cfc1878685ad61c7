"""A thread for calls that can block, such as an `exec` on a dead network file system.

The I/O thread must not make such calls, because all streams would wait. Executors are not
suitable: the interpreter joins their threads at exit, even threads that hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from docker_model.errors import GenerationError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def start_thread(name: str, run: Callable[..., object], *args: object) -> threading.Thread:
    """Start a daemon thread.

    Raises:
        ResourceError: If the system has no resources for the thread.
        GenerationError: If the interpreter is shutting down.
    """
    thread = threading.Thread(target=run, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if "shutdown" in str(error):  # Python's message: "can't create new thread at …"
            msg = "cannot start a thread: the interpreter is shutting down"
            raise GenerationError(msg, hint="make the first call before the shutdown") from error
        msg = "cannot start a thread"
        raise ResourceError(msg, hint="end other processes, or raise `ulimit -u`") from error
    return thread


class Worker:
    """A daemon thread that runs functions in order, for one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Callable[..., None]] | None] = (
            queue.SimpleQueue()
        )
        start_thread("docker-model-worker", self._run)

    async def run(self, work: Callable[[], _T], undo: Callable[[_T], object]) -> _T:
        """Run `work`, and await its result; if the caller is canceled, call `undo` with it."""
        outcome: asyncio.Future[_T] = self._loop.create_future()

        def deliver(result: _T | None, error: BaseException | None) -> None:
            if error is None:
                result = cast("_T", result)
                if outcome.cancelled():
                    undo(result)
                else:
                    outcome.set_result(result)
            elif not outcome.cancelled():
                outcome.set_exception(error)

        self._work.put((work, deliver))
        try:
            return await outcome
        except asyncio.CancelledError:
            # Canceled after the delivery, but before this task resumed.
            if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
                undo(outcome.result())
            raise

    def stop(self) -> None:
        """End the thread after all functions submitted so far have returned."""
        self._work.put(None)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the loop after all functions submitted so far have returned."""
        self._work.put((_nothing, lambda _result, _error: callback()))

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, deliver = item
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001  raised where it is awaited
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed at interpreter exit
                self._loop.call_soon_threadsafe(deliver, result, error)
            del item, work, deliver, result, error  # keep no references while waiting


def _nothing() -> None:
    pass
