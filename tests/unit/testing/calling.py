"""Helpers that run the simulated command with `subprocess`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker_model.testing import SimulatedDocker

MODEL = "ai/smollm2"


def call(
    docker: SimulatedDocker, *words: str, stdin: str | bytes | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run `docker model WORDS` to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    source = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
    completed = subprocess.run(
        [*docker.command, *words], capture_output=True, check=False, timeout=30, **source, **options
    )
    return subprocess.CompletedProcess(
        completed.args,
        completed.returncode,
        completed.stdout.decode("utf-8", "surrogateescape"),
        completed.stderr.decode("utf-8", "surrogateescape"),
    )


def ask(docker: SimulatedDocker, prompt: str, model: str = MODEL) -> str:
    """Return the stdout of a successful run."""
    completed = call(docker, "run", "--color", "no", "--", model, stdin=prompt)
    assert (completed.returncode, completed.stderr) == (0, "")
    return completed.stdout


def start(docker: SimulatedDocker, *words: str, **options: object) -> subprocess.Popen[bytes]:
    """Start `docker model WORDS` in a new session, with pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*docker.command, *words],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
        **options,
    )


def start_run(docker: SimulatedDocker, prompt: str = "hi", **options: object):
    """Start a run and write its prompt to stdin."""
    process = start(docker, "run", "--", MODEL, **options)
    process.stdin.write(prompt.encode())
    process.stdin.close()
    return process


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Read both outputs to their ends; return the exit code and the outputs."""
    with process:
        stdout = process.stdout.read()
        stderr = process.stderr.read()
    return process.returncode, stdout, stderr
