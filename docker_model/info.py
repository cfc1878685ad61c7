"""What is told of models and of the runner: frozen, picklable, without behaviour.

A module of its own, loaded when it is first asked for: making a dataclass takes a
millisecond of an import.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["ModelInfo", "RunningModel", "Status"]


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
        problem: Why it is not running, with the step that mends it; empty when it is.
    """

    running: bool
    version: str | None = None
    engine: str | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    problem: str = ""
