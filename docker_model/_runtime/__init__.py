"""One I/O thread, the child processes that it owns, and the stream between them and a caller.

This package knows nothing of Docker. `IoThread` runs an event loop; `Child` is one process with
its pipes; `Stream` carries items to a caller on any thread or event loop; `tasks` runs coroutines
for such callers. `process_tree` holds all that differs between operating systems. `RACES.md` lists
what can happen between two events, and what handles it.
"""

from docker_model._runtime.child import Child, Exit
from docker_model._runtime.stream import Sink, Stream

__all__ = ["Child", "Exit", "Sink", "Stream"]
