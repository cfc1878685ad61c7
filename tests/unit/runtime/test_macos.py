"""Process trees on macOS, with the system's answers replaced: kqueue, `killpg`, no `waitid`."""

import errno
import os
import select
import signal
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import pytest

from docker_model._runtime import Child, process_tree, tasks
from tests.support.platforms import posix
from tests.support.playing import player, run

pytestmark = posix
MODULE = sys.modules[process_tree.ProcessTree.__module__]
ENV = dict(os.environ)


class Kqueue:
    """Wait for the exit of one process like a kqueue, by a pidfd."""

    opened: ClassVar[list] = []

    def __init__(self):
        self.opened.append(self)
        self._fd = os.open(os.devnull, os.O_RDONLY)
        self.closed = False

    def control(self, events, count):
        [event] = events
        assert (event.filter, event.flags, event.fflags, count) == ("PROC", "ADD", "EXIT", 0)
        pidfd = os.pidfd_open(event.ident)
        os.dup2(pidfd, self._fd)
        os.close(pidfd)

    def fileno(self):
        return self._fd

    def close(self):
        self.closed = True
        os.close(self._fd)


@pytest.fixture
def kqueue(monkeypatch):
    """Make the module behave as on macOS."""
    if hasattr(select, "kqueue"):
        pytest.skip("this is macOS: the other tests run on its own kqueue")
    kqueue = type("Kqueue", (Kqueue,), {"opened": []})
    names = {"KQ_FILTER_PROC": "PROC", "KQ_EV_ADD": "ADD", "KQ_NOTE_EXIT": "EXIT"}
    event = lambda ident, filter, flags, fflags: SimpleNamespace(  # noqa: A006, E731
        ident=ident, filter=filter, flags=flags, fflags=fflags
    )
    monkeypatch.setattr(MODULE, "select", SimpleNamespace(kqueue=kqueue, kevent=event, **names))
    monkeypatch.setattr(MODULE, "sys", SimpleNamespace(platform="darwin"))
    return kqueue


def go(*steps, **settings):
    return tasks.run_blocking(run(player(*steps), env=ENV, **settings))


def test_a_kqueue_notices_the_exit_and_is_closed(kqueue):
    assert go(["write", 1, "x"], ["exit", 3]).exit_code == 3
    assert go(["signal", int(signal.SIGSEGV)]).signal == signal.SIGSEGV
    assert [queue.closed for queue in kqueue.opened] == [True, True]


def test_a_process_that_has_ended_before_it_is_watched_is_reaped(kqueue, monkeypatch):
    """The kernel returns ESRCH for a zombie."""

    def no_such_process(_, events, __):
        os.waitid(os.P_PID, events[0].ident, os.WEXITED | os.WNOWAIT)
        raise ProcessLookupError(errno.ESRCH, "No such process")

    monkeypatch.setattr(kqueue, "control", no_such_process)
    assert go(["exit", 3]).exit_code == 3
    assert kqueue.opened[0].closed


def test_a_process_that_cannot_be_watched_is_killed(kqueue, monkeypatch, liveness):
    def exhausted(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(kqueue, "control", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        tasks.run_blocking(run(player(["sleep", 60]), env=liveness.env))
    assert kqueue.opened[0].closed


def test_closing_a_kqueue_that_a_fork_has_closed_raises_nothing(kqueue, monkeypatch):
    def closed(queue):
        os.close(queue._fd)
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(kqueue, "close", closed)
    assert go(["exit", 3]).exit_code == 3


def test_a_group_that_refuses_signals_is_still_reaped(monkeypatch):
    killpg = os.killpg

    def refuse(group, number):
        killpg(group, number)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse)
    assert go(["write", 1, "x"], ["exit", 3]).exit_code == 3
    with pytest.raises(TimeoutError):
        go(["sleep", 60], seconds=0.2)


def test_a_running_child_counts_as_silent_without_waitid(monkeypatch):
    """Before Python 3.13, macOS cannot inspect a process without reaping it."""
    monkeypatch.delattr(os, "waitid")

    async def parked():
        child = await Child.start(player(["sleep", 60]), env=ENV, on_stdout=print)
        silent = child.silent
        child.kill()
        return silent, (await child.ended).signal

    assert tasks.run_blocking(parked()) == (True, signal.SIGKILL)


def test_a_forked_child_inherits_no_pipe_of_another_child(monkeypatch):
    """Python uses vfork only on Linux; elsewhere it forks before it executes the program."""
    with_fork = partial(subprocess.Popen, preexec_fn=int)  # which vfork cannot call
    monkeypatch.setattr(subprocess, "Popen", with_fork)
    listing = "import os; print(sorted(map(int, os.listdir('/dev/fd'))))"

    async def beside_another():
        other = await Child.start(player(["sleep", 60]), env=ENV, on_stdout=print)
        try:
            return await run([sys.executable, "-c", listing], env=ENV)
        finally:
            other.kill()
            await other.ended

    # Number 3 is the listing itself.
    assert tasks.run_blocking(beside_another()).stdout.strip() == b"[0, 1, 2, 3]"
