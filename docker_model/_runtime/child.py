"""A child process on the I/O thread: its output, its termination and its exit.

Three rules prevent runs that hang or leak:

* A child is ended together with all its descendants (`ProcessTree`).
* The exit of the process and the end of its pipes are separate events. If a grandchild keeps a
  pipe open, the pipe is closed `PIPE_DRAIN_TIMEOUT` seconds after the process's exit, so that the
  caller does not hang.
* While stdin is incomplete, a child is ended only with a kill, and stdin is closed after the
  exit. Otherwise, the child would treat the end of its input as the end of a complete prompt.

`RACES.md` in this directory lists the possible race conditions between these events.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from docker_model._runtime import io_thread
from docker_model._runtime.process_tree import ProcessTree

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

TERM_TO_KILL_TIMEOUT = 0.25  # seconds between SIGTERM and SIGKILL; the CLI needs about 5 ms
PIPE_DRAIN_TIMEOUT = 0.3  # seconds that pipes can stay open after the process's exit
EXIT_AFTER_EOF_TIMEOUT = 2.0  # seconds that a process can run after its stdout has ended
STDERR_TAIL = 64 * 1024  # bytes of stderr that are kept

_logger = logging.getLogger("docker_model")


@dataclass(frozen=True, slots=True)
class Exit:
    """The exit status of a child; `code` and `signal` are both `None` if it is unknown.

    Attributes:
        code: The exit code.
        signal: The number of the signal that killed the child.
        stderr: The last part of its standard error.
        lingered: Whether it closed its stdout but did not exit, so that it was ended.
        delivered: Whether all of its stdin was written.
    """

    code: int | None
    signal: int | None
    stderr: str
    lingered: bool = False
    delivered: bool = True


def _ignore(_: bytes) -> None:
    pass


class Child:
    """A running process. Only the I/O thread calls its methods, except for `kill`.

    Args:
        tree: The process and its pipes.
        on_stdout: Called with each chunk of its standard output. An exception in it ends the
            child and is raised by `ended`.
        stdin: Whether the process has a pipe for stdin.

    Attributes:
        ended: A future that is done when the process is reaped and all resources are released.

    Raises:
        OSError: If the system has no descriptor left to watch the process.
    """

    def __init__(
        self, tree: ProcessTree, on_stdout: Callable[[bytes], object], *, stdin: bool = True
    ) -> None:
        self._io = io_thread.current()
        self._loop = self._io.loop
        self._tree = tree
        self._on_stdout = on_stdout
        self._tail = bytearray()
        self._delivered = not stdin
        self._stdout_open = self._stderr_open = True
        self._failure: Exception | None = None
        self._lingered = False
        self._paused = False
        self._ending = False  # the child is being ended; its further output is ignored
        self._exited = False  # the process has exited; `finish` reaps it
        self._finished = False
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[Exit] = self._loop.create_future()
        self.pid = tree.pid
        try:
            tree.attach(self._loop, self)
            self._io.children.add(self)
        except OSError:
            self.finish()
            raise
        finally:
            self._io.unregistered.discard(tree)

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
            argv: The command, or a function that returns it and can access files.
            env: The complete environment of the process.
            cwd: The working directory, or a function that returns or creates it; `None` for the
                caller's.
            on_stdout: Called with each chunk of standard output.
            stdin: Whether stdin is a pipe; otherwise it is the null device.

        Raises:
            OSError: If the process cannot be started.
            GenerationError: If the interpreter is shutting down.
        """
        thread = io_thread.current()

        def start() -> ProcessTree:
            with io_thread.spawn_lock:
                io_thread.check_alive(thread)
                tree = ProcessTree(
                    argv() if callable(argv) else argv,
                    env=env,
                    cwd=cwd() if callable(cwd) else cwd,
                    stdin=stdin,
                )
                thread.unregistered.add(tree)
                if thread.failure is not None:  # the thread has died and will not kill it
                    thread.unregistered.discard(tree)
                    tree.finish()
                return tree

        tree = await thread.run_in_worker(start, lambda late: cls(late, _ignore).end())
        return cls(tree, on_stdout, stdin=stdin)

    # -- input and output ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write all of stdin and close it, without blocking."""
        if not self._ending:
            self._tree.write(data)

    def stdin_delivered(self) -> None:
        """Record that all of stdin was written."""
        self._delivered = True

    def stdout_received(self, data: bytes) -> None:
        """Process a chunk of standard output; empty at the end of the output."""
        if data:
            try:
                self._on_stdout(data)
            except Exception as error:  # noqa: BLE001  raised by `ended`; the loop only logs it
                self._failure = error
                self.end()
            return
        self._stdout_open = False
        if not self._exited:  # otherwise `PIPE_DRAIN_TIMEOUT` is already running, for stderr
            self._arm(EXIT_AFTER_EOF_TIMEOUT, self._end_lingerer)
        self._finish_if_over()

    def stderr_received(self, data: bytes) -> None:
        """Keep the last part of standard error; `data` is empty at the end of the output."""
        if data:
            self._tail += data
            if len(self._tail) > 2 * STDERR_TAIL:  # trimmed occasionally, not on each read
                del self._tail[:-STDERR_TAIL]
            return
        self._stderr_open = False
        self._finish_if_over()

    def pause(self) -> None:
        """Stop reading stdout; the process blocks when the pipe is full."""
        if not self._paused and self._stdout_open:
            self._paused = True
            self._tree.pause()
            self._disarm()  # after an exit, the output in the pipe is kept for the reader

    def resume(self) -> None:
        """Resume reading stdout."""
        if self._paused and self._stdout_open:
            self._paused = False
            self._tree.resume()
            if self._exited:
                self._arm(PIPE_DRAIN_TIMEOUT, self.finish)

    @property
    def silent(self) -> bool:
        """Whether the process is running, is not stopped, and has not written to stderr."""
        return not (self._exited or self._ending or self._tail or self._tree.is_stopped)

    def hand_over(self, on_stdout: Callable[[bytes], object]) -> None:
        """Replace the function that receives the output."""
        self._on_stdout = on_stdout

    # -- the end ---------------------------------------------------------------------------

    def end(self) -> None:
        """Terminate the process tree, and kill it after `TERM_TO_KILL_TIMEOUT`.

        Idempotent; never blocks.
        """
        if self._ending or self._finished:
            return
        self._ending = True
        if self._delivered:
            self._tree.terminate()
            self._arm(TERM_TO_KILL_TIMEOUT, self._kill_survivor)
        else:
            self._tree.stop_writing()
            self._tree.kill()
        self._stdout_open = False
        self._tree.close_stdout()
        if self._exited:
            self.finish()

    def kill(self) -> None:
        """Kill the process and its descendants; for any thread."""
        self._tree.kill()

    def _kill_survivor(self) -> None:
        _logger.warning(
            "process %d did not exit within %g s after SIGTERM, and was killed",
            self.pid,
            TERM_TO_KILL_TIMEOUT,
        )
        self._tree.kill()

    def _end_lingerer(self) -> None:
        self._lingered = True
        self.end()

    def process_exited(self) -> None:
        """Record that the process has exited; its pipes can still contain output."""
        self._exited = True
        self._finish_if_over()
        if not self._finished and not self._paused:
            self._arm(PIPE_DRAIN_TIMEOUT, self.finish)

    def _finish_if_over(self) -> None:
        if self._exited and (self._ending or not (self._stdout_open or self._stderr_open)):
            self.finish()

    def finish(self) -> None:
        """Kill the remaining tree, reap the process, and release all resources."""
        if self._finished:
            return
        self._finished = True
        self._disarm()
        code = self._tree.finish()
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

    def abandon(self) -> None:
        """Close the copies of this child's descriptors in a forked process."""
        self._finished = True
        self._tree.abandon()
