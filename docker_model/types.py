"""Results of calls and of model management: frozen, picklable dataclasses.

`import docker_model` does not import this module, because creating dataclasses takes time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

__all__ = [
    "Capability",
    "Completion",
    "DiskUsage",
    "Event",
    "FinishReason",
    "FoundModel",
    "Mode",
    "ModelConfiguration",
    "ModelInfo",
    "Progress",
    "PullProgress",
    "Ranked",
    "ReasoningDelta",
    "RunningModel",
    "Stage",
    "Status",
    "TextDelta",
    "Timings",
    "Usage",
]

FinishReason: TypeAlias = Literal["stop", "stop_sequence", "length"]
Capability: TypeAlias = Literal[
    "chat", "tools", "thinking", "vision", "audio", "embedding", "reranking"
]
Stage: TypeAlias = Literal["pull", "queue", "load", "prompt", "first_token", "speed"]
Mode: TypeAlias = Literal["completion", "embedding", "reranking", "image-generation"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, as the engine reports them (llama.cpp only on request)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """The duration of a call, in seconds since the call was made.

    Attributes:
        queued: Until the call left the queue and the run started.
        first_output: Until the first output of the model; `None` without output.
        total: Until the end of the call.
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
        text: The answer, including the model's white space.
        reasoning: The model's reasoning before the answer; empty without reasoning.
        usage: Token counts, or `None` if the engine reports none.
        finish_reason: `"stop"` (the model ended the answer), `"stop_sequence"` or `"length"`.
        model: The model name that the caller passed.
        timings: The duration of the call.
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
class Progress:
    """A step of a call, or of a pull.

    Attributes:
        model: The model name that the caller passed.
        status: A description of the step; for a pull, the runner's message.
        current: The finished part: bytes of a pull, tokens of a prompt; `None` if unknown.
        total: The size of the whole, in the same unit; `None` if unknown.
        stage: `"pull"`, `"queue"` (the call waits for a slot), `"load"` (the runner loads the
            model), `"prompt"` (the engine processes the prompt), `"first_token"` (the answer
            begins) or `"speed"` (the answer is complete).
        tokens_per_second: The generation speed, in the stage `"speed"`.
    """

    model: str
    status: str
    current: int | None = None
    total: int | None = None
    stage: Stage = "pull"
    tokens_per_second: float | None = None

    @property
    def percent(self) -> int | None:
        """The finished part in percent, a whole number from 0 to 100; `None` if unknown."""
        if self.current is None or not self.total:
            return None
        return min(100 * self.current // self.total, 100)


PullProgress = Progress


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in the local store; unknown values are `None`.

    Attributes:
        name: The short name, without default registry and `:latest`, such as `ai/smollm2`;
            for a model without tags, its id.
        tags: All names of the model, as the runner lists them.
        id: `sha256:` and 64 hexadecimal digits.
        created: The time when the model was created.
        format: `gguf`, `safetensors`, …
        quantization: The quantization, such as `IQ2_XXS/Q4_K_M`.
        parameters: The number of parameters in the runner's notation, such as `361.82M`.
        architecture: The architecture, such as `llama`.
        size: The size in the runner's notation, such as `256.35MiB`.
        context_size: The effective context size in tokens: the configured value, else the value
            packaged with the model, else the engine's default.
        trained_context: The context size that the model was trained for, in tokens. A larger
            context size has no effect.
        capabilities: The capabilities that the model's metadata contain. The metadata can be
            incomplete: the model can have other capabilities, and an empty set means unknown.
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
    trained_context: int | None = None
    capabilities: frozenset[Capability] = frozenset()


@dataclass(frozen=True, slots=True)
class ModelConfiguration:
    """How the runner starts a model in one mode; `None` is the default of the model or engine.

    Attributes:
        context_size: The context size in tokens; -1 is the size that the model was trained for.
        keep_alive: How long an idle model stays loaded: seconds, a `timedelta`, or a string in
            Docker's notation, such as `"5m"`; `"0"` unloads it immediately, `"-1"` never.
        think: Whether a reasoning model thinks, or the maximum number of reasoning tokens
            (llama.cpp).
        mode: The task that the model is loaded for. Each mode has its own configuration.
        runtime_flags: Flags for the engine, such as `("--ubatch-size", "2048")`.
        draft_model: A smaller model that drafts tokens for speculative decoding.
        draft_tokens: The number of tokens in a draft.
        draft_min_acceptance: The minimum acceptance rate of drafted tokens, 0 to 1.
        hf_overrides: Overrides of the model's Hugging Face configuration (vLLM).
        gpu_memory_utilization: The fraction of GPU memory to use, 0 to 1 (vLLM).
    """

    context_size: int | None = None
    keep_alive: float | timedelta | str | None = None
    think: bool | int | None = None
    mode: Mode | None = None
    runtime_flags: tuple[str, ...] | None = None
    draft_model: str | None = None
    draft_tokens: int | None = None
    draft_min_acceptance: float | None = None
    hf_overrides: Mapping[str, object] | None = field(default=None, hash=False)
    gpu_memory_utilization: float | None = None


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A search result: a model that can be pulled.

    Attributes:
        name: The name for `pull_model`, such as `ai/smollm2` or `hf.co/org/model`.
        description: A one-line description.
        source: `Docker Hub` or `HuggingFace`.
        downloads: The number of downloads.
        stars: The number of stars or likes.
        official: Whether Docker publishes the model.
        updated: The time of the last change, as the source formats it.
        backend: The engine that runs the model, such as `llama.cpp`.
        size: The size in bytes.
    """

    name: str
    description: str = ""
    source: str = ""
    downloads: int | None = None
    stars: int | None = None
    official: bool = False
    updated: str | None = None
    backend: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The disk space that Docker Model Runner uses, in bytes.

    Attributes:
        models: The space of the local store.
        engine: The space of the inference engine.
    """

    models: int
    engine: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """The relevance of a document to a query.

    Attributes:
        index: The index of the document in the input list.
        score: The relevance; higher is more relevant. Scores of different models are not
            comparable.
    """

    index: int
    score: float

    @property
    def normalized_score(self) -> float:
        """The logistic function of the score: a number between 0 and 1."""
        if self.score < 0:  # exp(-score) would overflow for a large negative score
            return math.exp(self.score) / (1 + math.exp(self.score))
        return 1 / (1 + math.exp(-self.score))


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A model that is loaded or being loaded: a line of `docker model ps`."""

    name: str
    backend: str
    mode: str
    loading: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """The state of Docker Model Runner, as `docker model status` reports it.

    Attributes:
        running: Whether Docker Model Runner responds.
        version: The plugin's version; `None` if it is unknown.
        engine: `Docker Engine`, `Docker Desktop`, `Docker Cloud` or
            `Docker Engine (Manual Install)`; `None` if it is unknown.
        backends: The state of each engine, such as `{"llama.cpp": "Running: b9879"}`.
        endpoint: The address of the HTTP API for programs on this host; `None` if unknown.
        problem: Why the runner does not run, with the step that fixes it; empty if it runs.
        command: The command that runs for `docker model`: the path of the plugin's executable
            and `model`, or the `command` setting. Empty over HTTP.
    """

    running: bool
    version: str | None = None
    engine: str | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    problem: str = ""
    command: tuple[str, ...] = ()
