"""Only the POSIX modules use functions that Windows does not have."""

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.platforms import posix

ROOT = Path(__file__).parents[2]

# Names that Python has only on Linux or macOS; asyncio and subprocess, loaded before, keep theirs.
REMOVED = {
    "os": [
        "chown", "chroot", "fchdir", "fchmod", "fchown", "fork", "forkpty", "get_blocking",
        "getegid", "geteuid", "getgid", "getpgid", "getpgrp", "getuid", "initgroups", "killpg",
        "lchown", "lockf", "makedev", "mkfifo", "nice", "openpty", "pidfd_open", "pipe2",
        "posix_spawn", "posix_spawnp", "pread", "pwrite", "readv", "register_at_fork",
        "sched_getaffinity", "sched_yield", "sendfile", "set_blocking", "setgid", "setpgid",
        "setsid", "setuid", "statvfs", "sysconf", "tcgetpgrp", "ttyname", "uname", "wait", "wait3",
        "wait4", "waitid", "writev", "EX_OK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW",
        "O_NONBLOCK", "O_PATH", "P_PID", "WEXITED", "WEXITSTATUS", "WIFEXITED", "WIFSIGNALED",
        "WNOHANG", "WNOWAIT", "WSTOPPED", "WTERMSIG",
    ],
    "signal": [
        "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGIO", "SIGKILL", "SIGPIPE",
        "SIGPROF", "SIGPWR", "SIGQUIT", "SIGRTMAX", "SIGRTMIN", "SIGSTOP", "SIGSYS", "SIGTRAP",
        "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIG_BLOCK", "SIG_UNBLOCK",
        "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer",
        "siginterrupt", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo",
    ],
    "select": ["epoll", "kevent", "kqueue", "poll"],
    "socket": ["MSG_DONTWAIT", "SO_REUSEPORT"],
    "time": ["clock_gettime", "pthread_getcpuclockid", "tzset"],
}  # fmt: skip
MODULES = ["fcntl", "grp", "pty", "pwd", "readline", "resource", "termios", "tty"]

# `docker_model._runtime.posix` keeps these names: on Windows another class replaces the one in
# that module.
FRAMEWORKS = """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import langchain_core.language_models, llama_index.core
"""
PROLOGUE = f"""
import asyncio, importlib, multiprocessing, os, pkgutil, select, signal, socket, subprocess, sys
import concurrent.futures, http.server, json, logging, selectors, ssl, tempfile, threading, uuid
import time, types, urllib.request
kept = {{name: types.SimpleNamespace(**vars(sys.modules[name])) for name in {list(REMOVED)!r}}}
for module, names in {REMOVED!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
for name in {MODULES!r}:
    sys.modules[name] = None
selectors.DefaultSelector = selectors.SelectSelector
import docker_model
from docker_model._runtime import posix
posix.os, posix.signal, posix.select = kept["os"], kept["signal"], kept["select"]
"""


def run(code, before=""):
    code = before + PROLOGUE + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.rstrip()


def test_every_module_can_be_imported():
    code = """
    failed = []
    for module in pkgutil.walk_packages(docker_model.__path__, "docker_model."):
        if not module.name.endswith((".windows", "._start", "__main__", ".pytest_plugin")):
            importlib.import_module(module.name)
            print(module.name)
    """
    assert "docker_model._runtime.posix" in run(code).splitlines()


DRIVES = {
    "answers of the command": """
        with SimulatedDocker():
            model = DockerModel("ai/smollm2")
            assert model.generate("a").text == "You said: a"
            assert "".join(model.stream("a")) == "You said: a"
            assert asyncio.run(model.agenerate("a")).text == "You said: a"
            async def pieces():
                return [piece async for piece in model.astream("a")]
            assert "".join(asyncio.run(pieces())) == "You said: a"
        """,
    "answers over HTTP": """
        with SimulatedDocker() as docker:
            model = DockerModel("ai/smollm2", base_url=docker.url)
            assert model.generate("a").text == "You said: a"
            assert "".join(model.stream("a")) == "You said: a"
            assert asyncio.run(model.agenerate("a")).text == "You said: a"
            discovered = DockerModel("ai/smollm2", transport="http", env={"HOME": "/nonexistent"})
            assert discovered.generate("a").text == "You said: a"
        """,
    "cancelling, a timeout and a failure": """
        with SimulatedDocker({"ai/smollm2": [Text("some"), Hang()]}) as docker:
            limits = docker_model.Timeouts(idle=0.3)
            for settings in ({}, {"base_url": docker.url}):
                stream = DockerModel("ai/smollm2", **settings).stream("a")
                assert next(stream) == "some"
                stream.cancel()
                assert list(stream) == []
                try:
                    DockerModel("ai/smollm2", timeout=limits, **settings).generate("a")
                except docker_model.GenerationTimeoutError as error:
                    assert error.partial == "some"
            docker.wait_all_gone()
        with SimulatedDocker({"ai/smollm2": [Text("some"), Exit(1)]}):
            try:
                DockerModel("ai/smollm2").generate("a")
            except docker_model.GenerationError as error:
                assert error.exit_code == 1
        """,
    "standby": """
        with SimulatedDocker() as docker:
            model = DockerModel("ai/smollm2", standby=2)
            model.warm_up()
            assert [model.generate(str(n)).text for n in range(4)] == [
                f"You said: {n}" for n in range(4)
            ]
            model.close()
            docker.wait_all_gone()
        """,
    "the models": """
        with SimulatedDocker(pullable=["ai/other"]) as docker:
            for settings in ({}, {"base_url": docker.url}):
                assert [info.name for info in docker_model.list_models(**settings)]
                assert docker_model.inspect_model("ai/smollm2", **settings).name == "ai/smollm2"
                assert docker_model.pull_model("ai/other", **settings).name == "ai/other"
                assert docker_model.status(**settings).running
                docker_model.list_running(**settings)
                docker_model.disk_usage(**settings)
                docker_model.unload_model("ai/smollm2", **settings)
                docker_model.remove_model("ai/other", **settings)
        """,
    "conversations and embeddings": """
        from docker_model.http import Client
        with SimulatedDocker() as docker:
            client = Client(base_url=docker.url)
            messages = [{"role": "user", "content": "a"}]
            client.chat("ai/smollm2", messages)
            asyncio.run(client.achat("ai/smollm2", messages))
            assert len(client.embed("ai/smollm2", ["a", "b"])) == 2
        """,
    "a command that is missing": """
        model = DockerModel("ai/smollm2", command="no-such-program")
        for call in (model.generate, lambda prompt: list(model.stream(prompt))):
            try:
                call("a")
            except docker_model.DockerNotFoundError:
                continue
            raise AssertionError
        status = docker_model.status(command="no-such-program")
        assert "no-such-program" in status.problem, status
        """,
    "no runner at all": """
        model = DockerModel("ai/smollm2", base_url="http://127.0.0.1:1")
        try:
            model.generate("a")
        except docker_model.RunnerUnavailableError as error:
            assert error.hint
        """,
    "prompts that name a file": """
        with tempfile.NamedTemporaryFile(suffix=".txt") as file, SimulatedDocker() as docker:
            model = DockerModel("ai/smollm2", file_references="refuse")
            try:
                model.generate(f"@{file.name}")
            except docker_model.FileReferenceError as error:
                assert error.references
            escaped = DockerModel("ai/smollm2").generate(f"@{file.name}").text
            assert escaped == f"You said: @ {file.name}"
        """,
    "the command line": """
        from docker_model.__main__ import main
        with SimulatedDocker():
            assert main(["check"]) == 0
            assert main(["list"]) == 0
            assert main(["ask", "ai/smollm2", "a"]) == 0
        os.environ["DOCKER_MODEL_COMMAND"] = "no-such-program"
        assert main(["check"]) == 1
        """,
}
ADAPTERS = """
    from langchain_docker_model import ChatDockerModel, DockerModelLLM as LangChainLLM
    from llama_index_docker_model import DockerModelLLM as LlamaIndexLLM
    with SimulatedDocker() as docker:
        assert LangChainLLM(model="ai/smollm2").invoke("a") == "You said: a"
        assert "a" in ChatDockerModel(model="ai/smollm2", base_url=docker.url).invoke("a").text
        assert LlamaIndexLLM(model="ai/smollm2").complete("a").text == "You said: a"
    """
IMPORTS = """
from docker_model import DockerModel
from docker_model.testing import Exit, Hang, SimulatedDocker, Text
"""


@posix
def test_calls_work_without_the_names():
    code = IMPORTS + "".join(map(textwrap.dedent, DRIVES.values())) + "print('done')"
    assert run(code).splitlines()[-1] == "done"


@posix
def test_the_adapters_work_without_the_names():
    run(IMPORTS + textwrap.dedent(ADAPTERS), before=FRAMEWORKS)
