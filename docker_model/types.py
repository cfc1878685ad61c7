"""The data of a call, in and out: frozen, picklable, without behaviour to speak of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from docker_model.errors import InvalidRequestError

__all__ = [
    "Completion",
    "Event",
    "FileReferences",
    "FinishReason",
    "PullPolicy",
    "PullProgress",
    "ReasoningDelta",
    "TextDelta",
    "Timeouts",
    "Timings",
    "TransportName",
    "Usage",
]

FinishReason: TypeAlias = Literal["stop", "stop_sequence", "length"]
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


def stops(stop: str | Iterable[str] | None) -> tuple[str, ...]:
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


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, where the backend sent them (llama.cpp does so only when asked)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a call took, in seconds since it was made.

    Attributes:
        queued: Until it got its place and the run was started.
        first_output: Until the first output of the model; `None` when there was none.
        total: Until its end.
    """

    queued: float
    first_output: float | None
    total: float


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer; `str(completion)` is its text.

    Attributes:
        text: The answer, the model's own white space included.
        reasoning: What the model thought first; empty when it did not.
        usage: Token counts, or `None` when the backend sent none.
        finish_reason: `"stop"` (ended by itself), `"stop_sequence"` or `"length"`.
        model: The name as the caller gave it.
        timings: How long it took.
    """

    text: str
    reasoning: str
    usage: Usage | None
    finish_reason: FinishReason
    model: str
    timings: Timings

    def __str__(self) -> str:
        return self.text


Event: TypeAlias = TextDelta | ReasoningDelta | Completion


@dataclass(frozen=True, slots=True)
class PullProgress:
    """A step of a pull.

    Attributes:
        model: The model being pulled.
        status: The CLI's line.
        current: Bytes so far, where the line says so.
        total: Bytes in all, where the line says so.
    """

    model: str
    status: str
    current: int | None = None
    total: int | None = None
