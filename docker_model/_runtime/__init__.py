"""One I/O thread, the child processes that it owns, and the stream between them and a caller.

Nothing here knows of Docker. `io` has the thread and the two ways to wait for a
coroutine that runs on it; `Child` is one process with its three pipes; `Stream`
carries what it says to a caller on any thread or event loop.
"""

from docker_model._runtime.child import Child, Exit
from docker_model._runtime.stream import Sink, Stream

__all__ = ["Child", "Exit", "Sink", "Stream"]
