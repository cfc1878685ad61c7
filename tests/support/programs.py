"""Python programs in separate processes, without waiting for the imports of each.

`run_python` runs them in a fork of a process that has already imported the frameworks.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = [
    "docker_model.http",
    "docker_model.testing",
    "langchain.agents",
    "langchain_docker_model.chat_models",
    "langchain_docker_model.embeddings",
    "langchain_docker_model.llms",
    "langchain_docker_model.rerank",
    "llama_index.core.agent.workflow",
    "llama_index_docker_model",
    "pytest",
]
CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if CAN_FORK else "spawn")
if CAN_FORK:
    CONTEXT.set_forkserver_preload(IMPORTED)


def run_python(argv, *, env=None, cwd=None, typed="", timeout=90):
    """Run `python argv…`, with `-c`, `-m` or a file; return a `CompletedProcess`.

    Args:
        argv: The arguments of `python`.
        env: The whole environment; by default, that of this process.
        cwd: The working directory; by default, that of this process.
        typed: The text on stdin.
        timeout: Seconds after which the process is killed.
    """
    argv = [str(word) for word in argv]
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("in", "out", "err")]
        stdin, out, err = streams
        stdin.write_text(typed, encoding="utf-8")
        variables = {**(os.environ if env is None else env), "PYTHONPATH": str(ROOT)}
        settings = (argv, variables, cwd or Path.cwd(), streams)
        process = CONTEXT.Process(target=_program, args=settings)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, timeout, out.read_bytes(), err.read_bytes())
        return subprocess.CompletedProcess(
            argv, process.exitcode, out.read_text("utf-8"), err.read_text("utf-8")
        )


def _program(argv, variables, cwd, streams):
    gc.freeze()  # saves the garbage collector from scanning the imported modules
    for number, path in enumerate(streams):
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        # On Windows, Python itself converts the ends of lines.
        descriptor = os.open(path, mode | getattr(os, "O_BINARY", 0))
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  in a fork, `sys.stdin` is /dev/null
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv[:] = argv
    try:
        if argv[0] == "-c":
            sys.argv[:] = ["-c", *argv[2:]]
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(argv[1], "<string>", "exec"), vars(main))
        elif argv[0] == "-m":
            sys.argv[:] = argv[1:]
            sys.path.insert(0, str(cwd))
            runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(argv[0]).parent))
            runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a forked process does not run them
