"""Processes of this platform: how a tree of them is started, watched and ended.

`ProcessTree` is one child process with its pipes and all that it starts, and `EventLoop` is the
kind of loop that can watch one. POSIX has sessions, signals and pidfds or kqueues; Windows has job
objects, overlapped pipes and process handles. Everything above this module sees one class.
"""

from __future__ import annotations

import sys
from typing import Protocol

if sys.platform == "win32":
    from docker_model._runtime.windows import EventLoop, ProcessTree
else:
    from docker_model._runtime.posix import EventLoop, ProcessTree

__all__ = ["EventLoop", "ProcessTree", "TreeObserver"]


class TreeObserver(Protocol):
    """The object that a process tree reports to, on the I/O thread."""

    def stdout_received(self, data: bytes) -> None:
        """Take a chunk of standard output; empty at its end."""

    def stderr_received(self, data: bytes) -> None:
        """Take a chunk of standard error; empty at its end."""

    def stdin_delivered(self) -> None:
        """Note that the process has taken all of its input, whose pipe is closed."""

    def process_exited(self) -> None:
        """Note that the process has ended; it has not been reaped."""
