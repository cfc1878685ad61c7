"""What a caller may set, and the checks of it."""

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

# The sampling parameters of a prompt, by OpenAI's and llama.cpp's names; each is a number.
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
    """How long each phase of a call may take, in seconds; `None` means no limit.

    Attributes:
        first_output: From the start of the run to its first output. The runner gives a
            cold model 300 s to load, and its error text says more than a timeout.
        idle: Between two pieces of output.
        total: The whole call, waiting in the queue included.
        queue: Waiting for one of `max_concurrency` slots.
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
        """Read a `timeout=` setting: a number means `total`, `None` the defaults.

        Raises:
            InvalidRequestError: If it is neither.
        """
        if isinstance(value, Timeouts):
            return value
        return cls() if value is None else cls(total=value)


def check_timeout(value: Any) -> Any:
    """Return a `timeout=` setting as it is; a mapping, as pydantic dumps one, as `Timeouts`.

    Raises:
        InvalidRequestError: If it is no timeout.
    """
    if isinstance(value, Mapping):
        return Timeouts(**value)
    Timeouts.of(value)
    return value


def check_stop(value: Any) -> Any:
    """Return a `stop=` setting as it is.

    Raises:
        InvalidRequestError: If it is no stop sequence, and not several.
    """
    stop_sequences(value)
    return value


def stop_sequences(stop: str | Iterable[str] | None) -> tuple[str, ...]:
    """Read a `stop=` setting; `None` means no stop sequence.

    Raises:
        InvalidRequestError: If one is empty, or no string.
    """
    if stop is None:
        return ()
    given = (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else tuple(stop)
    if not all(isinstance(sequence, str) and sequence for sequence in given):
        msg = "stop must be one or more non-empty strings"
        raise InvalidRequestError(msg, hint="leave it out for no stop sequence")
    return given


# -- checks of settings, one for each kind of value ------------------------------------------


def check_choice(name: str, value: object, choices: tuple[str | None, ...]) -> None:
    """Check a setting that takes one of a few words.

    Raises:
        InvalidRequestError: If it is another value.
    """
    if value in choices:
        return
    msg = f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"
    usual = next(word for word in choices if word is not None)
    raise InvalidRequestError(msg, hint=f"such as {name}={usual!r}")


def check_count(
    name: str, value: object, *, least: int, optional: bool = False, or_else: str = ""
) -> None:
    """Check a setting that is a whole number.

    Args:
        name: The setting.
        value: Its value.
        least: The smallest number.
        optional: Whether it may be `None`.
        or_else: What else may be given, for the error.

    Raises:
        InvalidRequestError: If it is no such number.
    """
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        more = f", or {or_else}" if or_else else ""
        msg = f"{name} must be a whole number of at least {least}{more}, not {value!r}"
        unset = f", or leave {name} out" if optional else ""
        raise InvalidRequestError(msg, hint=f"pass a number, such as {name}={max(least, 1)}{unset}")


def check_fraction(name: str, value: object) -> None:
    """Check an optional setting that is a number from 0 to 1.

    Raises:
        InvalidRequestError: If it is not one.
    """
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        msg = f"{name} must be a number from 0 to 1, not {value!r}"
        raise InvalidRequestError(msg, hint=f"such as {name}=0.8")


def check_numbers(parameters: Mapping[str, object]) -> None:
    """Check the values of sampling parameters; other names, and `None`, are left alone.

    Raises:
        InvalidRequestError: If one is no number.
    """
    for name in (*SAMPLING, "repeat_penalty"):
        value = parameters.get(name)
        if value is None:
            continue
        kinds = (int,) if name in _WHOLE else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
            kind = "a whole number" if name in _WHOLE else "a number"
            msg = f"{name} must be {kind}, not {value!r}"
            raise InvalidRequestError(msg, hint=f"such as {name}=1, or leave {name} out")


def check_sampling(parameters: Mapping[str, object]) -> None:
    """Check sampling parameters as far as every engine agrees on them.

    Raises:
        InvalidRequestError: If one is no number, or `max_tokens` less than 1.
    """
    check_numbers(parameters)
    check_count("max_tokens", parameters.get("max_tokens"), least=1, optional=True)
