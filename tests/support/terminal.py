"""`python -m docker_model` as a process, in a pipe and on a terminal."""

import os
import sys

from tests.support.programs import run_python

CONSOLE = [sys.executable, "-m", "docker_model"]


def console(*arguments, typed="", env=None):
    return run_python(["-m", "docker_model", *arguments], typed=typed, env=env)


def on_terminal(*arguments, command=CONSOLE, typed=b"", after=b"", **env):
    """Run it on a terminal; type `typed` after `after` is shown. Return screen and exit code."""
    import pty  # noqa: PLC0415  which Windows does not have

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm", **env})
        os.execv(command[0], [*command, *arguments])
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: on Linux, the other end is closed
            break
        if not data:
            break
        shown += data
        if typed and after in shown:
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return shown.decode(), os.waitstatus_to_exitcode(status)
