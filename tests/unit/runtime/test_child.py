"""`Child`: each test is a fault of a child process."""

import errno
import os
import signal
import sys
import threading

import pytest

from docker_model._runtime import child, tasks
from tests.conftest import wait_for_children
from tests.support.platforms import WINDOWS, posix
from tests.support.playing import interrupt, player, run

ENV = dict(os.environ)


def go(*steps, **settings):
    return tasks.run_blocking(run(player(*steps), env=ENV, **settings))


def test_output_and_exit_code_are_those_of_the_child():
    got = go(["write", 1, "out"], ["write", 2, "err"], ["exit", 3])
    assert (got.exit_code, got.signal, got.stdout, got.stderr) == (3, None, b"out", "err")


@posix
@pytest.mark.parametrize("number", [9, 11, 15])
def test_a_signal_is_distinguished_from_an_exit_code(number):
    got = go(["write", 1, "x"], ["signal", int(number)])
    assert (got.exit_code, got.signal, got.stdout) == (None, number, b"x")


def test_an_exit_code_that_looks_like_a_signal_stays_an_exit_code():
    assert go(["exit", 137]).exit_code == 137


def test_flooding_both_outputs_and_a_large_stdin_does_not_deadlock():
    got = go(
        ["write", 2, "e" * 1000, 1000],
        ["write", 1, "o" * 1000, 1000],
        ["read"],
        ["write", 1, "end"],
        stdin=b"i" * 5_000_000,
    )
    assert got.exit_code == 0
    assert got.stdout == b"o" * 1_000_000 + b"end"
    assert got.stderr == "e" * child.STDERR_TAIL


def test_a_child_that_does_not_read_its_stdin_may_succeed():
    assert go(["write", 1, "done"], stdin=b"i" * 5_000_000).stdout == b"done"


def test_a_child_that_closes_stdin_at_once_may_succeed():
    assert go(["close", 0], ["write", 1, "done"], stdin=b"i" * 5_000_000).stdout == b"done"


def test_without_stdin_the_child_reads_the_null_device():
    assert go(["read"], ["write", 1, "eof"]).stdout == b"eof"


def test_a_grandchild_that_holds_the_pipe_delays_the_end_only_by_the_drain_timeout(liveness):
    got = tasks.run_blocking(
        run(player(["write", 1, "all"], ["fork"], ["sleep", 60]), env=liveness.env)
    )
    assert (got.exit_code, got.stdout) == (0, b"all")
    assert liveness.accept().recv(1) == b""  # shared with the forked grandchild


@posix
def test_a_grandchild_in_another_session_does_not_block_the_caller(liveness):
    steps = (["write", 1, "all"], ["fork"], ["setsid"], ["wait"])
    got = tasks.run_blocking(run(player(*steps), env=liveness.env))
    assert (got.exit_code, got.stdout) == (0, b"all")
    connection = liveness.accept()
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):  # the grandchild is alive
        connection.recv(1)


def test_a_grandchild_that_holds_only_stderr_is_not_treated_as_a_hung_command():
    got = go(["write", 1, "all"], ["fork"], ["sleep", 0.1], ["close", 1], ["sleep", 60])
    assert (got.exit_code, got.signal, got.stdout) == (0, None, b"all")


def test_a_timeout_kills_the_whole_group(liveness):
    connection = tasks.run_blocking(interrupt(liveness, ["here"], ["sleep", 60]))
    assert connection.recv(1) == b""


@posix
def test_a_child_that_ignores_sigterm_is_killed(liveness, caplog):
    steps = (["ignore", int(signal.SIGTERM)], ["here"], ["sleep", 60])
    assert tasks.run_blocking(interrupt(liveness, *steps)).recv(1) == b""
    assert "did not exit within 0.25 s after SIGTERM, and was killed" in caplog.text


@posix
def test_a_stopped_child_is_killed(liveness):
    steps = (["write", 1, "here"], ["signal", int(signal.SIGSTOP)])
    with pytest.raises(TimeoutError):
        tasks.run_blocking(run(player(*steps), env=liveness.env, seconds=0.5))
    wait_for_children()
    for connection in liveness.connected():
        assert connection.recv(1) == b""


@posix
def test_closing_both_outputs_without_an_exit_ends_the_child(monkeypatch, liveness):
    monkeypatch.setattr(child, "EXIT_AFTER_EOF_TIMEOUT", 0.1)
    got = tasks.run_blocking(
        run(player(["close", 1], ["close", 2], ["sleep", 60]), env=liveness.env)
    )
    assert got.exit_code is None
    assert got.signal == signal.SIGTERM
    assert liveness.accept().recv(1) == b""


def test_closing_stdout_shortly_before_the_exit_is_a_success():
    got = go(["write", 1, "x"], ["close", 1], ["sleep", 0.2], ["exit", 0])
    assert (got.exit_code, got.stdout) == (0, b"x")


@posix
@pytest.mark.parametrize(
    ("name", "mode", "number"),
    [
        ("nothing", None, errno.ENOENT),
        ("not-executable", 0o644, errno.EACCES),
        ("garbage", 0o755, errno.ENOEXEC),
    ],
)
def test_a_program_that_cannot_be_started_raises(tmp_path, name, mode, number):
    program = tmp_path / name
    if mode is not None:
        program.write_bytes(b"\0garbage")
        program.chmod(mode)
    with pytest.raises(OSError) as caught:
        tasks.run_blocking(run([str(program)], env=ENV))
    assert caught.value.errno == number


@posix
def test_a_failure_is_never_a_success_when_sigchld_is_ignored():
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        got = go(["write", 1, "x"], ["exit", 7])
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert (got.exit_code, got.signal, got.stdout) == (None, None, b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="pidfds are Linux'")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, None])
def test_the_exit_is_noticed_without_pidfds(number, monkeypatch, liveness):
    """Linux before 5.3, some sandboxes and other systems have no pidfds."""

    def refuse(_):
        raise OSError(number, os.strerror(number))

    if number is None:
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse)
    assert go(["write", 1, "x"], ["exit", 3]).exit_code == 3
    assert go(["signal", int(signal.SIGSEGV)]).signal == signal.SIGSEGV
    connection = tasks.run_blocking(interrupt(liveness, ["ignore", 15], ["here"], ["wait"]))
    assert connection.recv(1) == b""


def test_runs_from_sixteen_threads_leave_no_children():
    results = []
    runs = 2 if WINDOWS else 6  # starting takes longer there

    def work():
        results.extend(go(["read"], ["write", 1, "ok"], stdin=b"x").stdout for _ in range(runs))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"ok"] * 16 * runs


def test_stderr_in_memory_is_at_most_twice_the_tail(monkeypatch):
    receive, sizes = child.Child.stderr_received, []

    def received(self, data):
        receive(self, data)
        sizes.append(len(self._tail))

    monkeypatch.setattr(child, "STDERR_TAIL", 1000)
    monkeypatch.setattr(child.Child, "stderr_received", received)
    assert go(["write", 2, "e" * 700, 100], ["write", 2, "end"]).stderr == "e" * 997 + "end"
    assert 0 < max(sizes) <= 2000
