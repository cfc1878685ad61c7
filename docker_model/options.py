"""What a caller may set, with what checks it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from docker_model.errors import InvalidRequestError

__all__ = ["FileReferences", "PullPolicy", "Timeouts", "TransportName"]

FileReferences: TypeAlias = Literal["escape", "refuse", "allow"]
PullPolicy: TypeAlias = Literal["never", "missing"]
TransportName: TypeAlias = Literal["cli", "http"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase of a call may take, in seconds; `None` is for ever.

    Attributes:
        first_output: From the start of the run to its first output. The runner gives a
            cold model 300 s to load, and its error text is worth more than our timeout.
        idle: Between two pieces of output.
        total: The whole call, waiting in the queue included.
        queue: Waiting for one of `max_concurrency` places.
    """

    first_output: float | None = 330.0
    idle: float | None = 120.0
    total: float | None = None
    queue: float | None = None

    def __post_init__(self) -> None:
        for phase in ("first_output", "idle", "total", "queue"):
            value = getattr(self, phase)
            if value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or math.isnan(value) or value <= 0:
                msg = f"timeout {phase!r} must be a positive number of seconds or None"
                raise InvalidRequestError(msg, hint=f"got {value!r}; use None for no limit")

    @classmethod
    def of(cls, value: Timeouts | float | None) -> Timeouts:
        """Read a `timeout=` setting: a number means `total`, `None` the defaults."""
        if isinstance(value, Timeouts):
            return value
        return cls() if value is None else cls(total=value)


def stop_sequences(stop: str | Iterable[str] | None) -> tuple[str, ...]:
    """Read a `stop=` setting; `None` is none.

    Raises:
        InvalidRequestError: One is empty, or no string.
    """
    if stop is None:
        return ()
    given = (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else tuple(stop)
    if not all(isinstance(one, str) and one for one in given):
        msg = "stop must be one or more non-empty strings"
        raise InvalidRequestError(msg, hint="leave it out for no stop sequence")
    return given
