"""The I/O thread, its child processes, and the streams from them to callers.

This package is independent of Docker. `IoThread` runs an event loop. `Child` is a process with
its pipes. `Stream` passes items to a caller in any thread or event loop, and `tasks` runs
coroutines for these callers. `process_tree` contains the code that differs between operating
systems. `RACES.md` lists the possible race conditions and the code that handles them.
"""

from docker_model._runtime.child import Child, Exit
from docker_model._runtime.stream import Sink, Stream

__all__ = ["Child", "Exit", "Sink", "Stream"]
