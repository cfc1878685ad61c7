"""The private I/O thread: an event loop that owns every child process.

A child process of the caller's event loop shares the fate of that loop: it is orphaned when the
loop closes, stalls with it, and cannot be ended from another thread (python/cpython#114177).
Child processes of this loop outlive every caller's loop and task, so the same model object works
from sync code, asyncio, uvloop, a notebook and worker threads.

The thread never takes a lock that a caller may hold, and callers only post to it. That is why no
`concurrent.futures.Future` connects the two: it has a lock, which Ctrl-C can leave locked.

`RACES.md` in this directory lists what can happen between two events, and what handles it.
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

SHUTDOWN_TIMEOUT = 1.0  # seconds for the thread to reap the killed processes, then exit goes on
_FORK_WAIT_TIMEOUT = 1.0  # seconds that a fork waits for the start of a process, which may hang

_logger = logging.getLogger("docker_model")


class IoThread:
    """A daemon thread that runs an event loop until the interpreter ends.

    Attributes:
        alive: False once the thread has died, in a forked process, and while the interpreter ends.
        failure: The exception that ended the thread unexpectedly.
        sinks: The producers' ends of all streams that have started and not ended.
        children: Every child that has not been reaped; only the thread itself changes it.
        unregistered: Processes that the worker thread has started and that are no `Child` yet.

    Raises:
        ResourceError: If there is no descriptor or thread left.
        GenerationError: If the interpreter is ending.
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
                raise RuntimeError(msg)  # noqa: TRY301  handled as any other end of the loop
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        except BaseException as error:  # noqa: BLE001  raised for each consumer
            self._die(error)
        finally:
            self.loop.close()

    def _die(self, error: BaseException) -> None:
        """Give back everything after an unexpected end of the loop, and wake all consumers."""
        global _current  # noqa: PLW0603  the next call starts a new thread
        self.failure = error
        self.alive = False
        _logger.error("the I/O thread ended unexpectedly: %s", type(error).__name__)
        with contextlib.suppress(BaseException):  # the loop may be unable to run again
            self.loop.run_until_complete(self._end_all(SHUTDOWN_TIMEOUT))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.set_exception_handler(lambda *_: None)  # would report each task left pending
        for task in asyncio.all_tasks(self.loop):
            with contextlib.suppress(BaseException):
                cast("Coroutine[Any, Any, Any]", task.get_coro()).close()
        for child in list(self.children):
            with contextlib.suppress(Exception):  # the loop's selector may be unusable
                child.finish()
        for tree in list(self.unregistered):
            tree.finish()
        if self._worker is not None:
            self._worker.stop()
        if _current is self:
            _current = None
        for sink in list(self.sinks):
            with contextlib.suppress(Exception):  # a consumer's loop must not keep the rest waiting
                sink.lose()

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Have the thread call `callback`; from any thread, a finalizer included."""
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed because the interpreter ends
            return  # nothing is left to do

    async def run_in_worker(
        self, func: Callable[[], _T], on_abandoned: Callable[[_T], object]
    ) -> _T:
        """Run a function that may block (file system, process start) in the worker thread.

        Args:
            func: The function.
            on_abandoned: Called on this thread with the result, if the caller was cancelled.
        """
        if self._worker is None:
            self._worker = Worker()
        return await self._worker.run(func, on_abandoned)

    def local(self, factory: Callable[[], _T]) -> _T:
        """Return the thread's single object of a kind, made at its first use on the thread."""
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
        else:  # a start that is under way would leave a process that no list holds
            self._worker.when_idle(self._stop_when_ended)

    def _stop_when_ended(self) -> None:
        self._last = self.loop.create_task(self._end_all())  # which the loop itself would forget
        self._last.add_done_callback(lambda _: self.loop.stop())

    async def _end_all(self, seconds: float | None = None) -> None:
        """Cancel all tasks and wait for them: asyncio reports a task that is destroyed pending."""
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
                # One at a time: a task that is cancelled while its child starts adds this child.
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def abandon(self) -> None:
        """Close the copies of all descriptors in a forked process; the parent owns the children.

        A copy of a child's stdin that stayed open here would keep that child waiting for the end
        of its prompt until this process ends.
        """
        self.alive = False
        for child in self.children:
            child.abandon()
        for tree in self.unregistered:
            tree.abandon()
        self.loop.abandon()


# Held while a process is started, so that no fork copies half a start. An RLock, because only its
# owner can release it: a fork may have gone on without it, and Ctrl-C may interrupt the hooks.
spawn_lock = threading.RLock()
_lock = threading.Lock()
_current: IoThread | None = None
_abandoned: list[IoThread] = []  # kept, so that no finalizer of the parent's loop runs here


def current() -> IoThread:
    """Return the process's I/O thread, and start it if there is none."""
    global _current  # noqa: PLW0603  one per process is the point
    # Without the lock once there is a thread: a signal handler may make a call, too.
    thread = _current
    if thread is not None and thread.failure is not None:
        if threading.current_thread() is not thread.thread:
            thread.thread.join(2 * SHUTDOWN_TIMEOUT)  # it gives everything back, then is replaced
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
    """Refuse a blocking call on the I/O thread, which would wait for itself.

    Raises:
        RuntimeError: If a callback that runs on the I/O thread made a call.
    """
    if _current is not None and threading.current_thread() is _current.thread:
        msg = "a call was made on docker_model's I/O thread, which would wait for itself"
        raise RuntimeError(msg)


def check_alive(thread: IoThread) -> None:
    """Refuse to wait for an I/O thread that does not run.

    Raises:
        GenerationError: If the thread died, belongs to another process, or the interpreter is
            ending.
    """
    if thread.failure is not None:
        msg = f"the I/O thread ended unexpectedly ({type(thread.failure).__name__})"
        hint = "call again, which starts a new thread; report it if it happens again"
        raise GenerationError(msg, hint=hint) from thread.failure
    if not thread.alive:
        msg = "this call belongs to the parent of this forked process, or the interpreter is ending"
        raise GenerationError(msg, hint="make a new call, before the interpreter ends")


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
    # The parent's locks may be held by threads that are not here.
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
    """Shut down at the end of a `multiprocessing` worker, too.

    A forked worker ends by `os._exit`, without `atexit`: a child that waits for its stdin would
    take that for the end of the input, and go on. But a worker waits for its threads first.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415  loaded already

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
