"""No code path outside of the POSIX rooms needs a call that Windows does not have."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.platforms import posix

ROOT = Path(__file__).parents[2]

# What Python has on Linux or macOS alone; asyncio and subprocess, loaded before, keep their own.
REMOVED = {
    "os": [
        "chown", "fchmod", "fork", "forkpty", "geteuid", "getgid", "getpgid", "getuid", "killpg",
        "makedev", "mkfifo", "openpty", "pidfd_open", "posix_spawn", "register_at_fork", "setpgid",
        "setsid", "sysconf", "uname", "wait", "waitid", "O_DIRECTORY", "O_NONBLOCK", "O_PATH",
        "P_PID", "WEXITED", "WNOHANG", "WNOWAIT", "WSTOPPED",
    ],
    "signal": [
        "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP",
        "SIGUSR1", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
    ],
    "select": ["epoll", "kevent", "kqueue", "poll"],
}  # fmt: skip
MODULES = ["fcntl", "grp", "pty", "pwd", "readline", "resource", "termios", "tty"]

PROLOGUE = f"""
import asyncio, importlib, multiprocessing, os, pkgutil, select, signal, socket, subprocess, sys
import concurrent.futures, http.server, json, logging, selectors, ssl, tempfile, threading, uuid
import urllib.request
for module, names in {REMOVED!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
for name in {MODULES!r}:
    sys.modules[name] = None
selectors.DefaultSelector = selectors.SelectSelector
import docker_model
"""


def run(code, **settings):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **settings,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.rstrip()


def test_every_module_can_be_imported():
    code = """
    failed = []
    for module in pkgutil.walk_packages(docker_model.__path__, "docker_model."):
        if not module.name.endswith((".windows", ".program", "__main__", ".pytest_plugin")):
            importlib.import_module(module.name)
            print(module.name)
    """
    assert "docker_model._runtime.posix" in run(code).splitlines()


DRIVES = {
    "an answer over HTTP": """
        with docker_model.testing.SimulatedDocker() as docker:
            model = docker_model.DockerModel("ai/smollm2", base_url=docker.url)
            print(model.generate("a").text)
            print("".join(model.stream("a")))
            print(asyncio.run(model.agenerate("a")).text)
        """,
    "a command that is missing": """
        model = docker_model.DockerModel("ai/smollm2", command="no-such-program")
        for call in (model.generate, lambda prompt: list(model.stream(prompt))):
            try:
                call("a")
            except docker_model.DockerNotFoundError:
                print("You said: a")
        status = docker_model.status(command="no-such-program")
        assert "no-such-program" in status.problem, status
        print("You said: a")
        """,
    "a prompt that names a file": """
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            model = docker_model.DockerModel("ai/smollm2", file_references="refuse")
            try:
                model.generate(f"@{file.name}")
            except docker_model.FileReferenceError:
                print("You said: a\\nYou said: a\\nYou said: a")
        """,
    "the command line": """
        from docker_model.__main__ import main
        os.environ["DOCKER_MODEL_COMMAND"] = "no-such-program"
        assert main(["check"]) == 1
        print("\\nYou said: a\\nYou said: a\\nYou said: a")
        """,
}


@posix
@pytest.mark.parametrize("name", DRIVES)
def test_a_call_needs_none_of_the_names(name):
    code = "import docker_model.testing\n" + textwrap.dedent(DRIVES[name])
    assert run(code).splitlines()[-3:] == ["You said: a"] * 3
