"""`python -m docker_model` as a process, in a pipe and on a terminal."""

import os
import sys

import pytest

from tests.support.platforms import WINDOWS
from tests.support.programs import run_python

CONSOLE = [sys.executable, "-m", "docker_model"]


def console(*arguments, typed="", env=None):
    return run_python(["-m", "docker_model", *arguments], typed=typed, env=env)


def on_terminal(*arguments, command=CONSOLE, typed=b"", after=b"", **env):
    """Run a command on a terminal, and type `typed` once the output contains `after`.

    Returns:
        The output and the exit code.
    """
    if WINDOWS:
        pytest.skip("POSIX only: a pseudo-terminal")
    import pty  # noqa: PLC0415  not available on Windows

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm", **env})
        os.execv(command[0], [*command, *arguments])
    output = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: on Linux, the other end is closed
            break
        if not data:
            break
        output += data
        if typed and after in output:
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return output.decode(), os.waitstatus_to_exitcode(status)
