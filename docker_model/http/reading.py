"""A streamed reply, read as fast as it is taken."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from docker_model.errors import GenerationError
from docker_model.http import failures
from docker_model.http.connections import ConnectionLost
from docker_model.http.events import Events, as_chunk, parse_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model._runtime.timeouts import PhaseTimeout
    from docker_model.http.connections import Reply

_LAST_BYTES = 0.25  # seconds for the reply's end after `[DONE]`: then the connection is kept


class Backpressure(Protocol):
    """What can have the reading of a stream stopped for a while; on the I/O thread.

    Attributes:
        on_full: Called when it should stop.
        on_drained: Called when it may go on.
    """

    on_full: Callable[[], object]
    on_drained: Callable[[], object]


class Reader:
    """Hands on the events of one streamed reply.

    Args:
        model: The name as the caller gave it, for errors.
        tap: Can have the reading stopped.
        take: Given each event and its size in bytes; says whether that was enough.
        partial: Gives the answer so far, for errors.
    """

    def __init__(
        self,
        model: str,
        tap: Backpressure,
        take: Callable[[dict[str, Any], int], bool],
        partial: Callable[[], str],
    ) -> None:
        self._model = model
        self._tap = tap
        self._take = take
        self._partial = partial
        self._events: Events
        self._spoken = False  # something has been handed on
        self._begun = False  # there was a choice, be it an empty one
        self._finished = False  # the model has ended its answer, and said so
        self._enough = False

    async def read(self, reply: Reply, phase: PhaseTimeout, idle: float | None) -> None:
        """Read to the end, or until there is enough.

        Args:
            reply: Its head has come.
            phase: The clock, at `first_output`.
            idle: Seconds between two events.

        Raises:
            DockerModelError: It holds an error, is none of an API like this, or broke off.
            ConnectionLost: It broke off before anything came.
        """
        self._events = Events()  # an earlier reply may have left half a line
        try:
            if reply.content_type.startswith(("application/json", "text/html")):
                # From a backend that does not stream; or a proxy's page, which is no JSON.
                content = parse_object(await reply.read())
                self._hand_on([(as_chunk(content), 0)])
            else:
                await self._read_events(reply, _Flow(phase, idle))
        except ConnectionLost as error:
            if not self._spoken:
                raise
            raise failures.broken_off(self._model, self._partial(), error) from error
        if not self._begun:
            raise failures.no_choices(self._model)

    async def _read_events(self, reply: Reply, flow: _Flow) -> None:
        self._tap.on_full, self._tap.on_drained = flow.pause, flow.resume
        chunks = reply.pieces()
        async for data in chunks:
            events = self._parse(data)
            self._hand_on(events)
            if self._enough:
                return
            if self._events.done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_BYTES):
                        await anext(chunks, None)
                return
            await flow.go_on(spoken=bool(events))
        self._hand_on(self._parse(b"\n"))  # the last line may have come without its newline
        if not (self._finished or self._enough or self._events.done):
            msg = "it just ended"
            raise ConnectionLost(msg)

    def _parse(self, data: bytes) -> list[tuple[dict[str, Any], int]]:
        try:
            return self._events.feed(data)
        except GenerationError as error:
            error.partial = self._partial()
            raise

    def _hand_on(self, events: list[tuple[dict[str, Any], int]]) -> None:
        for event, size in events:
            self._spoken = True
            if event.get("error"):
                raise failures.name_event(event["error"], self._model, self._partial())
            choices = event.get("choices") or ()
            self._begun = self._begun or bool(choices)
            if any(choice.get("finish_reason") for choice in choices):
                self._finished = True
            if self._take(event, size):
                self._enough = True
                return


class _Flow:
    """Stops the reading, and the clock with it: a slow reader is no stalled model."""

    def __init__(self, phase: PhaseTimeout, idle: float | None) -> None:
        self._phase = phase
        self._idle = idle
        self._going = asyncio.Event()
        self._going.set()

    def pause(self) -> None:
        self._going.clear()
        self._phase.suspend(suspended=True)

    def resume(self) -> None:
        self._going.set()
        self._phase.suspend(suspended=False)

    async def go_on(self, *, spoken: bool) -> None:
        """Wait until reading may go on; `spoken`: an event has come, so the next is awaited."""
        if not self._going.is_set():
            await self._going.wait()
        if spoken:
            self._phase.switch_to("idle", self._idle)
