"""Read a streamed reply at the speed of its consumer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from docker_model.errors import DockerModelError
from docker_model.http import failures
from docker_model.http.connections import ConnectionLost
from docker_model.http.events import BYTE_ORDER_MARK, Events, as_chunk, parse_reply
from docker_model.http.replies import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from docker_model._runtime.timeouts import PhaseTimeout
    from docker_model._transport.stages import Stages
    from docker_model.http.connections import Reply
    from docker_model.options import Timeouts

# Seconds to wait for the end of the reply after `[DONE]`. Only then the connection can be reused.
_LAST_BYTES = 0.25


class Backpressure(Protocol):
    """A consumer that can pause the reading of a stream, on the I/O thread.

    Attributes:
        on_full: Called to pause reading.
        on_drained: Called to resume reading.
    """

    on_full: Callable[[], object]
    on_drained: Callable[[], object]


class Reader:
    """Passes on the events of one streamed reply.

    Args:
        model: The model name that the caller passed, for errors.
        consumer: The consumer, which can pause reading.
        take: Called with each event and its size in bytes; returns True to stop reading.
        partial: Returns the answer so far, for errors.
        stages: Reports the progress of the prompt, and the beginning of the answer.

    Attributes:
        usage: The token counts, if the engine has sent them.
        timings: The engine's timings, if the engine has sent them.
    """

    def __init__(
        self,
        model: str,
        consumer: Backpressure,
        take: Callable[[dict[str, Any], int], bool],
        partial: Callable[[], str],
        stages: Stages,
    ) -> None:
        self.usage: dict[str, Any] | None = None
        self.timings: object = None
        self._stages = stages
        self._model = model
        self._consumer = consumer
        self._take = take
        self._partial = partial
        self._events: Events
        self._spoken = False  # an event of the answer has arrived
        self._begun = False  # a choice has arrived, possibly an empty one
        self._finished = False  # a finish reason has arrived
        self._enough = False

    async def read(self, reply: Reply, phase: PhaseTimeout, timeouts: Timeouts) -> None:
        """Read to the end, or until `take` returns True.

        Args:
            reply: The reply, of which only the headers are read.
            phase: The timeout, in the phase `first_output`.
            timeouts: The limits. `idle` applies between two events. While the engine processes the
                prompt, `first_output` restarts with each progress event.

        Raises:
            DockerModelError: If the reply contains an error, is invalid, or is incomplete.
            ConnectionLost: If the connection ended before the first event.
        """
        self._events = Events()  # a new parser, because an earlier reply can end in half a line
        flow = _Flow(phase, timeouts)
        self._consumer.on_full, self._consumer.on_drained = flow.pause, flow.resume
        pieces = reply.pieces()
        try:
            head = await _head(pieces)
            if _is_whole(head):
                data = b"".join([head, *[piece async for piece in pieces]])
                self._hand_on(as_chunk(parse_reply(data)), 0)
            else:
                await self._read_events(head, pieces, flow)
        except ConnectionLost as error:
            if not self._spoken:
                raise
            raise failures.broken_off(self._model, self._partial(), error) from error
        except DockerModelError as error:
            error.partial = error.partial or self._partial()
            raise
        if not self._begun:
            raise failures.no_choices(self._model)

    async def _read_events(self, head: bytes, pieces: AsyncGenerator[bytes], flow: _Flow) -> None:
        data: bytes | None = head
        while data is not None:
            spoken = reading = False
            for event, size in self._events.feed(data):
                self._hand_on(event, size)
                if self._enough:
                    return
                spoken, reading = spoken or "prompt_progress" not in event, True
            if self._events.done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_BYTES):
                        await anext(pieces, None)
                return
            await flow.go_on(spoken=spoken, reading=reading)
            data = await anext(pieces, None)
        for event, size in self._events.close():
            self._hand_on(event, size)
        if not (self._finished or self._enough or self._events.done):
            msg = "the stream ended without a finish reason"
            raise ConnectionLost(msg)

    def _hand_on(self, event: dict[str, Any], size: int) -> None:
        if self._enough:
            return
        if "prompt_progress" in event:
            self._begun = True
            self._stages.prompt(event["prompt_progress"])
            if self._stages.has_listener:  # requested by this package, not by the caller
                return
        else:
            self._spoken = True
            self.usage = event.get("usage") or self.usage
            self.timings = event.get("timings") or self.timings
        if failure := failure_of(event, self._model, self._partial):
            raise failure
        choices = event.get("choices") or ()
        self._begun = self._begun or bool(choices)
        if any(choice.get("finish_reason") for choice in choices):
            self._finished = True
        if any(map(_has_output, choices)):
            self._stages.first_token()
        self._enough = self._take(event, size)


def _has_output(choice: dict[str, Any]) -> bool:
    """Whether a choice contains output, not only a role or a finish reason."""
    delta = choice.get("delta") or {}
    return bool(choice.get("text")) or any(
        delta.get(name) for name in ("content", "reasoning_content", "tool_calls", "function_call")
    )


async def _head(pieces: AsyncGenerator[bytes]) -> bytes:
    """Return the first bytes of a body, up to the first byte that is not white space."""
    head = b""
    async for data in pieces:
        head += data
        if head.strip():
            break
    return head


def _is_whole(head: bytes) -> bool:
    """Whether a body is a JSON object or an HTML page; the content type can be wrong."""
    return head.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[", b"<")


class _Flow:
    """Pauses reading and its timeout, because a slow consumer is not a stalled model."""

    def __init__(self, phase: PhaseTimeout, timeouts: Timeouts) -> None:
        self._phase = phase
        self._timeouts = timeouts
        self._going = asyncio.Event()
        self._going.set()

    def pause(self) -> None:
        self._going.clear()
        self._phase.suspend(suspended=True)

    def resume(self) -> None:
        self._going.set()
        self._phase.suspend(suspended=False)

    async def go_on(self, *, spoken: bool, reading: bool) -> None:
        """Wait until reading can continue.

        After an event of the answer (`spoken`), the idle timeout applies. After a progress event
        (`reading`), the timeout for the first output restarts.
        """
        if not self._going.is_set():
            await self._going.wait()
        if spoken:
            self._phase.switch_to("idle", self._timeouts.idle)
        elif reading:
            self._phase.switch_to("first_output", self._timeouts.first_output)
