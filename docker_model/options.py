"""Types of settings, and the functions that validate settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from docker_model.errors import InvalidRequestError

__all__ = ["FileReferences", "PullPolicy", "Timeouts", "TransportName", "WhenFull"]

FileReferences: TypeAlias = Literal["escape", "refuse", "allow"]
PullPolicy: TypeAlias = Literal["never", "missing"]
TransportName: TypeAlias = Literal["cli", "http"]
WhenFull: TypeAlias = Literal["error", "unload"]

# The sampling parameters, with the names of OpenAI's and llama.cpp's APIs. All are numbers.
SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "max_tokens",
    "presence_penalty",
    "frequency_penalty",
)
_WHOLE = frozenset({"top_k", "seed", "max_tokens"})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limit of each phase of a call, in seconds; `None` means no limit.

    Attributes:
        first_output: From the start of the run to its first output. The default is longer than
            the runner's own limit for loading a model, 300 s, whose error is more specific.
        idle: Between two pieces of output.
        total: The whole call, including the time in the queue.
        queue: The time in the queue for one of `max_concurrency` slots.
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
        """Convert a `timeout=` setting: a number is `total`, `None` the defaults.

        Raises:
            InvalidRequestError: If the value is not a valid timeout.
        """
        if isinstance(value, Timeouts):
            return value
        return cls() if value is None else cls(total=value)


def check_timeout(value: Any) -> Any:
    """Validate a `timeout=` setting; convert a mapping, which pydantic dumps, to `Timeouts`.

    Raises:
        InvalidRequestError: If the value is not a valid timeout.
    """
    if isinstance(value, Mapping):
        return Timeouts(**value)
    Timeouts.of(value)
    return value


def check_stop(value: Any) -> Any:
    """Validate a `stop=` setting, and return it unchanged.

    Raises:
        InvalidRequestError: If the value is not one or more non-empty strings.
    """
    stop_sequences(value)
    return value


def stop_sequences(stop: str | Iterable[str] | None) -> tuple[str, ...]:
    """Convert a `stop=` setting to a tuple; `None` means no stop sequence.

    Raises:
        InvalidRequestError: If a stop sequence is empty or not a string.
    """
    if stop is None:
        return ()
    sequences = (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else tuple(stop)
    if not all(isinstance(sequence, str) and sequence for sequence in sequences):
        msg = "stop must be one or more non-empty strings"
        raise InvalidRequestError(msg, hint='for example stop=["END"], or omit stop')
    return sequences


# -- validation of settings, one function for each kind of value -----------------------------


def check_choice(name: str, value: object, choices: tuple[str | None, ...]) -> None:
    """Validate a setting that must be one of `choices`.

    Raises:
        InvalidRequestError: If the value is not one of `choices`.
    """
    if value in choices:
        return
    msg = f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"
    example = next(choice for choice in choices if choice is not None)
    raise InvalidRequestError(msg, hint=f"for example {name}={example!r}")


def check_count(
    name: str, value: object, *, least: int, optional: bool = False, or_else: str = ""
) -> None:
    """Validate a setting that must be a whole number.

    Args:
        name: The setting.
        value: The value of the setting.
        least: The smallest valid number.
        optional: Whether `None` is valid.
        or_else: Other valid values, for the error message.

    Raises:
        InvalidRequestError: If the value is not a whole number of at least `least`.
    """
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        others = f", or {or_else}" if or_else else ""
        msg = f"{name} must be a whole number of at least {least}{others}, not {value!r}"
        unset = f", or omit {name}" if optional else ""
        raise InvalidRequestError(msg, hint=f"pass a number, such as {name}={max(least, 1)}{unset}")


def check_fraction(name: str, value: object) -> None:
    """Validate an optional setting that must be a number from 0 to 1.

    Raises:
        InvalidRequestError: If the value is not a number from 0 to 1.
    """
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        msg = f"{name} must be a number from 0 to 1, not {value!r}"
        raise InvalidRequestError(msg, hint=f"for example {name}=0.8")


def check_numbers(parameters: Mapping[str, object]) -> None:
    """Validate the types of sampling parameters; ignore other names, and `None`.

    Raises:
        InvalidRequestError: If a value is not a number.
    """
    for name in (*SAMPLING, "repeat_penalty"):
        value = parameters.get(name)
        if value is None:
            continue
        kinds = (int,) if name in _WHOLE else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
            kind = "a whole number" if name in _WHOLE else "a number"
            msg = f"{name} must be {kind}, not {value!r}"
            raise InvalidRequestError(msg, hint=f"for example {name}=1, or omit {name}")


def check_sampling(parameters: Mapping[str, object]) -> None:
    """Validate sampling parameters by the rules that all engines share.

    Raises:
        InvalidRequestError: If a value is not a number, or if `max_tokens` is less than 1.
    """
    check_numbers(parameters)
    check_count("max_tokens", parameters.get("max_tokens"), least=1, optional=True)
