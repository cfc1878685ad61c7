"""Results of calls and of model management: frozen, picklable data.

Imported by the first call and not by `import docker_model`: creating dataclasses takes time.
"""

from __future__ import annotations

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
class Progress:
    """A step of a call, or of a pull.

    Attributes:
        model: The model's name, as the caller gave it.
        status: The step in words; for a pull, the runner's own.
        current: How much is done: bytes of a pull, tokens of a prompt; `None` if unknown.
        total: How much there is to do, in the same unit; `None` if unknown.
        stage: `"pull"`, `"queue"` (the call waits for its turn), `"load"` (the runner loads the
            model), `"prompt"` (the engine reads the prompt), `"first_token"` (the answer begins)
            or `"speed"` (the answer is complete).
        tokens_per_second: How fast the answer was written, in the stage `"speed"`.
    """

    model: str
    status: str
    current: int | None = None
    total: int | None = None
    stage: Stage = "pull"
    tokens_per_second: float | None = None

    @property
    def percent(self) -> int | None:
        """How much is done, as a whole number from 0 to 100; `None` if unknown."""
        if self.current is None or not self.total:
            return None
        return min(100 * self.current // self.total, 100)


PullProgress = Progress


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in the local store; what is not known is `None`.

    Attributes:
        name: The name as one types it: `ai/smollm2`, without default registry and `:latest`;
            the id of a model without tags.
        tags: All names of the model, as the runner has them.
        id: `sha256:` and 64 hexadecimal digits.
        created: When the model was made.
        format: `gguf`, `safetensors`, …
        quantization: Such as `IQ2_XXS/Q4_K_M`.
        parameters: In the runner's own words, such as `361.82M`.
        architecture: Such as `llama`.
        size: In the runner's own words, such as `256.35MiB`.
        context_size: The context size in force, in tokens: the configured one, else the one
            packaged with the model, else the engine's own.
        trained_context: The context size that the model was trained for, in tokens. A larger
            context size has no effect.
        capabilities: What the model can do, as far as its own metadata say. An empty set means
            unknown, and a missing capability is not ruled out.
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
    """How the runner starts a model for one mode; `None` leaves a value to the model or engine.

    Attributes:
        context_size: In tokens; -1 is as much as the model was trained for.
        keep_alive: How long an idle model stays loaded: seconds, a `timedelta`, or Docker's own
            words, such as `"5m"`; `"0"` unloads it at once and `"-1"` never does.
        think: Whether a reasoning model may think, or for how many tokens (llama.cpp).
        mode: What the model is loaded for. Each mode has a configuration of its own.
        runtime_flags: Flags for the engine, such as `("--ubatch-size", "2048")`.
        draft_model: A smaller model that drafts tokens for speculative decoding.
        draft_tokens: How many tokens it drafts at once.
        draft_min_acceptance: The least acceptance rate of drafted tokens, 0 to 1.
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
    """A model that can be pulled.

    Attributes:
        name: The name to pull it by, such as `ai/smollm2` or `hf.co/org/model`.
        description: A line about it.
        source: `Docker Hub` or `HuggingFace`.
        downloads: How often it was pulled.
        stars: How many users like it.
        official: Whether Docker publishes it.
        updated: When it was changed, in the source's own words.
        backend: The engine that runs it, such as `llama.cpp`.
        size: In bytes.
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
        models: The local store.
        engine: The inference engine.
    """

    models: int
    engine: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document and its relevance for a query.

    Attributes:
        index: The place of the document in the list that was given, from 0.
        score: The higher, the more relevant. Scores of different models do not compare.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A line of `docker model ps`: a model that is loaded, or is being loaded."""

    name: str
    backend: str
    mode: str
    loading: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What `docker model status` knows.

    Attributes:
        running: Whether Docker Model Runner answers.
        version: The plugin's version; `None` if it is unknown.
        engine: `Docker Engine`, `Docker Desktop`, `Docker Cloud` or
            `Docker Engine (Manual Install)`; `None` if it is unknown.
        backends: Backend name to state, such as `{"llama.cpp": "Running: b9879"}`.
        endpoint: The API's address for programs on this host; `None` when unknown.
        problem: Why it is not running, with the step that fixes it; empty when it is.
        command: What is started for `docker model`: the path of the plugin's own file and `model`,
            or the command that was given. Empty over HTTP.
    """

    running: bool
    version: str | None = None
    engine: str | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    problem: str = ""
    command: tuple[str, ...] = ()
