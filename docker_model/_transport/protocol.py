"""The protocol of a transport: it accepts a request and emits a stream of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.options import Timeouts
    from docker_model.types import Completion, ReasoningDelta, TextDelta

__all__ = ["NullReceiver", "Receiver", "Request", "Transport"]


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and its settings.

    Attributes:
        model: The model name that the caller passed.
        prompt: The prompt.
        stop: Stop sequences, which are not empty.
        max_chars: The maximum length of the answer in characters; `None` for no limit.
        timeouts: The time limit of each phase.
    """

    model: str
    prompt: str = field(repr=False)  # asyncio's debug mode logs arguments
    stop: tuple[str, ...]
    max_chars: int | None
    timeouts: Timeouts


class Receiver(Protocol):
    """Receives the pieces of an answer from a transport, on the I/O thread.

    Attributes:
        on_full: Set by the transport; called to pause reading when the buffer is full.
        on_drained: Set by the transport; called to resume reading.
    """

    on_full: Callable[[], object]
    on_drained: Callable[[], object]

    def put(self, piece: TextDelta | ReasoningDelta, size: int, /) -> None:
        """Receive a piece of `size` characters."""


class NullReceiver:
    """Discards the pieces, for a caller that only needs the complete answer; never full."""

    def __init__(self) -> None:
        self.on_full: Callable[[], object] = lambda: None
        self.on_drained: Callable[[], object] = lambda: None

    def put(self, piece: object, size: int, /) -> None:
        """Discard a piece."""


class Transport(Protocol):
    """Sends prompts to a model."""

    def prepare(self, request: Request) -> Request:
        """Return a request that is safe to send; can access files.

        Raises:
            InvalidRequestError: If the request must not be sent.
        """

    def needs_file_check(self, request: Request) -> bool:
        """Whether `prepare` would access files or change the request."""

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """Answer `request` on the I/O thread, and pass on the pieces as they arrive.

        An error or a cancellation ends the process or request that this call has started.

        Raises:
            DockerModelError: If the call failed; the class identifies the cause.
        """

    async def warm_up(self, model: str) -> None:
        """Load `model`, so that the next answer does not wait for it.

        Raises:
            DockerModelError: If the call failed; the class identifies the cause.
        """
