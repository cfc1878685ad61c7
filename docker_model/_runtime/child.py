"""One child process and its three pipes, on the I/O thread.

The rules that keep a run from hanging, leaking or killing a stranger:

* A child leads a session of its own, and signals go to its whole group: `docker` starts
  its plugin in the same group, and a signal to `docker` alone may not reach it.
* Signal first, reap last. Until the leader is reaped neither its pid nor its group's id
  can be given to another process, so the last SIGKILL to stragglers comes before the reap.
* The end of the process and the end of its pipes are two events. A grandchild that keeps
  a pipe open gets `PIPE_DRAIN_TIMEOUT` seconds after the leader's exit and cannot hang a caller.
* While stdin is open and incomplete the only way out is SIGKILL, and stdin is closed after
  the exit: an early end of input would be taken for a complete prompt.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from docker_model._runtime import exit_watch, io_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

TERM_TO_KILL_TIMEOUT = 0.25  # seconds between SIGTERM and SIGKILL; the real pair needs about 5 ms
PIPE_DRAIN_TIMEOUT = 0.3  # seconds that pipes may stay open after the leader's exit
EXIT_AFTER_EOF_TIMEOUT = 2.0  # seconds that a process may live on after both its outputs have ended
STDERR_TAIL = 64 * 1024  # bytes of stderr that are kept
_CHUNK = 64 * 1024  # bytes per read or write: a pipe's own capacity on Linux


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended; `code` and `signal` are both `None` when nobody can tell.

    Attributes:
        code: The exit code.
        signal: The number of the signal that it died of.
        stderr: The last of its standard error.
        lingered: It closed its outputs and did not exit, so it was ended.
        delivered: All of stdin was taken.
    """

    code: int | None
    signal: int | None
    stderr: str
    lingered: bool = False
    delivered: bool = True


def _ignore(_: bytes) -> None:
    pass


class Child:
    """A started process; every method but `kill_group` is for the I/O thread alone.

    Args:
        process: It, with three pipes, or without one for stdin, leading its own session.
        on_stdout: Called with each chunk of its standard output; what it raises ends the
            child and is raised by `ended`.

    Raises:
        OSError: There is no descriptor left to watch it by.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], on_stdout: Callable[[bytes], object]
    ) -> None:
        self._io = io_thread.current()
        self._loop = self._io.loop
        self._process = process
        self._on_stdout = on_stdout
        self._tail = bytearray()
        self._unwritten = memoryview(b"")
        self._stuffed = False  # stdin has been full
        self._delivered = process.stdin is None  # or once `write` has handed over everything
        self._failure: Exception | None = None
        self._lingered = False
        self._paused = False
        self._ending = False  # we are ending it: its last words are of no interest
        self._exited = False  # a zombie until `_finish` reaps it
        self._reaped = False
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[Exit] = self._loop.create_future()
        self.pid = process.pid
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        try:
            self._watch = exit_watch.Watch(self._loop, self.pid, self._on_exit)
            self._io.children.add(self)
        except OSError:
            self.kill_group()
            self._finish()
            raise
        finally:
            self._io.unregistered.discard(process)
        for pipe in (self._stdin, self._stdout, self._stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(self._stdout.fileno(), self._read_stdout)
        self._loop.add_reader(self._stderr.fileno(), self._read_stderr)

    @classmethod
    async def start(
        cls,
        argv: Sequence[str] | Callable[[], Sequence[str]],
        *,
        env: Mapping[str, str],
        cwd: str | Callable[[], str] | None = None,
        on_stdout: Callable[[bytes], object],
        stdin: bool = True,
    ) -> Self:
        """Start a process.

        Args:
            argv: The command, or what finds it, which may look at files.
            env: Its whole environment.
            cwd: Its working directory, or what finds or makes it; the caller's when `None`.
            on_stdout: See the class.
            stdin: False gives it the null device instead of a pipe.

        Raises:
            OSError: It cannot be started.
            GenerationError: The interpreter ends.
        """
        thread = io_thread.current()

        def start() -> subprocess.Popen[bytes]:
            with io_thread.spawn_lock:
                io_thread.check_alive(thread)
                process = subprocess.Popen(  # vfork: 0.2 ms, whatever our own size
                    argv() if callable(argv) else argv,
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    env=env,
                    cwd=cwd() if callable(cwd) else cwd,
                    start_new_session=True,
                )
                thread.unregistered.add(process)
                if thread.failure is not None:  # the thread died meanwhile, and kills no more
                    thread.unregistered.discard(process)
                    with process:  # closes its pipes and waits for its end
                        os.killpg(process.pid, signal.SIGKILL)
                return process

        return cls(
            await thread.run_in_worker(start, lambda late: cls(late, _ignore).end()), on_stdout
        )

    # -- stdin ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write all of stdin and close it; returns at once, the rest follows as it is taken."""
        self._unwritten = memoryview(data)
        self._write()

    def _write(self) -> None:
        if self._stdin is None or self._stdin.closed or self._ending:
            return
        try:
            while self._unwritten:
                written = os.write(self._stdin.fileno(), self._unwritten[:_CHUNK])
                self._unwritten = self._unwritten[written:]
        except BlockingIOError:
            self._stuffed = True
            self._loop.add_writer(self._stdin.fileno(), self._write)
            return
        except BrokenPipeError:
            pass  # it reads no further; its exit code and stderr tell why
        else:
            self._delivered = True
        self._close(self._stdin)

    # -- stdout and stderr ---------------------------------------------------------------

    def _read_stdout(self) -> None:
        data = os.read(self._stdout.fileno(), _CHUNK)
        if data:
            try:
                self._on_stdout(data)
            except Exception as error:  # noqa: BLE001  raised by `ended`; the loop would only log it
                self._failure = error
                self.end()
            return
        self._close(self._stdout)
        if not self._exited:  # else `PIPE_DRAIN_TIMEOUT` runs already, for whoever holds stderr
            self._arm(EXIT_AFTER_EOF_TIMEOUT, self._end_lingerer)
        self._finish_if_over()

    def _read_stderr(self) -> None:
        data = os.read(self._stderr.fileno(), _CHUNK)
        if data:
            self._tail += data
            if len(self._tail) > 2 * STDERR_TAIL:  # trimmed now and then, not at each read
                del self._tail[:-STDERR_TAIL]
            return
        self._close(self._stderr)
        self._finish_if_over()

    def pause(self) -> None:
        """Stop reading stdout; the child blocks once the pipe is full."""
        if not self._paused and not self._stdout.closed:
            self._paused = True
            self._loop.remove_reader(self._stdout.fileno())
            self._disarm()  # what is left in the pipe after an exit waits for the reader

    def resume(self) -> None:
        """Read stdout again."""
        if self._paused and not self._stdout.closed:
            self._paused = False
            self._loop.add_reader(self._stdout.fileno(), self._read_stdout)
            if self._exited:
                self._arm(PIPE_DRAIN_TIMEOUT, self._finish)

    @property
    def silent(self) -> bool:
        """Whether it lives, runs, and has not written to stderr: a parked one should."""
        return not (self._exited or self._ending or self._tail or exit_watch.is_stopped(self.pid))

    def hand_over(self, on_stdout: Callable[[bytes], object]) -> None:
        """Have somebody else take the output from now on."""
        self._on_stdout = on_stdout

    def _close(self, pipe: IO[bytes] | None) -> None:
        if pipe is None or pipe.closed:
            return
        if pipe is not self._stdin:
            self._loop.remove_reader(pipe.fileno())
        elif self._stuffed:
            self._loop.remove_writer(pipe.fileno())
        pipe.close()

    # -- the end -------------------------------------------------------------------------

    def end(self) -> None:
        """Stop the child: SIGTERM to its group, SIGKILL after `TERM_TO_KILL_TIMEOUT`.

        Idempotent, and never waits. Closing our end of stdout is a second, independent way to
        stop a process that writes.
        """
        if self._ending or self._reaped:
            return
        self._ending = True
        if self._delivered:
            self._signal_group(signal.SIGTERM)
            self._arm(TERM_TO_KILL_TIMEOUT, self.kill_group)
        else:
            self.kill_group()
        self._close(self._stdout)
        if self._exited:
            self._finish()

    def kill_group(self) -> None:
        """SIGKILL the whole group; from any thread."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        if not self._reaped:
            # ProcessLookupError: the status was lost (SIGCHLD ignored) and the group is gone.
            # PermissionError: macOS says so of a group that holds only zombies.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _end_lingerer(self) -> None:
        self._lingered = True
        self.end()

    def _on_exit(self) -> None:
        self._exited = True
        self._finish_if_over()
        if not self._reaped and not self._paused:
            self._arm(PIPE_DRAIN_TIMEOUT, self._finish)

    def _finish_if_over(self) -> None:
        if self._exited and (self._ending or (self._stdout.closed and self._stderr.closed)):
            self._finish()

    def _finish(self) -> None:
        """Kill what is left of the group, reap the leader, give everything back."""
        if self._reaped:
            return
        self._disarm()
        self.kill_group()
        self._reaped = True  # before it is: another thread may be about to signal
        code = exit_watch.reap(self.pid)
        self._process.returncode = 0 if code is None else code  # else its finalizer would wait
        for pipe in (self._stdin, self._stdout, self._stderr):
            self._close(pipe)
        self._io.children.discard(self)
        if self._failure is not None:
            self.ended.set_exception(self._failure)
            return
        self.ended.set_result(
            Exit(
                code=code if code is not None and code >= 0 else None,
                signal=-code if code is not None and code < 0 else None,
                stderr=self._tail[-STDERR_TAIL:].decode("utf-8", "replace"),
                lingered=self._lingered,
                delivered=self._delivered,
            )
        )

    def _arm(self, delay: float, callback: Callable[[], object]) -> None:
        self._disarm()
        self._timer = self._loop.call_later(delay, callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def discard(self) -> None:
        """Kill and reap the child, and give everything back, although the loop has ended."""
        self.kill_group()
        self._finish()
        self._watch.abandon()

    def abandon(self) -> None:
        """Close the copies that a forked process has of this child's descriptors."""
        self._reaped = True
        self._process.returncode = 0  # it is the parent's to reap
        for pipe in (self._stdin, self._stdout, self._stderr):
            if pipe is not None:
                pipe.close()
        self._watch.abandon()
