"""Process trees on Windows: job objects, overlapped pipes and process handles.

The class in `docker_model._runtime.posix` has the same methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import subprocess
import sys
import threading
from asyncio import windows_utils
from ctypes import wintypes
from typing import TYPE_CHECKING, Any

assert sys.platform == "win32"

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model._runtime.process_tree import TreeObserver

CHUNK = 64 * 1024  # bytes per read or write

_CREATE_SUSPENDED = 0x00000004
_KILL_ON_JOB_CLOSE = 0x00002000
_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_KILLED = 0xE044_4D4C  # the exit code of killed processes; bit 29 marks an application's code

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.CreateJobObjectW.restype = wintypes.HANDLE
_kernel32.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
_kernel32.SetInformationJobObject.argtypes = (
    wintypes.HANDLE,
    ctypes.c_int,
    wintypes.LPVOID,
    wintypes.DWORD,
)
_kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
_kernel32.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
_ntdll = ctypes.WinDLL("ntdll")
_ntdll.NtResumeProcess.argtypes = (wintypes.HANDLE,)


class EventLoop(asyncio.ProactorEventLoop):
    """The loop of the I/O thread; it does not depend on the caller's event loop policy."""

    def __init__(self) -> None:
        self.proactor = asyncio.IocpProactor()
        # In the main thread, asyncio would register this loop as the one that Ctrl-C wakes up.
        main = threading.current_thread() is threading.main_thread()
        wakeup = signal.set_wakeup_fd(-1) if main else -1
        try:
            super().__init__(self.proactor)
        finally:
            if main:
                signal.set_wakeup_fd(wakeup)

    def abandon(self) -> None:
        """Do nothing: there is no fork."""


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION; only `flags` is used."""

    _fields_ = (
        ("times", ctypes.c_int64 * 2),
        ("flags", wintypes.DWORD),
        ("working_set", ctypes.c_size_t * 2),
        ("processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("classes", wintypes.DWORD * 2),
        ("io", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


class _Job:
    """A job object that kills all its processes when its last handle is closed.

    The kernel closes the handle when this process exits for any reason.
    """

    def __init__(self) -> None:
        handle = _kernel32.CreateJobObjectW(None, None)
        _check(handle)
        # The finalizer closes the handle, because another thread can be using it.
        self._handle: int | None = subprocess.Handle(handle)  # type: ignore[attr-defined]
        limits = _Limits(flags=_KILL_ON_JOB_CLOSE)
        size = ctypes.sizeof(limits)
        _check(
            _kernel32.SetInformationJobObject(
                self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), size
            )
        )

    def adopt(self, process: int) -> None:
        """Add a suspended process to the job, and resume it."""
        _check(_kernel32.AssignProcessToJobObject(self._handle, process))
        if _ntdll.NtResumeProcess(process) != 0:
            raise OSError(0, "the suspended process cannot be resumed")

    def kill(self) -> None:
        """Kill all processes of the job."""
        handle = self._handle
        if handle is not None:
            _kernel32.TerminateJobObject(handle, _KILLED)

    def close(self) -> None:
        """Release the handle; closing it kills the remaining processes."""
        self._handle = None


def _check(result: object) -> None:
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())


class ProcessTree:
    """A process in a new job, with its pipes and its descendants.

    The process has no console window, and no console that Ctrl-C could reach. It inherits only
    its three standard handles.

    The constructor can block, and can run on any thread. Only the I/O thread calls the methods,
    after `attach`, except for `kill`.

    Raises:
        OSError: If the process cannot be started.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, stdin: bool
    ) -> None:
        self._job = _Job()
        try:
            process: Any = windows_utils.Popen(
                argv,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                cwd=cwd,
                # Suspended until it is in the job, so that all its descendants are in the job.
                creationflags=subprocess.CREATE_NO_WINDOW | _CREATE_SUSPENDED,
            )
        except BaseException:
            self._job.close()
            raise
        self._process = process
        self.pid: int = process.pid
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._unwritten = memoryview(b"")
        self._paused = False
        self._operations: dict[str, asyncio.Future[Any]] = {}
        self._finished = False
        self._observer: TreeObserver
        self._proactor: Any
        try:
            self._job.adopt(int(process._handle))  # noqa: SLF001  asyncio does the same
        except BaseException:
            process.kill()
            self.finish()
            raise

    def attach(self, loop: EventLoop, observer: TreeObserver) -> None:
        """Start reading the pipes and watching for the exit."""
        self._proactor, self._observer = loop.proactor, observer
        exited = self._proactor.wait_for_handle(int(self._process._handle))  # noqa: SLF001
        self._do("exit", exited, lambda _: observer.process_exited())
        self._read_stdout()
        self._read_stderr()

    def _do(self, name: str, operation: asyncio.Future[Any], then: Callable[[Any], object]) -> None:
        """Call `then` with the result of the operation; empty bytes for a broken pipe."""
        self._operations[name] = operation

        def done(operation: asyncio.Future[Any]) -> None:
            self._operations.pop(name, None)
            if not operation.cancelled():
                then(b"" if operation.exception() else operation.result())

        operation.add_done_callback(done)

    def _cancel(self, name: str) -> None:
        operation = self._operations.pop(name, None)
        if operation is not None:
            operation.cancel()

    # -- pipes -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write all of stdin and close it, without blocking."""
        self._unwritten = memoryview(data)
        self._write()

    def _write(self) -> None:
        if self._stdin is None:
            return
        if not self._unwritten:
            self._close_stdin()
            self._observer.stdin_delivered()
            return
        try:
            operation = self._proactor.send(self._stdin, self._unwritten[:CHUNK])
        except OSError:  # the process stopped reading; exit code and stderr contain the reason
            self._close_stdin()
            return
        self._do("stdin", operation, self._written)

    def _written(self, count: int | bytes) -> None:
        if count:
            assert isinstance(count, int)
            self._unwritten = self._unwritten[count:]
            self._write()
        else:
            self._close_stdin()

    def stop_writing(self) -> None:
        """Stop writing stdin but keep it open: closing it would look like the end of a prompt."""
        self._unwritten = memoryview(b"")
        self._cancel("stdin")

    def _close_stdin(self) -> None:
        pipe, self._stdin = self._stdin, None
        if pipe is not None:
            pipe.close()

    def _read_stdout(self) -> None:
        if self._stdout is not None and not self._paused and "stdout" not in self._operations:
            self._do("stdout", self._proactor.recv(self._stdout, CHUNK), self._stdout_read)

    def _stdout_read(self, data: bytes) -> None:
        if not data:
            self.close_stdout()
        self._observer.stdout_received(data)
        self._read_stdout()

    def _read_stderr(self) -> None:
        if self._stderr is not None:
            self._do("stderr", self._proactor.recv(self._stderr, CHUNK), self._stderr_read)

    def _stderr_read(self, data: bytes) -> None:
        if not data:
            self._close_stderr()
        self._observer.stderr_received(data)
        self._read_stderr()

    def pause(self) -> None:
        """Start no further read of stdout; the process blocks when the pipe is full."""
        self._paused = True

    def resume(self) -> None:
        """Resume reading stdout."""
        self._paused = False
        self._read_stdout()

    def close_stdout(self) -> None:
        """Close the read end of stdout, which also stops a process that is writing."""
        self._cancel("stdout")
        pipe, self._stdout = self._stdout, None
        if pipe is not None:
            pipe.close()

    def _close_stderr(self) -> None:
        self._cancel("stderr")
        pipe, self._stderr = self._stderr, None
        if pipe is not None:
            pipe.close()

    # -- the end ---------------------------------------------------------------------------

    def terminate(self) -> None:
        """Kill the job: Windows has no SIGTERM, and the runner detects the closed connection."""
        self.kill()

    def kill(self) -> None:
        """Kill all processes of the job; for any thread."""
        self._job.kill()

    @property
    def is_stopped(self) -> bool:
        """False: Windows has no signal that stops a process."""
        return False

    def finish(self) -> int | None:
        """Kill the remaining job, and close all handles.

        Returns:
            The exit code of the process; `None` if it was killed with its job.
        """
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a driver can block the exit
            self._process.wait(1)
        code = self._process.returncode
        for name in list(self._operations):
            self._cancel(name)
        self._close_stdin()
        self.close_stdout()
        self._close_stderr()
        self._job.close()
        return None if code == _KILLED else code

    def abandon(self) -> None:
        """Do nothing: there is no fork."""
