"""The protocol of a transport: a request in, a stream of the same events out."""

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
    """One prompt, as the caller gave it.

    Attributes:
        model: The name as the caller gave it.
        prompt: What the model reads.
        stop: Stop sequences, none of them empty.
        max_chars: Where the answer is cut; `None` for nowhere.
        timeouts: Limits by phase.
    """

    model: str
    prompt: str = field(repr=False)  # asyncio's debug mode logs what is handed around
    stop: tuple[str, ...]
    max_chars: int | None
    timeouts: Timeouts


class Receiver(Protocol):
    """The place where a transport puts the pieces of an answer; on the I/O thread.

    Attributes:
        on_full: Set by the transport; called to stop reading when much waits for the caller.
        on_drained: Set by the transport; called to go on reading.
    """

    on_full: Callable[[], object]
    on_drained: Callable[[], object]

    def put(self, piece: TextDelta | ReasoningDelta, size: int, /) -> None:
        """Take a piece of `size` characters."""


class NullReceiver:
    """Discards the pieces of an answer that is wanted whole; never full."""

    def __init__(self) -> None:
        self.on_full: Callable[[], object] = int
        self.on_drained: Callable[[], object] = int

    def put(self, piece: object, size: int, /) -> None:
        """Discard a piece."""


class Transport(Protocol):
    """A way to a model."""

    def prepare(self, request: Request) -> Request:
        """Make of a request what may be sent; may look at files.

        Raises:
            InvalidRequestError: If the request may not be sent.
        """

    def needs_file_check(self, request: Request) -> bool:
        """Whether `prepare` would look at files, or change anything."""

    async def generate(self, request: Request, receiver: Receiver) -> Completion:
        """Answer `request` on the I/O thread, handing over the pieces as they come.

        However it is left (an error, a cancellation), whatever it started is being ended.

        Raises:
            DockerModelError: If the call failed; the class names the cause.
        """

    async def warm_up(self, model: str) -> None:
        """Have `model` loaded, so that the next answer need not wait for it.

        Raises:
            DockerModelError: If the call failed; the class names the cause.
        """
