"""Process trees on Linux and macOS: sessions, signals to process groups, pidfds or kqueues.

The class in `docker_model._runtime.windows` has the same methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import selectors
import signal
import subprocess
import sys
from functools import partial
from typing import IO, TYPE_CHECKING

from docker_model._runtime.worker import start_thread

assert sys.platform != "win32"

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model._runtime.process_tree import TreeObserver

CHUNK = 64 * 1024  # bytes per read or write: the capacity of a pipe on Linux
_NO_PIDFDS = (errno.ENOSYS, errno.EPERM)  # Linux before 5.3; a sandbox that forbids pidfds


class EventLoop(asyncio.SelectorEventLoop):
    """The loop of the I/O thread.

    It does not depend on the caller's event loop policy, because uvloop forks for each child. In
    a process with 1.5 GB of resident memory this takes 76 ms, compared with 0.25 ms for vfork.
    """

    def __init__(self) -> None:
        self._copied = selector = selectors.DefaultSelector()
        try:
            super().__init__(selector)
        except OSError:
            selector.close()
            raise

    def abandon(self) -> None:
        """Close the copy of the selector in a forked process."""
        self._copied.close()


class ProcessTree:
    """A process that leads a new session, with its pipes and its descendants.

    Signals are sent to the whole process group: `docker` starts its plugin in the same group, and
    a signal to `docker` alone does not always reach the plugin. The leader is reaped after the
    last signal, because the system can reuse its pid and group id after the reap.

    The constructor can block, and can run on any thread. Only the I/O thread calls the methods,
    after `attach`, except for `kill`.

    Raises:
        OSError: If the process cannot be started.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, stdin: bool
    ) -> None:
        self._process = subprocess.Popen(  # uses vfork on Linux: 0.2 ms for any process size
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self._stdin = self._process.stdin
        self._stdout, self._stderr = self._process.stdout, self._process.stderr
        self._unwritten = memoryview(b"")
        self._waits_to_write = False
        self._reaped = False
        self._watch: _ExitWatch | None = None
        self._loop: asyncio.AbstractEventLoop
        self._observer: TreeObserver

    def attach(self, loop: EventLoop, observer: TreeObserver) -> None:
        """Start reading the pipes and watching for the exit.

        Raises:
            OSError: If the system has no descriptor left to watch the process.
        """
        self._loop, self._observer = loop, observer
        self._watch = _ExitWatch(loop, self.pid, observer.process_exited)
        for pipe in (self._stdin, self._stdout, self._stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        loop.add_reader(self._stdout.fileno(), self._read_stdout)
        loop.add_reader(self._stderr.fileno(), self._read_stderr)

    # -- pipes -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write all of stdin and close it, without blocking."""
        self._unwritten = memoryview(data)
        self._write()

    def _write(self) -> None:
        if self._stdin is None or self._stdin.closed:
            return
        try:
            while self._unwritten:
                written = os.write(self._stdin.fileno(), self._unwritten[:CHUNK])
                self._unwritten = self._unwritten[written:]
        except BlockingIOError:
            if not self._waits_to_write:
                self._waits_to_write = True
                self._loop.add_writer(self._stdin.fileno(), self._write)
            return
        except BrokenPipeError:
            pass  # the process stopped reading; its exit code and stderr contain the reason
        else:
            self._observer.stdin_delivered()
        self.stop_writing()
        self._stdin.close()

    def stop_writing(self) -> None:
        """Stop writing stdin but keep it open: closing it would look like the end of a prompt."""
        self._unwritten = memoryview(b"")
        if self._stdin is not None and self._waits_to_write:
            self._waits_to_write = False
            self._loop.remove_writer(self._stdin.fileno())

    def _read_stdout(self) -> None:
        data = os.read(self._stdout.fileno(), CHUNK)
        if not data:
            self.close_stdout()
        self._observer.stdout_received(data)

    def _read_stderr(self) -> None:
        data = os.read(self._stderr.fileno(), CHUNK)
        if not data:
            self._close_output(self._stderr)
        self._observer.stderr_received(data)

    def pause(self) -> None:
        """Stop reading stdout; the process blocks when the pipe is full."""
        self._loop.remove_reader(self._stdout.fileno())

    def resume(self) -> None:
        """Resume reading stdout."""
        self._loop.add_reader(self._stdout.fileno(), self._read_stdout)

    def close_stdout(self) -> None:
        """Close the read end of stdout, which also stops a process that is writing."""
        self._close_output(self._stdout)

    def _close_output(self, pipe: IO[bytes]) -> None:
        if not pipe.closed:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()

    # -- the end ---------------------------------------------------------------------------

    def terminate(self) -> None:
        """Send SIGTERM to the group."""
        self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the group; for any thread."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        if not self._reaped:
            # ProcessLookupError: the kernel has reaped the processes (SIGCHLD is ignored).
            # PermissionError: on macOS, all processes of the group are zombies.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped the process; only for a process that is not reaped."""
        waitid = getattr(os, "waitid", None)
        if waitid is None:  # macOS before Python 3.13
            return False
        try:
            options = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            return waitid(os.P_PID, self.pid, options) is not None
        except ChildProcessError:
            return False

    def finish(self) -> int | None:
        """Kill the remaining group, reap the leader, which has exited, and close the pipes.

        Returns:
            The exit code, or the negative signal number. `None` if other code has reaped the
            process (SIGCHLD ignored, or `os.waitpid(-1)` in the caller's program). The exit
            status is then unknown, and does not count as success.
        """
        self.kill()
        self._reaped = True  # before the reap, because another thread can send a signal
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            code = None
        self._process.returncode = 0 if code is None else code  # or its finalizer would wait
        if self._watch is None:
            self._close_pipes()
            return code
        self.stop_writing()
        if self._stdin is not None:
            self._stdin.close()
        self._close_output(self._stdout)
        self._close_output(self._stderr)
        self._watch.abandon()
        return code

    def abandon(self) -> None:
        """Close the copies of the descriptors in a forked process."""
        self._reaped = True
        self._process.returncode = 0  # the parent reaps it
        self._close_pipes()
        if self._watch is not None:
            self._watch.abandon()

    def _close_pipes(self) -> None:
        for pipe in (self._stdin, self._stdout, self._stderr):
            if pipe is not None:
                pipe.close()


class _ExitWatch:
    """Calls `callback` on `loop` when `pid` is a zombie, without reaping it.

    Raises:
        OSError: If the system has no descriptors or threads left.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pid: int, callback: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._fd = -1
        self._close: Callable[[], object] = lambda: None
        try:
            watched = _exit_descriptor(pid)
        except ProcessLookupError:
            # If SIGCHLD is ignored, the kernel reaps the process, possibly before this call.
            loop.call_soon(callback)
            return
        if watched is None:
            start_thread("docker-model-exit", self._wait, pid)
        else:
            self._fd, self._close = watched
            loop.add_reader(self._fd, self._ready)

    def _ready(self) -> None:
        self._loop.remove_reader(self._fd)
        self.abandon()
        self._callback()

    def _wait(self, pid: int) -> None:
        if sys.platform != "darwin":
            with contextlib.suppress(ChildProcessError):  # other code has reaped the process
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed at interpreter exit
            self._loop.call_soon_threadsafe(self._callback)

    def abandon(self) -> None:
        """Close the descriptor; also called in a forked process."""
        close, self._close = self._close, int  # first, because a fork can happen at this moment
        with contextlib.suppress(OSError):  # a forked process has no copy of a kqueue
            close()


def _exit_descriptor(pid: int) -> tuple[int, Callable[[], object]] | None:
    """Return a descriptor that becomes readable when `pid` is a zombie, and a function to close it.

    `None` if only a thread can wait for the exit. On macOS a thread cannot wait, because Python has
    no `waitid` there before 3.13.
    """
    if sys.platform == "darwin":
        queue = select.kqueue()
        ends = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        try:
            queue.control([ends], 0)
        except OSError:
            queue.close()
            raise
        return queue.fileno(), queue.close
    if hasattr(os, "pidfd_open"):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in _NO_PIDFDS:
                raise
        else:
            return pidfd, partial(os.close, pidfd)
    return None
