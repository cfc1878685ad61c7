"""Python processes that use the model, which tests interrupt, end and fork."""

import subprocess
import sys
import textwrap

PROLOGUE = """
import asyncio, atexit, gc, os, signal, sys, threading, time, warnings
from docker_model import DockerModel
MODEL = DockerModel("ai/smollm2")
async def exhaust(stream):
    async for _ in stream:
        pass
"""


class Script(subprocess.Popen):
    """A Python process that uses the model; its output is read line by line."""

    def __init__(self, code, prologue=PROLOGUE, **settings):
        super().__init__(
            [sys.executable, "-W", "error", "-c", prologue + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **settings,
        )

    def __exit__(self, kind, *args):
        self.kill()  # it still runs only if the test has failed
        if kind is not None and not self.stderr.closed:
            sys.stderr.write(self.stderr.read())
        super().__exit__(kind, *args)

    def line(self):
        return self.stdout.readline().rstrip()

    def end(self, timeout=60):
        """Wait for the end; return the exit code and the rest of both outputs."""
        out, err = self.communicate(timeout=timeout)
        return self.returncode, out.rstrip(), err.rstrip()
