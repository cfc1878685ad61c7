"""The I/O thread: fork, and the exit of the interpreter."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from docker_model._runtime import tasks
from tests.support.platforms import WINDOWS, posix
from tests.support.playing import player, run

STUBBORN = player(*([] if WINDOWS else [["ignore", 15]]), ["here"], ["sleep", 60])
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}


@posix
def test_a_forked_process_does_not_hold_the_stdin_of_the_parents_child():
    """A copy of the child's stdin in the forked process would keep the child waiting forever."""
    code = textwrap.dedent(
        """
        import asyncio, os, sys
        from docker_model._runtime import Child, io_thread, tasks
        from tests.support.playing import run
        env = dict(os.environ)
        async def start():
            return await Child.start(["cat"], env=env, on_stdout=lambda data: None)
        async def finish(child):
            child.write(b"x")
            return (await child.ended).code
        child = tasks.run_blocking(start())
        pid = os.fork()
        if pid == 0:
            code = tasks.run_blocking(run(["cat"], env=env, stdin=b"y")).exit_code
            sys.stdin.read()  # stays until the parent has seen its child's end
            os._exit(code)
        print(tasks.run_blocking(finish(child)), flush=True)
        os.close(0)
        """
    )
    # The forked process reads our pipe, which we close once the parent has printed.
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENV
    ) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "sys.exit(0)",
        "raise SystemExit",
        "1/0",
        "threading.Thread(target=run_late).start()",
    ],
)
def test_the_exit_of_the_interpreter_leaves_no_child(ending, liveness):
    code = textwrap.dedent(
        f"""
        import asyncio, sys, threading, os
        from docker_model._runtime import Child, io_thread, tasks
        from tests.support.playing import player, run
        env = dict(os.environ)
        async def start(argv):
            child = await Child.start(argv, env=env, on_stdout=lambda data: None)
            await asyncio.sleep(0)
        def run_late():
            tasks.run_blocking(run(player(["sleep", 1]), env=env))
        tasks.run_blocking(start({STUBBORN!r}))
        sys.stdin.read()
        """
    )
    code += ending
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**liveness.env, **ENV},
    ) as process:
        connection = liveness.accept()
        assert connection.recv(1) == b"!"
        process.stdin.close()
        assert connection.recv(1) == b""
        process.wait(60)
        stderr = process.stderr.read()
    assert stderr == b"" or b"ZeroDivisionError" in stderr


def test_one_io_thread_serves_all_calls():
    tasks.run_blocking(run(player(), env=ENV))
    assert [thread.name for thread in threading.enumerate()].count("docker-model-io") == 1
