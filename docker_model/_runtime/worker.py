"""A thread for calls that may block, such as an `exec` on a dead network file system.

The I/O thread must not make them, since every stream would wait. Executors are of no use: the
interpreter joins their threads before it ends, even if they hang.
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
        ResourceError: If the machine has no room for it.
        GenerationError: If the interpreter is ending, and starts no thread any more.
    """
    thread = threading.Thread(target=run, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if "shutdown" in str(error):  # Python's words: "can't create new thread at …"
            msg = "the interpreter is ending, and starts no thread any more"
            raise GenerationError(msg, hint="make the first call before it ends") from error
        msg = "no thread can be started"
        raise ResourceError(msg, hint="end other processes, or raise `ulimit -u`") from error
    return thread


class Worker:
    """One daemon thread that runs functions in order, for one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Callable[..., None]] | None] = (
            queue.SimpleQueue()
        )
        start_thread("docker-model-worker", self._run)

    async def run(self, work: Callable[[], _T], undo: Callable[[_T], object]) -> _T:
        """Run `work` and await its result, which goes to `undo` if the caller is cancelled."""
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
            # Cancelled after the delivery, and before this task resumed.
            if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
                undo(outcome.result())
            raise

    def stop(self) -> None:
        """End the thread once all functions given so far have returned."""
        self._work.put(None)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the loop once all functions given so far have returned."""
        self._work.put((_nothing, lambda _result, _error: callback()))

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, deliver = item
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001  raised where it is awaited
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed: the interpreter ends
                self._loop.call_soon_threadsafe(deliver, result, error)
            del item, work, deliver, result, error  # to hold no object while this waits


def _nothing() -> None:
    pass
