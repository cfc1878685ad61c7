"""Noticing that a process has ended, without reaping it, and reaping it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from docker_model.process.helper import start_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Watch:
    """Calls `callback` on `loop` once `pid` is a zombie, and leaves it one.

    A pidfd on Linux; elsewhere a thread that waits without reaping.

    Raises:
        OSError: There is no descriptor or thread left.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pid: int, callback: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._pidfd = -1
        if not hasattr(os, "pidfd_open"):
            start_thread("docker-model-exit", self._wait, pid)
            return
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            # With SIGCHLD ignored the kernel reaps by itself, maybe before we ask.
            loop.call_soon(callback)
        else:
            loop.add_reader(self._pidfd, self._ready)

    def _ready(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self.abandon()
        self._callback()

    def _wait(self, pid: int) -> None:
        with contextlib.suppress(ChildProcessError):  # reaped by somebody else: ended all the same
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the interpreter ends
            self._loop.call_soon_threadsafe(self._callback)

    def abandon(self) -> None:
        """Close the descriptor, in a forked process too."""
        pidfd, self._pidfd = self._pidfd, -1  # first, for a fork at this moment
        if pidfd >= 0:
            os.close(pidfd)


def reap(pid: int) -> int | None:
    """Reap `pid`, which has ended or been killed.

    Returns:
        Its exit code, or minus the signal's number, or `None` when somebody else has reaped
        it (SIGCHLD ignored, or `os.waitpid(-1)` in the caller's program): nobody can tell
        then how it ended, and it must not be taken for a success.
    """
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status)
