"""The other kind of event loop that callers use: uvloop, or the selector loop without it."""

import asyncio

try:
    from uvloop import new_event_loop, run
except ImportError:  # Windows, whose first kind is the proactor loop
    new_event_loop = asyncio.SelectorEventLoop

    def run(main):
        """Run a coroutine, as `asyncio.run` does."""
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(main)


__all__ = ["new_event_loop", "run"]
