"""Async context managers that enforce `Timeouts`, on the I/O thread."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from docker_model.errors import GenerationTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_HINTS = {
    "queue": "all max_concurrency slots are in use; raise max_concurrency or timeout.queue",
    "first_output": "a large model can take minutes to load: call warm_up() first, or raise "
    "timeout.first_output",
    "idle": "check `docker model logs`, or raise timeout.idle",
    "total": "raise timeout or timeout.total",
}


def timeout_scope(
    name: str, seconds: float | None, partial: Callable[[], str] = str, *, cap: str = ""
) -> contextlib.AbstractAsyncContextManager[object]:
    """Return a `PhaseTimeout` for one phase; without a limit, a context manager without effect."""
    return (
        contextlib.nullcontext()
        if seconds is None
        else PhaseTimeout(name, seconds, partial, cap=cap)
    )


class PhaseTimeout:
    """An async context manager that raises `GenerationTimeoutError` when a phase takes too long.

    Args:
        name: A field of `Timeouts`.
        seconds: The time limit of the phase; `None` for no limit.
        partial: Returns the answer so far, for the error.
        cap: The setting that limits the length of an answer, for the hint; empty if none exists.
    """

    def __init__(
        self,
        name: str,
        seconds: float | None,
        partial: Callable[[], str] = str,
        *,
        cap: str = "",
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._partial = partial
        self._cap = f", or limit the answer with {cap}" if cap else ""
        self._timeout = asyncio.timeout(None)
        self._clock = asyncio.get_running_loop().time
        self._end: float | None = None  # of the phase, on `_clock`
        self._over = False
        self._alarm: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self.switch_to(self._name, self._seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._over = True
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise GenerationTimeoutError(
                f"no more output for {self._seconds:g} s"
                if self._name == "idle"
                else f"the phase {self._name!r} took longer than {self._seconds:g} s",
                hint=_HINTS[self._name] + self._cap,
                phase=self._name,
                partial=self._partial(),
            ) from None

    def switch_to(self, name: str, seconds: float | None) -> None:
        """Begin another phase, or restart the current phase."""
        self._name, self._seconds = name, seconds
        self.suspend(suspended=False)

    def suspend(self, *, suspended: bool) -> None:
        """Stop or restart the clock, because a slow consumer is not a stalled model."""
        if self._over:  # a slow consumer can call this after the end
            return
        self._end = None if suspended or self._seconds is None else self._clock() + self._seconds
        if self._end is not None and (self._alarm is None or self._end < self._alarm.when()):
            self._set_alarm(self._end)

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        # Usually `_end` has moved. Checking it here is cheaper than a new timer for each piece.
        self._alarm = None
        if self._end is None:
            return
        if self._end > self._clock():
            self._set_alarm(self._end)
        elif not self._timeout.expired():
            self._timeout.reschedule(self._end)
