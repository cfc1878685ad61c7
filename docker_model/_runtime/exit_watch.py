"""Noticing that a process has ended, without reaping it, and reaping it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from functools import partial
from typing import TYPE_CHECKING

from docker_model._runtime.worker import start_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_NO_PIDFDS = (errno.ENOSYS, errno.EPERM)  # Linux before 5.3; a sandbox that lets none through


class Watch:
    """Calls `callback` on `loop` once `pid` is a zombie, and leaves it one.

    Raises:
        OSError: There is no descriptor or thread left.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pid: int, callback: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._fd = -1
        self._close: Callable[[], object] = int
        try:
            watched = _descriptor(pid)
        except ProcessLookupError:
            # With SIGCHLD ignored the kernel reaps by itself, maybe before we ask.
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
        with contextlib.suppress(ChildProcessError):  # reaped by somebody else: ended all the same
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the interpreter ends
            self._loop.call_soon_threadsafe(self._callback)

    def abandon(self) -> None:
        """Close the descriptor, in a forked process too."""
        close, self._close = self._close, int  # first, for a fork at this moment
        with contextlib.suppress(OSError):  # a forked process has no copy of a kqueue
            close()


def _descriptor(pid: int) -> tuple[int, Callable[[], object]] | None:
    """What is readable once `pid` is a zombie, and what closes it; `None`: only a thread can tell.

    On macOS a thread could not: Python had no `waitid` there before 3.13.
    """
    if sys.platform == "darwin":
        queue = select.kqueue()
        ends = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([ends], 0)
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


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped `pid`, a child that has not been reaped; asks, takes nothing."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
