"""A stream from a coroutine on the I/O thread to one consumer in any other thread or loop.

There are no locks: the I/O thread must never wait for a caller, and a caller that is interrupted
or garbage-collected could leave a lock locked. Both ends rely on `deque.append` and
`deque.popleft`, which are atomic with and without the global interpreter lock:

    producer                              consumer
    append the item                       append the waiter
    remove and call each waiter           check again, and wait only if there is no item

In every order, the consumer finds the item or the producer calls the waiter. An unnecessary call
of a waiter is harmless: the consumer finds no item, and waits again.

`RACES.md` in this directory lists the possible race conditions between these steps.
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

HIGH_WATER = 1 << 20  # characters in the buffer at which reading stops
LOW_WATER = HIGH_WATER // 2
# On Windows, Ctrl-C interrupts a wait for a lock only since Python 3.14 (python/cpython#125541).
# In a free-threaded build, a signal just before the wait is not noticed until the wait ends.
_FREE_THREADED = "t" in getattr(sys, "abiflags", "")
_OLD_ON_WINDOWS = sys.platform == "win32" and sys.version_info < (3, 14)
_WAIT_SLICE = 0.1 if _FREE_THREADED or _OLD_ON_WINDOWS else -1  # seconds


class Sink(Generic[_T]):
    """The producer's end, on the I/O thread.

    Attributes:
        on_full: Called to stop reading, when the buffer is full.
        on_drained: Called to resume reading.
        on_end: Called when the producer has ended, or will never start.
        thread: The I/O thread that runs the producer; `None` until the stream starts.
    """

    def __init__(self) -> None:
        self.thread: io_thread.IoThread | None = None
        self.on_full: Callable[[], object] = _nothing
        self.on_drained: Callable[[], object] = _nothing
        self.items: deque[tuple[_T, int]] = deque()
        self.closed = False
        self.complete = False  # nothing follows the items, not even an error
        self.error: BaseException | None = None
        # A deque, although only one consumer waits at a time: reading and clearing an attribute
        # are two steps, and a free-threaded consumer can wait again between them.
        self.waiters: deque[Callable[[], object]] = deque()
        self.on_end: Callable[[], object] = _nothing
        self.full = False
        self.taken = 0  # characters removed; changed only by the consumer
        self._put = 0  # characters added; changed only by the producer
        self._task: asyncio.Task[None] | None = None
        self._aborted = False
        self._begun = False

    def put(self, item: _T, size: int = 0, *, last: bool = False) -> None:
        """Pass on an item of `size` characters.

        After the `last` item the producer must return immediately. The consumer does not wait for
        the end of the producer, which would cost another switch of both threads, and can no
        longer cancel it.
        """
        self._put += size
        self.items.append((item, size))
        self.complete = last  # after the append; otherwise the consumer could miss the item
        self._wake()
        if not self._begun:
            # Let the consumer receive the first item. Otherwise this thread could hold the global
            # interpreter lock for 5 ms while it reads further data. `make bench` measures this as
            # the first piece over HTTP.
            self._begun = True
            time.sleep(0)
        if not self.full and self._put - self.taken > HIGH_WATER:
            self.full = True
            self.on_full()
            self.drain()  # the consumer possibly removed all items before `full` was set

    def drain(self) -> None:
        """Resume reading, if the consumer has removed enough items."""
        if self.full and self._put - self.taken <= LOW_WATER:
            self.full = False
            self.on_drained()

    def start(self, produce: Callable[[Sink[_T]], Coroutine[Any, Any, None]]) -> None:
        """Run the producer."""
        assert self.thread is not None
        if self._aborted:  # by another thread, while the consumer was starting the stream
            return
        if not self.thread.alive:
            self.on_end()
            return
        self._task = asyncio.get_running_loop().create_task(self._run(produce))
        # A callback, because a task that is canceled before its first step never executes `_run`.
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
            return  # the thread is ending; a killed child is not the end of the stream
        self.thread.sinks.discard(self)
        self.closed = True
        self._wake()

    def lose(self) -> None:
        """Wake the consumer, which detects that the I/O thread has died."""
        if self._task is None:
            self.on_end()
        self._wake()

    def abort(self) -> None:
        """Cancel the producer, or prevent its start."""
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
            except IndexError:  # another thread ended the stream and removed the waiter
                return
            waiter()


def _nothing() -> None:
    pass


class Stream(Generic[_T]):
    """The consumer's end, for one consumer at a time, in any thread or event loop.

    Args:
        produce: The producer: a coroutine function that puts items into a sink. It starts on the
            I/O thread when the consumer requests the first item.
        on_end: Called when the producer has ended, or will never start.
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
        """Wait for the next item, and return it; `None` at the end.

        An exception that interrupts the wait (Ctrl-C) ends the producer. An exception of the
        producer is raised once.

        Raises:
            GenerationError: If the I/O thread died or belongs to another process, or if the
                interpreter is shutting down.
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
            # A second Ctrl-C can arrive before the first `retry_on_interrupt` has begun.
            io_thread.retry_on_interrupt(self.cancel)
            raise
        return item

    async def anext(self) -> _T | None:
        """Await the next item, or `None` at the end; canceling the wait ends the producer."""
        try:
            try:
                while (item := self._take()) is None and not self._over():
                    loop = asyncio.get_running_loop()
                    woken = loop.create_future()
                    if self._must_wait(functools.partial(_wake_loop, loop, woken, self._sink)):
                        await woken
                    else:
                        woken.cancel()  # the waiter is still called, possibly after the loop closes
            except BaseException:  # includes GeneratorExit: loop closed, task garbage-collected
                io_thread.retry_on_interrupt(self.cancel)
                raise
        except KeyboardInterrupt:
            io_thread.retry_on_interrupt(self.cancel)  # as in `next`
            raise
        return item

    def cancel(self) -> None:
        """End the producer and the iteration; for any thread or finalizer, never blocks."""
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
        if self._cancelled:  # by another thread, which has aborted the sink if `_io` was not set
            thread.sinks.discard(sink)
            return
        abandon = functools.partial(_abandon, thread, sink)
        # Ctrl-C can also interrupt finalizers.
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
                    del error  # its traceback references this frame
            return True
        return False

    def _must_wait(self, waiter: Callable[[], object]) -> bool:
        assert self._io is not None
        sink = self._sink
        sink.waiters.append(waiter)
        io_thread.check_alive(self._io)  # after the append, because a dying thread wakes waiters
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

    It has no reference to the `Stream`, so that an unused stream is garbage-collected, which ends
    its producer.
    """
    try:
        loop.call_soon_threadsafe(_set, woken)
    except RuntimeError:  # the consumer's loop is closed
        if not woken.done():  # and was closed during the wait: no item will ever be taken
            sink.abort()


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():  # the wait can be canceled after the wake-up
        woken.set_result(None)
