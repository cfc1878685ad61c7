"""The private I/O thread: an event loop of our own that owns every child.

Children of a caller's loop share its fate: they are orphaned when it closes, stall with
it, and cannot be ended from another thread (python/cpython#114177 and a family of
reports). Children of this loop outlive every caller's loop and task, so the same model
object works from sync code, asyncio, uvloop, a notebook and worker threads alike.

The thread never takes a lock that a caller may hold, and callers only ever post to it. So
no `concurrent.futures.Future` connects the two: it has a lock, which Ctrl-C can make its
caller leave locked.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import selectors
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from docker_model._runtime.worker import Worker, start_thread
from docker_model.errors import DockerModelError, GenerationError, ResourceError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from docker_model._runtime.child import Child

_T = TypeVar("_T")

_JOIN_AT_EXIT = 1.0  # seconds for the thread to reap what was killed; then exit goes on
_LONGEST_START = 1.0  # seconds that a fork waits for a start; one that hangs must not hold it


class IoThread:
    """A daemon thread that runs an event loop until the interpreter ends.

    Attributes:
        alive: False in a forked process and while the interpreter ends.
        children: Every child that has not been reaped; only the thread itself changes it.
        unregistered: Processes that the worker thread has started and that are no child yet.

    Raises:
        ResourceError: There is no descriptor or thread left for it.
        GenerationError: The interpreter ends.
    """

    def __init__(self) -> None:
        self.alive = True
        self.children: set[Child] = set()
        self.unregistered: set[subprocess.Popen[bytes]] = set()
        self._locals: dict[Callable[[], Any], Any] = {}
        try:
            self._selector = selectors.DefaultSelector()
            try:
                # Our own kind of loop, whatever the caller's policy says: uvloop really forks
                # for each child (76 ms at 1.5 GB resident, against 0.25 ms for vfork).
                self.loop = asyncio.SelectorEventLoop(self._selector)
            except OSError:
                self._selector.close()
                raise
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
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

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
        """The thread's own object of a kind: made once, used on the thread alone, gone with it."""
        if factory not in self._locals:
            self._locals[factory] = factory()
        return cast("_T", self._locals[factory])

    def shut_down(self) -> None:
        """Kill and reap every child, then end the thread."""
        self.alive = False
        for child in list(self.children):
            child.kill_group()
        for process in list(self.unregistered):
            # ProcessLookupError: it has just become a child, and been reaped.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        self.post(self._stop_when_started)
        self.thread.join(_JOIN_AT_EXIT)

    def _stop_when_started(self) -> None:
        if self._worker is None:
            self._stop_when_ended()
        else:  # a start that is under way would leave a process that nobody knows of
            self._worker.when_idle(self._stop_when_ended)

    def _stop_when_ended(self) -> None:
        self._last = self.loop.create_task(self._end_all())  # which the loop itself would forget
        self._last.add_done_callback(lambda _: self.loop.stop())

    async def _end_all(self) -> None:
        """Let each task close what it holds: one destroyed at the very end says so on stderr."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        closed = asyncio.gather(*tasks, return_exceptions=True)
        while True:
            for child in self.children:
                child.kill_group()
            futures: list[asyncio.Future[Any]] = [closed, *(child.ended for child in self.children)]
            waiting = [future for future in futures if not future.done()]
            if not waiting:
                return
            # One at a time: a task that is cancelled as its child has just started adds that one.
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def abandon(self) -> None:
        """Let go of everything in a forked process: the children are the parent's.

        A copy of a child's stdin that stayed open here would keep that child waiting for
        the end of its prompt until this process ends.
        """
        self.alive = False
        for child in self.children:
            child.abandon()
        for process in self.unregistered:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.returncode = 0  # it is the parent's to reap
        self._selector.close()


# Held around a start, so that no fork sees half of one; given back by its owner alone, for a
# fork may have gone on without it, and Ctrl-C may strike its hooks at any point.
spawn_lock = threading.RLock()
_lock = threading.Lock()
_current: IoThread | None = None
_abandoned: list[IoThread] = []  # kept, so that no finalizer of the parent's loop runs here


def current() -> IoThread:
    """The process's I/O thread, started if there is none yet."""
    global _current  # noqa: PLW0603  one per process is the point
    # Without the lock once it is there: a signal's handler may make a call, too.
    thread = _current
    if thread is None:
        with _lock:
            thread = _current
            if thread is None:
                _current = thread = IoThread()
                _shut_down_with_worker()
    return thread


def started() -> IoThread | None:
    """The process's I/O thread, if there is one."""
    return _current


def check_not_on_thread() -> None:
    """Refuse to wait on the I/O thread for the I/O thread.

    Raises:
        RuntimeError: A callback that runs there made a call.
    """
    if _current is not None and threading.current_thread() is _current.thread:
        msg = "a call was made on docker_model's I/O thread, which would wait for itself"
        raise RuntimeError(msg)


def check_alive(thread: IoThread) -> None:
    """Refuse to wait for a thread that does not run.

    Raises:
        GenerationError: It is another process's, or the interpreter ends.
    """
    if not thread.alive:
        msg = "this process was forked from the one where this runs, or is ending"
        raise GenerationError(msg, hint="start anew, and before the interpreter ends")


def retry_on_interrupt(act: Callable[[], object]) -> None:
    """Do what may be done twice, although a second Ctrl-C interrupts it."""
    while True:
        try:
            act()
        except KeyboardInterrupt:
            continue
        return


def _before_fork() -> None:
    spawn_lock.acquire(timeout=_LONGEST_START)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # it could not be had
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
    """Let a worker of `multiprocessing` not end without us.

    A forked one ends by `os._exit`, without `atexit`: what waits for its input would take that
    for the input's end, and go on. What it does before is to wait for its threads.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415  it is there already

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
