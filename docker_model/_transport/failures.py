"""Convert failures of both transports to errors, and complete their hints."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

from docker_model._transport.model_names import canonical, display_name
from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    GenerationError,
    ModelNotFoundError,
    PullError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker_model._transport.failure_table import Cause
    from docker_model.types import ModelInfo

_SIMILAR = 3  # the maximum number of similar names in a hint
_ALIKE = 0.6  # the minimum similarity of a name, 0 to 1


_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROMPT_TOKENS = re.compile(
    r'"n_prompt_tokens":\s*(\d+)|(?:request|input) \((\d+) tokens\)|\((\d+) in the messages'
    r"|contains (?:at least )?(\d+) input tokens|prompt \(length (\d+)\)"
)
_CONTEXT_SIZE = re.compile(
    r'"n_ctx":\s*(\d+)|available context size \((\d+) tokens\)|context length is (\d+)'
    r"|maximum model length of (\d+)"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The data of a failed command or request.

    Attributes:
        command: The subcommand of `docker model`, such as `run` or `pull`.
        model: The model name that the caller passed.
        words: The message of the CLI, the runner or the engine.
        partial: The text of the answer up to the failure.
        exit_code: The exit code, if the command exited.
        signal: The number of the signal that killed the command.
    """

    command: str
    model: str
    words: str
    partial: str = ""
    exit_code: int | None = None
    signal: int | None = None

    @property
    def text(self) -> str:
        """The message without terminal codes, and without white space at the ends."""
        return _ANSI.sub("", self.words).strip()

    def match(self, causes: Iterable[Cause]) -> DockerModelError | None:
        """Return the error of the first cause that matches the message."""
        for cause in causes:
            match = cause.pattern.search(self.text)
            if match:
                needed = _number(_PROMPT_TOKENS, self.text)
                words = {"model": self.model or "MODEL", **match.groupdict()}
                words["enough"] = "N" if needed is None else str(room_for(needed))
                kind = self.default_class if cause.error is GenerationError else cause.error
                error = self.error(kind, cause.message.format(**words), cause.hint.format(**words))
                error.partial = self.partial
                return error
        return None

    @property
    def default_class(self) -> type[DockerModelError]:
        """The error class for causes without a specific class."""
        if self.command == "pull" or self.text.startswith("Failed to pull model"):
            return PullError
        return GenerationError

    def error(self, kind: type[DockerModelError], message: str, hint: str) -> DockerModelError:
        """Create an error with the attributes of its class."""
        if issubclass(kind, GenerationError):
            return kind(
                message,
                hint=hint,
                exit_code=self.exit_code,
                signal=self.signal,
                stderr=self.text,
                partial=self.partial,
            )
        if issubclass(kind, ModelNotFoundError):
            return kind(message, hint=hint, detail=self.text, model=self.model)
        if issubclass(kind, ContextLengthError):
            return kind(
                message,
                hint=hint,
                detail=self.text,
                prompt_tokens=_number(_PROMPT_TOKENS, self.text),
                context_size=_number(_CONTEXT_SIZE, self.text),
            )
        return kind(message, hint=hint, detail=self.text)


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(next(filter(None, match.groups()))) if match else None


def model_not_found(model: str) -> ModelNotFoundError:
    """Return the error for a model that is not in the local store."""
    return ModelNotFoundError(
        f"the model {model!r} is not pulled", hint=f"`docker model pull {model}`", model=model
    )


class Models(Protocol):
    """The operations that describe models, by the command or over HTTP."""

    async def list_models(self) -> list[ModelInfo]:
        """List the models of the local store."""

    async def inspect(self, name: str, /) -> ModelInfo:
        """Describe a model."""


PATIENCE = 2.0  # seconds; the time limit for completing an error


async def explain(error: DockerModelError, model: str, models: Models) -> None:
    """Complete an error with data about the model. On failure, the error does not change.

    Args:
        error: The error of a request.
        model: The model name in the request.
        models: Lists and describes the models.
    """
    with contextlib.suppress(DockerModelError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            if isinstance(error, ModelNotFoundError):
                listed = await models.list_models()
                add_similar(error, [tag for known in listed for tag in known.tags])
            elif isinstance(error, ContextLengthError):
                add_limits(error, replace(await models.inspect(model), name=model))


def add_similar(error: ModelNotFoundError, pulled: Iterable[str]) -> None:
    """Add similar names to an error.

    Args:
        error: The error, with the name of the missing model.
        pulled: The names in the local store.
    """
    other_tags, similar = similar_names(error.model, pulled)
    if other_tags:
        error.args = (f"{error.message}, but {', '.join(map(repr, other_tags))} is",)
        error.hint += f", or use {other_tags[0]!r}: only the tag differs"
    elif similar:
        error.hint = f"did you mean {' or '.join(map(repr, similar))}? If not: {error.hint}"


def similar_names(model: str, pulled: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return pulled models that differ only in the tag, and models with similar names.

    Args:
        model: The missing name.
        pulled: The names in the local store.
    """
    names = {display_name((name,), None): _parts(name) for name in dict.fromkeys(pulled)}
    path, last, _ = _parts(model)
    tags = [name for name, parts in names.items() if parts[0] == path][:_SIMILAR]
    if tags:
        return tags, []
    by_last: dict[str, list[str]] = {}
    for name, parts in names.items():
        by_last.setdefault(parts[1], []).append(name)
    close = get_close_matches(last, by_last, n=_SIMILAR, cutoff=_ALIKE)
    beginnings = [other for other in by_last if other.startswith(last) or last.startswith(other)]
    similar = [name for other in dict.fromkeys((*close, *beginnings)) for name in by_last[other]]
    return [], similar[:_SIMILAR]


def _parts(name: str) -> tuple[str, str, str]:
    """Split a name into its path, the last part of the path, and its tag."""
    path, _, tag = canonical(name).partition("@")[0].rpartition(":")
    path = re.sub(r"^[^/]*[.:][^/]*/", "", path) if path.count("/") > 1 else path
    return path, path.rpartition("/")[2], tag


def add_limits(error: ContextLengthError, model: ModelInfo) -> None:
    """Add the model's limit to an error, and suggest a limit that the model supports.

    Args:
        error: The error, with the length of the prompt or text if the engine reports it.
        model: The model, with the name that the caller passed.
    """
    needed, trained = error.prompt_tokens, model.trained_context
    batch = "physical batch size" in error.detail
    error.context_size = error.context_size or (None if batch else model.context_size)
    has_sizes = needed is not None and error.context_size is not None
    if has_sizes and str(error.context_size) not in error.message:
        error.args = (f"{error.message}: {needed} tokens, the limit is {error.context_size}",)
    if trained is not None and needed is not None and needed >= trained:
        error.hint = f"send shorter texts: {model.name!r} accepts at most {trained} tokens"
        return
    size = room_for(needed) if needed is not None else None
    if size is not None and trained is not None:
        size = min(size, trained)
    number = "N" if size is None else str(size)
    if batch and "reranking" in model.capabilities:
        change = f"--mode reranking {model.name} -- --ubatch-size {number}"
    elif batch:
        pooling = "" if "embedding" in model.capabilities else "--pooling mean "
        change = f"--mode embedding {model.name} -- {pooling}--ubatch-size {number}"
    else:
        change = f"--context-size {number} {model.name}"
    maximum = "" if trained is None else f" ({model.name!r} accepts at most {trained})"
    error.hint = f"send less text, or `docker model configure {change}`{maximum}"


def room_for(tokens: int) -> int:
    """Return a context size with room for a prompt and an answer: a power of two."""
    return 1 << (tokens * 5 // 4).bit_length()
