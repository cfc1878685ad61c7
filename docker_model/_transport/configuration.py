"""Validate, serialize and parse configurations of models, without I/O."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from docker_model._transport.log import LOG
from docker_model._transport.model_data import (
    flag_values,
    integer,
    mapping,
    sequence,
    text,
)
from docker_model.errors import DockerModelError, InvalidRequestError
from docker_model.options import check_choice, check_count, check_fraction
from docker_model.types import Mode, ModelConfiguration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from docker_model.types import ModelInfo

DEFAULT_MODE: Mode = "completion"
POOLING = "--pooling"

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|m|s|ms))+")
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration that the runner reports.

    Attributes:
        model: The name of the model in the runner's notation.
        model_id: The id of the model.
        backend: The engine.
        mode: The mode that the configuration applies to.
        configuration: The configuration.
    """

    model: str
    model_id: str
    backend: str
    mode: Mode
    configuration: ModelConfiguration


def checked(**settings: Any) -> ModelConfiguration:
    """Return settings as a valid configuration.

    Raises:
        InvalidRequestError: If a value is invalid, or all settings are `None`.
    """
    flags = settings.get("runtime_flags")
    if isinstance(flags, str):
        msg = "runtime_flags must be a sequence of strings, not one string"
        raise InvalidRequestError(msg, hint='for example ["--ubatch-size", "2048"]')
    if flags is not None:
        settings["runtime_flags"] = tuple(flags)
    configuration = ModelConfiguration(**settings)
    if configuration == ModelConfiguration():
        msg = "no setting was passed to configure the model"
        raise InvalidRequestError(msg, hint="pass a setting, such as context_size=8192")
    size = configuration.context_size
    if size != -1:
        check_count("context_size", size, least=1, optional=True, or_else="-1 for the maximum")
    check_choice("mode", configuration.mode, (None, *get_args(Mode)))
    if not isinstance(configuration.think, bool):
        check_count("think", configuration.think, least=-1, optional=True, or_else="a bool")
    check_count("draft_tokens", configuration.draft_tokens, least=1, optional=True)
    check_fraction("draft_min_acceptance", configuration.draft_min_acceptance)
    check_fraction("gpu_memory_utilization", configuration.gpu_memory_utilization)
    if not all(isinstance(flag, str) for flag in configuration.runtime_flags or ()):
        msg = "runtime_flags must be strings"
        raise InvalidRequestError(msg, hint='for example ["--ubatch-size", "2048"]')
    duration(configuration.keep_alive)
    return configuration


def changed(old: ModelConfiguration | None, new: ModelConfiguration) -> ModelConfiguration:
    """Return the old configuration with the new values; values that are `None` do not change.

    The runner replaces the whole configuration of a mode, so the unchanged values must be sent
    too.
    """
    if old is None:
        return new
    values = {field.name: getattr(new, field.name) for field in fields(new)}
    return replace(old, **{name: value for name, value in values.items() if value is not None})


def completed(changes: ModelConfiguration, model: ModelInfo) -> ModelConfiguration:
    """Add the mode and the pooling that a model needs, if a configuration does not set them.

    Without a pooling, llama.cpp returns one vector for each token of a text. The metadata of an
    embedding model set the pooling.
    """
    mode = changes.mode
    if mode is None:
        only = model.capabilities & {"embedding", "reranking"}
        mode = "embedding" if "embedding" in only else "reranking" if only else DEFAULT_MODE
    flags = changes.runtime_flags
    if mode == "embedding" and "embedding" not in model.capabilities:
        flags = flags or ()
        if POOLING not in flag_values(flags):
            flags = (*flags, POOLING, "mean")
    return replace(changes, mode=mode, runtime_flags=flags)


def required(
    changes: ModelConfiguration, model: ModelInfo, configured: Iterable[Configured]
) -> ModelConfiguration:
    """Return the completed changes.

    If the configuration in use has a pooling that the mode cannot use, the result replaces it and
    contains the other values of that configuration.
    """
    new, configured = completed(changes, model), list(configured)
    used = select(configured, model, new.mode)
    if used is None and new.mode == "reranking":
        # Without a configuration for reranking, the runner uses the one for chats.
        used = select(configured, model, DEFAULT_MODE)
    if used is None or new.runtime_flags is not None:
        return new
    flags = used.runtime_flags or ()
    pooling = flag_values(flags).get(POOLING)
    usable = {"embedding": pooling not in ("none", "rank"), "reranking": pooling == "rank"}
    if pooling is None or usable.get(new.mode or "", True):
        return new
    return changed(used, replace(new, runtime_flags=_without_pooling(flags)))


def _without_pooling(flags: Sequence[str]) -> tuple[str, ...]:
    kept, previous = [], ""
    for word in flags:
        if POOLING not in (word.partition("=")[0], previous):
            kept.append(word)
        previous = word
    return tuple(kept)


def to_request(model: str, configuration: ModelConfiguration) -> dict[str, Any]:
    """Return the body of `POST /engines/_configure`."""
    overrides = configuration.hf_overrides
    mode = configuration.mode
    return _given(
        {
            "model": model,
            "mode": None if mode == DEFAULT_MODE else mode,
            "context-size": configuration.context_size,
            "keep_alive": duration(configuration.keep_alive),
            "runtime-flags": list(configuration.runtime_flags or ()),
            "speculative": _given(
                {
                    "draft_model": configuration.draft_model,
                    "num_tokens": configuration.draft_tokens,
                    "min_acceptance_rate": configuration.draft_min_acceptance,
                }
            ),
            "vllm": _given(
                {
                    "hf-overrides": None if overrides is None else dict(overrides),
                    "gpu-memory-utilization": configuration.gpu_memory_utilization,
                }
            ),
            "llamacpp": _given({"reasoning-budget": reasoning_budget(configuration.think)}),
        }
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def reasoning_budget(think: int | None) -> int | None:
    """Return llama.cpp's value: 0 for no reasoning, -1 for no limit."""
    if isinstance(think, bool):
        return -1 if think else 0
    return think


def parse_configurations(entries: object) -> list[Configured]:
    """Parse `GET /engines/_configure`, which `configure show` also prints."""
    return [_configured(entry) for entry in sequence(entries) if isinstance(entry, dict)]


def _configured(entry: Mapping[str, Any]) -> Configured:
    mode = entry.get("Mode")
    known: Mode = next((name for name in get_args(Mode) if name == mode), DEFAULT_MODE)
    config = mapping(entry.get("Config"))
    speculative, vllm = mapping(config.get("speculative")), mapping(config.get("vllm"))
    budget = integer(mapping(config.get("llamacpp")).get("reasoning-budget"))
    flags = tuple(flag for flag in sequence(config.get("runtime-flags")) if isinstance(flag, str))
    overrides = vllm.get("hf-overrides")
    return Configured(
        model=text(entry.get("Model")) or "",
        model_id=text(entry.get("ModelID")) or "",
        backend=text(entry.get("Backend")) or "",
        mode=known,
        configuration=ModelConfiguration(
            context_size=integer(config.get("context-size")),
            keep_alive=text(config.get("keep_alive")),
            think={0: False, -1: True}.get(budget, budget) if budget is not None else None,
            mode=known,
            runtime_flags=flags or None,
            draft_model=text(speculative.get("draft_model")),
            draft_tokens=integer(speculative.get("num_tokens")),
            draft_min_acceptance=_number(speculative.get("min_acceptance_rate")),
            hf_overrides=overrides if isinstance(overrides, dict) else None,
            gpu_memory_utilization=_number(vllm.get("gpu-memory-utilization")),
        ),
    )


async def if_readable(reading: Awaitable[list[Configured]]) -> list[Configured]:
    """Await configurations that complete a description; empty, with a log, if reading fails."""
    try:
        return await reading
    except DockerModelError as error:
        LOG.info("the configuration of models could not be read: %s", error.message)
        return []


def select(
    configured: Iterable[Configured], model: ModelInfo, mode: Mode | None = None
) -> ModelConfiguration | None:
    """Return the configuration of a model for a mode.

    Args:
        configured: All configurations of the runner.
        model: The model.
        mode: The mode; `None` for the mode that the model is made for.
    """
    own = {item.mode: item.configuration for item in configured if _is_of(item, model)}
    if mode is not None:
        return own.get(mode)
    return own.get(completed(ModelConfiguration(), model).mode or DEFAULT_MODE)


def _is_of(item: Configured, model: ModelInfo) -> bool:
    return item.model_id == model.id if item.model_id and model.id else item.model in model.tags


# -- keep_alive ------------------------------------------------------------------------------


def duration(keep_alive: float | timedelta | str | None) -> str | None:
    """Convert a `keep_alive` to Docker's notation.

    Raises:
        InvalidRequestError: If the value is not a duration.
    """
    if keep_alive is None:
        return None
    if isinstance(keep_alive, timedelta):
        keep_alive = keep_alive.total_seconds()
    if isinstance(keep_alive, str):
        word = keep_alive.strip()
        if word in ("0", "-1") or _DURATION.fullmatch(word):
            return word
    elif (
        isinstance(keep_alive, (int, float))
        and not isinstance(keep_alive, bool)
        and math.isfinite(keep_alive)
    ):
        if keep_alive <= 0:
            return "0" if keep_alive == 0 else "-1"
        return f"{keep_alive:.3f}".rstrip("0").rstrip(".") + "s"
    msg = f"keep_alive must be a duration, not {keep_alive!r}"
    hint = 'pass seconds, a timedelta, or a string such as "5m", or "-1" for no limit'
    raise InvalidRequestError(msg, hint=hint)


def seconds(keep_alive: float | timedelta | str | None) -> float | None:
    """Convert a `keep_alive` to seconds, for comparison; -1 means no limit."""
    words = duration(keep_alive)
    if words is None:
        return None
    if words in ("0", "-1"):
        return float(words)
    return sum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(words))


def in_force(configuration: ModelConfiguration | None, required: ModelConfiguration) -> bool:
    """Whether a configuration has all required values; `None` is not required."""
    current = configuration or ModelConfiguration(mode=required.mode)
    for field in fields(required):
        value, own = getattr(required, field.name), getattr(current, field.name)
        if field.name == "keep_alive":
            value, own = seconds(value), seconds(own)
        if value is not None and value != own:
            return False
    return True


def describe(configuration: ModelConfiguration) -> str:
    """Return the values that are set as readable text."""
    values = ((field.name, getattr(configuration, field.name)) for field in fields(configuration))
    return ", ".join(f"{name}={value!r}" for name, value in values if value is not None)


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]
