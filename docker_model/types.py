"""Results of calls and of model management: frozen, picklable data.

Imported by the first call and not by `import docker_model`: creating dataclasses takes time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "Completion",
    "Event",
    "FinishReason",
    "ModelInfo",
    "PullProgress",
    "ReasoningDelta",
    "RunningModel",
    "Status",
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


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in the local store; what the CLI does not say is `None`.

    Attributes:
        name: What one would type: `ai/smollm2`, without default registry and `:latest`;
            the id of a model without tags.
        tags: As the CLI sends them.
        id: `sha256:` and 64 hexadecimal digits.
        created: When it was made.
        format: `gguf`, `safetensors`, …
        quantization: Such as `IQ2_XXS/Q4_K_M`.
        parameters: In the CLI's own words, such as `361.82M`.
        architecture: Such as `llama`.
        size: In the CLI's own words, such as `256.35MiB`.
        context_size: In tokens, as packaged with the model.
    """

    name: str
    tags: tuple[str, ...] = ()
    id: str | None = None
    created: datetime | None = None
    format: str | None = None
    quantization: str | None = None
    parameters: str | None = None
    architecture: str | None = None
    size: str | None = None
    context_size: int | None = None


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A line of `docker model ps`: a model that is loaded."""

    name: str
    backend: str
    mode: str


@dataclass(frozen=True, slots=True)
class Status:
    """What `docker model status` knows.

    Attributes:
        running: Whether Docker Model Runner answers.
        version: The plugin's version; `None` when it cannot be told.
        engine: `Docker Engine`, `Docker Desktop`, `Docker Cloud` or
            `Docker Engine (Manual Install)`; `None` when it cannot be told.
        backends: Backend name to state, such as `{"llama.cpp": "Running: b9879"}`.
        endpoint: The API's address for programs on this host; `None` when unknown.
        problem: Why it is not running, with the step that fixes it; empty when it is.
    """

    running: bool
    version: str | None = None
    engine: str | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    problem: str = ""
