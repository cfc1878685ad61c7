"""What comes of a call: frozen, picklable, without behaviour to speak of.

Loaded by the first call and not by `import docker_model`: making six classes takes a fifth of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Completion",
    "Event",
    "FinishReason",
    "PullProgress",
    "ReasoningDelta",
    "TextDelta",
    "Timings",
    "Usage",
]

FinishReason: TypeAlias = Literal["stop", "stop_sequence", "length"]


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
