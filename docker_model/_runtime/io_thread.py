"""The private I/O thread: an event loop that owns all child processes.

A child process of the caller's event loop depends on that loop: it is orphaned when the loop
closes, stalls when the loop stalls, and cannot be ended from another thread
(python/cpython#114177). Child processes of this loop are independent of the caller's loops and
tasks. The same model object works in sync code, asyncio, uvloop, notebooks and worker threads.

The thread never acquires a lock that a caller can hold, and callers only post callbacks to it.
Therefore it does not use `concurrent.futures.Future`, which has a lock that Ctrl-C can leave
locked.

`RACES.md` in this directory lists the possible race conditions and the code that handles them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from docker_model._runtime.process_tree import EventLoop, ProcessTree
from docker_model._runtime.worker import Worker, start_thread
from docker_model.errors import DockerModelError, GenerationError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from docker_model._runtime.child import Child
    from docker_model._runtime.stream import Sink

_T = TypeVar("_T")

SHUTDOWN_TIMEOUT = 1.0  # seconds that the interpreter's exit waits for the thread to reap processes
_FORK_WAIT_TIMEOUT = 1.0  # seconds that a fork waits for the start of a process, which can hang

_logger = logging.getLogger("docker_model")


class IoThread:
    """A daemon thread that runs an event loop until the interpreter ends.

    Attributes:
        alive: False if the thread has died, in a forked process, and at interpreter exit.
        failure: The exception that ended the thread unexpectedly.
        sinks: The sinks of all active streams.
        children: All children that have not been reaped; only the thread itself changes the set.
        unregistered: Processes that the worker thread has started, but without a `Child` so far.

    Raises:
        ResourceError: If the system has no descriptors or threads left.
        GenerationError: If the interpreter is shutting down.
    """

    def __init__(self) -> None:
        self.alive = True
        self.failure: BaseException | None = None
        self.sinks: set[Sink[Any]] = set()
        self.children: set[Child] = set()
        self.unregistered: set[ProcessTree] = set()
        self._locals: dict[Callable[[], Any], Any] = {}
        try:
            self.loop = EventLoop()
        except OSError as error:
            msg = f"the I/O thread cannot be started: {error.strerror}"
            raise ResourceError(msg, hint="close files, or raise `ulimit -n`") from error
        try:
            self.thread = start_thread("docker-model-io", self._run)
        except DockerModelError:
            self.loop.close()
            raise
        self._worker: Worker | None = None
        self._last: asyncio.Task[None] | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            if self.alive:
                msg = "the event loop was stopped"
                raise RuntimeError(msg)  # noqa: TRY301  handled like other errors of the loop
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        except BaseException as error:  # noqa: BLE001  raised for each consumer
            self._die(error)
        finally:
            self.loop.close()

    def _die(self, error: BaseException) -> None:
        """Release all resources after an unexpected end of the loop, and wake all consumers."""
        global _current  # noqa: PLW0603  the next call starts a new thread
        self.failure = error
        self.alive = False
        _logger.error("the I/O thread ended unexpectedly: %s", type(error).__name__)
        with contextlib.suppress(BaseException):  # the loop is possibly unusable
            self.loop.run_until_complete(self._end_all(SHUTDOWN_TIMEOUT))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.set_exception_handler(lambda *_: None)  # no reports about pending tasks
        for task in asyncio.all_tasks(self.loop):
            with contextlib.suppress(BaseException):
                cast("Coroutine[Any, Any, Any]", task.get_coro()).close()
        for child in list(self.children):
            with contextlib.suppress(Exception):  # the loop's selector is possibly unusable
                child.finish()
        for tree in list(self.unregistered):
            tree.finish()
        if self._worker is not None:
            self._worker.stop()
        if _current is self:
            _current = None
        for sink in list(self.sinks):
            with contextlib.suppress(Exception):  # so that all other consumers are woken up
                sink.lose()

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Schedule `callback` on this thread; for any thread, including finalizers."""
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed at interpreter exit
            return

    async def run_in_worker(
        self, func: Callable[[], _T], on_abandoned: Callable[[_T], object]
    ) -> _T:
        """Run a function that can block (file system, process start) in the worker thread.

        Args:
            func: The function.
            on_abandoned: Called on this thread with the result, if the caller was canceled.
        """
        if self._worker is None:
            self._worker = Worker()
        return await self._worker.run(func, on_abandoned)

    def local(self, factory: Callable[[], _T]) -> _T:
        """Return this thread's only instance of `factory()`, created on first use."""
        if factory not in self._locals:
            self._locals[factory] = factory()
        return cast("_T", self._locals[factory])

    def shut_down(self) -> None:
        """Kill and reap every child, then end the thread."""
        self.alive = False
        for child in list(self.children):
            child.kill()
        for tree in list(self.unregistered):
            tree.kill()
        self.post(self._stop_when_started)
        self.thread.join(SHUTDOWN_TIMEOUT)

    def _stop_when_started(self) -> None:
        if self._worker is None:
            self._stop_when_ended()
        else:  # the worker is possibly starting a process, which is not registered yet
            self._worker.when_idle(self._stop_when_ended)

    def _stop_when_ended(self) -> None:
        self._last = self.loop.create_task(self._end_all())  # a strong reference to the task
        self._last.add_done_callback(lambda _: self.loop.stop())

    async def _end_all(self, seconds: float | None = None) -> None:
        """Cancel all tasks, and wait for them and for all children to end.

        asyncio would report tasks that are destroyed while pending.
        """
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        closed = asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(seconds):
            while True:
                for child in self.children:
                    child.kill()
                futures: list[asyncio.Future[Any]] = [closed]
                futures += [child.ended for child in self.children]
                waiting = [future for future in futures if not future.done()]
                if not waiting:
                    return
                # A task that is canceled while its child starts adds this child to `children`.
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def abandon(self) -> None:
        """Close the copies of all descriptors in a forked process; the parent owns the children.

        With an open copy of its stdin, a child would wait for the end of its prompt until this
        process ends.
        """
        self.alive = False
        for child in self.children:
            child.abandon()
        for tree in self.unregistered:
            tree.abandon()
        self.loop.abandon()


# Held while a process is started, so that a fork does not copy the state of a partial start. An
# RLock, because only its owner can release it: the wait of a fork can time out, and Ctrl-C can
# interrupt the hooks.
spawn_lock = threading.RLock()
_lock = threading.Lock()
_current: IoThread | None = None
_abandoned: list[IoThread] = []  # references, so that no finalizer of the parent's loop runs here


def current() -> IoThread:
    """Return the process's I/O thread; the first call starts it."""
    global _current  # noqa: PLW0603  one per process
    # Read without the lock if possible, because a signal handler can make a call too.
    thread = _current
    if thread is not None and thread.failure is not None:
        if threading.current_thread() is not thread.thread:
            thread.thread.join(2 * SHUTDOWN_TIMEOUT)  # until it has released its resources
        thread = _current
    if thread is None:
        with _lock:
            thread = _current
            if thread is None:
                _current = thread = IoThread()
                _shut_down_with_worker()
    return thread


def started() -> IoThread | None:
    """Return the process's I/O thread, or `None` if there is none."""
    return _current


def check_not_on_thread() -> None:
    """Reject a blocking call on the I/O thread, which would wait for itself.

    Raises:
        RuntimeError: If this function runs on the I/O thread.
    """
    if _current is not None and threading.current_thread() is _current.thread:
        msg = "a blocking call on docker_model's I/O thread would wait for itself"
        raise RuntimeError(msg)


def check_alive(thread: IoThread) -> None:
    """Reject a call that would wait for an I/O thread that does not run.

    Raises:
        GenerationError: If the thread died or belongs to another process, or if the interpreter
            is shutting down.
    """
    if thread.failure is not None:
        msg = f"the I/O thread ended unexpectedly ({type(thread.failure).__name__})"
        hint = "try again, which starts a new thread; report a bug if it fails repeatedly"
        raise GenerationError(msg, hint=hint) from thread.failure
    if not thread.alive:
        msg = "this call was made before a fork of the process, or the interpreter is shutting down"
        raise GenerationError(msg, hint="make a new call, before the interpreter shuts down")


def retry_on_interrupt(act: Callable[[], object]) -> None:
    """Call `act`, and call it again if Ctrl-C interrupts it; `act` must be idempotent."""
    while True:
        try:
            act()
        except KeyboardInterrupt:
            continue
        return


def _before_fork() -> None:
    spawn_lock.acquire(timeout=_FORK_WAIT_TIMEOUT)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # `_before_fork` timed out
        spawn_lock.release()


def _after_fork_in_child() -> None:
    # Threads that do not exist in this process possibly hold the parent's locks.
    global _current, _lock, spawn_lock  # noqa: PLW0603
    _lock, spawn_lock = threading.Lock(), threading.RLock()
    if _current is not None:
        _current.abandon()
        _abandoned.append(_current)
        _current = None


def _at_exit() -> None:
    if _current is not None:
        _current.shut_down()


def _shut_down_with_worker() -> None:
    """Register the shutdown for a `multiprocessing` worker.

    A forked worker exits with `os._exit`, which skips `atexit`. A child that waits for its stdin
    would then reach the end of its input, and send the request. A worker waits for its threads
    first, so the shutdown runs in a thread.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415  already imported

        Finalize(None, threading.Thread(target=_after_all_threads).start, exitpriority=0)


def _after_all_threads() -> None:
    not_these = threading.current_thread(), threading.main_thread()
    for thread in threading.enumerate():
        if not thread.daemon and thread not in not_these:
            thread.join()
    _at_exit()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
