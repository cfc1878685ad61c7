"""A stream with two ends: a coroutine on the I/O thread, and one consumer anywhere else.

There are no locks: the I/O thread must never wait for a caller, and a caller that is interrupted
or collected could leave a lock locked. Both ends rely on `deque.append` and `deque.popleft` being
atomic, with the interpreter's lock and without it:

    producer                              consumer
    append the item                       append the waiter
    take each waiter and call it          look again, and wait only if there is no item

Whichever comes first, the item is seen or the waiter is called. A waiter that is called without a
reason does no harm: the consumer looks, finds no item, and waits again.

`RACES.md` in this directory lists what can happen between two of these steps.
"""

from __future__ import annotations

import _thread
import asyncio
import functools
import sys
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from docker_model._runtime import io_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")

HIGH_WATER = 1 << 20  # characters that may wait for a slow consumer before reading stops
LOW_WATER = HIGH_WATER // 2
# Ctrl-C interrupts a wait for a lock; on Windows only since Python 3.14 (python/cpython#125541).
_WAIT_SLICE = 0.1 if sys.platform == "win32" and sys.version_info < (3, 14) else -1


class Sink(Generic[_T]):
    """The producer's end, on the I/O thread.

    Attributes:
        on_full: Called when so much waits for the consumer that reading should stop.
        on_drained: Called when reading may go on.
        on_end: Called when the producer has ended, or will never begin.
        thread: The I/O thread that runs the producer, once the stream has started.
    """

    def __init__(self) -> None:
        self.thread: io_thread.IoThread | None = None
        self.on_full: Callable[[], object] = _nothing
        self.on_drained: Callable[[], object] = _nothing
        self.items: deque[tuple[_T, int]] = deque()
        self.closed = False
        self.complete = False  # nothing follows the items, not even an error
        self.error: BaseException | None = None
        # A deque, although one consumer waits at a time: reading an attribute and clearing it are
        # two steps, and a free-threaded consumer may wait again between them.
        self.waiters: deque[Callable[[], object]] = deque()
        self.on_end: Callable[[], object] = _nothing
        self.full = False
        self.taken = 0  # characters, counted by the consumer alone
        self._put = 0  # and by the producer alone
        self._task: asyncio.Task[None] | None = None
        self._aborted = False
        self._begun = False

    def put(self, item: _T, size: int = 0, *, last: bool = False) -> None:
        """Hand over an item that holds `size` characters.

        After the `last` item the producer must do nothing more: the consumer does not wait for the
        producer's end, which would take both threads another turn, and cannot cancel it any more.
        """
        self._put += size
        self.items.append((item, size))
        self.complete = last  # after the item: without it the stream would seem to be over
        self._wake()
        if not self._begun:
            # Let the consumer have the first item: this thread may hold the interpreter's lock for
            # 5 ms while it reads what else has arrived. `make bench`: the first piece over HTTP.
            self._begun = True
            time.sleep(0)
        if not self.full and self._put - self.taken > HIGH_WATER:
            self.full = True
            self.on_full()
            self.drain()  # the consumer may have caught up before it could see `full`

    def drain(self) -> None:
        """Resume reading, if the consumer has taken enough."""
        if self.full and self._put - self.taken <= LOW_WATER:
            self.full = False
            self.on_drained()

    def start(self, produce: Callable[[Sink[_T]], Coroutine[Any, Any, None]]) -> None:
        """Run the producer."""
        assert self.thread is not None
        if self._aborted:  # by another thread, between the first steps of the consumer
            return
        if not self.thread.alive:
            self.on_end()
            return
        self._task = asyncio.get_running_loop().create_task(self._run(produce))
        # Not in `_run`: a task that is cancelled before its first step never runs.
        self._task.add_done_callback(self._end)

    async def _run(self, produce: Callable[[Sink[_T]], Coroutine[Any, Any, None]]) -> None:
        try:
            await produce(self)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  raised again at the consumer's end
            self.error = error

    def _end(self, task: asyncio.Task[None]) -> None:
        assert self.thread is not None
        self.on_end()
        if (self.error is not None or task.cancelled()) and not self.thread.alive:
            return  # the thread ends: a consumer must not take a killed child for an end
        self.thread.sinks.discard(self)
        self.closed = True
        self._wake()

    def lose(self) -> None:
        """Wake the consumer, which finds that the I/O thread has died."""
        if self._task is None:
            self.on_end()
        self._wake()

    def abort(self) -> None:
        """Cancel the producer, or keep it from beginning."""
        self._aborted = True
        if self._task is not None:
            self._task.cancel()
        elif not self.closed:
            if self.thread is not None:
                self.thread.sinks.discard(self)
            self.on_end()
            self.closed = True
            self._wake()

    def _wake(self) -> None:
        while self.waiters:
            try:
                waiter = self.waiters.popleft()
            except IndexError:  # another thread has ended the stream, and took it
                return
            waiter()


def _nothing() -> None:
    pass


class Stream(Generic[_T]):
    """The consumer's end, for one consumer at a time, in any thread or event loop.

    Args:
        produce: The producer: a coroutine function that puts into the sink it is given.
            It starts on the I/O thread when the first item is asked for.
        on_end: Called when the producer has ended, or will never begin.
    """

    def __init__(
        self,
        produce: Callable[[Sink[_T]], Coroutine[Any, Any, None]],
        on_end: Callable[[], object] = _nothing,
    ) -> None:
        self._produce = produce
        self._sink: Sink[_T] = Sink()
        self._sink.on_end = on_end
        self._io: io_thread.IoThread | None = None
        self._cancelled = False

    def next(self) -> _T | None:
        """Wait for the next item; `None` at the end.

        An exception that interrupts the wait (Ctrl-C) ends the producer. An exception of the
        producer is raised here, once.

        Raises:
            GenerationError: If the I/O thread died, belongs to another process, or the interpreter
                is ending.
        """
        try:
            try:
                while (item := self._take()) is None and not self._over():
                    wake = _thread.allocate_lock()
                    wake.acquire()
                    if self._must_wait(functools.partial(_wake_thread, wake)):
                        io_thread.check_not_on_thread()
                        while not wake.acquire(timeout=_WAIT_SLICE):  # signals interrupt it
                            pass
            except BaseException:
                io_thread.retry_on_interrupt(self.cancel)
                raise
        except KeyboardInterrupt:
            # A second Ctrl-C may come on the way into the first `retry_on_interrupt`.
            io_thread.retry_on_interrupt(self.cancel)
            raise
        return item

    async def anext(self) -> _T | None:
        """Await the next item; `None` at the end. Cancelling the wait ends the producer."""
        try:
            try:
                while (item := self._take()) is None and not self._over():
                    loop = asyncio.get_running_loop()
                    woken = loop.create_future()
                    if self._must_wait(functools.partial(_wake_loop, loop, woken, self._sink)):
                        await woken
                    else:
                        woken.cancel()  # the waiter is still called, maybe after the loop is closed
            except BaseException:  # GeneratorExit, too: the loop was closed and the task collected
                io_thread.retry_on_interrupt(self.cancel)
                raise
        except KeyboardInterrupt:
            io_thread.retry_on_interrupt(self.cancel)  # as in `next`
            raise
        return item

    def cancel(self) -> None:
        """End the producer and the iteration; from any thread or finalizer, without waiting."""
        self._cancelled = True
        if self._io is not None:
            _abandon(self._io, self._sink)
        else:
            self._sink.abort()

    def _take(self) -> _T | None:
        if self._io is None and not self._cancelled:
            self._start()
        sink = self._sink
        if self._cancelled or not sink.items:
            return None
        item, size = sink.items.popleft()
        sink.taken += size
        if sink.full:
            self._ask_for_more()
        return item

    def _start(self) -> None:
        thread = io_thread.current()
        io_thread.check_alive(thread)
        sink = self._sink
        sink.thread = thread
        thread.sinks.add(sink)
        self._io = thread
        if self._cancelled:  # by another thread, which aborts by itself if it did not see `_io` yet
            thread.sinks.discard(sink)
            return
        abandon = functools.partial(_abandon, thread, sink)
        # Ctrl-C interrupts finalizers, too.
        weakref.finalize(self, io_thread.retry_on_interrupt, abandon).atexit = False
        thread.post(sink.start, self._produce)

    def _over(self) -> bool:
        if self._cancelled or (self._sink.complete and not self._sink.items):
            return True
        if self._sink.closed and not self._sink.items:
            error, self._sink.error = self._sink.error, None
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # it holds this frame
            return True
        return False

    def _must_wait(self, waiter: Callable[[], object]) -> bool:
        assert self._io is not None
        sink = self._sink
        sink.waiters.append(waiter)
        io_thread.check_alive(self._io)  # after the line above: a thread that dies wakes waiters
        return not (sink.items or sink.complete or sink.closed or self._cancelled)

    def _ask_for_more(self) -> None:
        assert self._io is not None
        self._io.post(self._sink.drain)


def _abandon(thread: io_thread.IoThread, sink: Sink[Any]) -> None:
    """Abort a producer that has not ended."""
    if not (sink.complete or sink.closed):
        thread.post(sink.abort)


def _wake_thread(wake: _thread.LockType) -> None:
    """Wake a sync consumer; runs on the I/O thread."""
    wake.release()


def _wake_loop(
    loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None], sink: Sink[Any]
) -> None:
    """Wake an async consumer; runs on the I/O thread.

    Holds no reference to the `Stream`: one that its owner has dropped must be collected, which ends
    its producer.
    """
    try:
        loop.call_soon_threadsafe(_set, woken)
    except RuntimeError:  # the consumer's loop is closed
        if not woken.done():  # and was closed during the wait: no item will ever be taken
            sink.abort()


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():  # it may have been cancelled in between
        woken.set_result(None)
