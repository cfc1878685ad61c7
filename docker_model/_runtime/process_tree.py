"""Start, watch and end process trees on the current platform.

`ProcessTree` is a child process with its pipes and its descendants. `EventLoop` is the type of
loop that can watch it. POSIX has sessions, signals and pidfds or kqueues; Windows has job
objects, overlapped pipes and process handles. Both implementations have the same methods.
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
    """Receives the events of a process tree, on the I/O thread."""

    def stdout_received(self, data: bytes) -> None:
        """Handle a chunk of standard output; empty at the end of the output."""

    def stderr_received(self, data: bytes) -> None:
        """Handle a chunk of standard error; empty at the end of the output."""

    def stdin_delivered(self) -> None:
        """Handle the delivery of all of stdin; its pipe is already closed."""

    def process_exited(self) -> None:
        """Handle the exit of the process, which has not been reaped."""
