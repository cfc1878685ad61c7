"""Environment variables, in a mapping that does not show its values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator


class HiddenValues(Mapping[str, str]):
    """An immutable, hashable, picklable mapping of strings. Its `repr` hides the values."""

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._hash = hash(frozenset(self._values.items()))

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, HiddenValues):
            return self._values == other._values
        return super().__eq__(other)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of length {len(self)}>"

    def __reduce__(self) -> tuple[type[HiddenValues], tuple[dict[str, str]]]:
        # String hashes differ between processes, so the copy computes its own hash.
        return type(self), (self._values,)


class Environment(HiddenValues):
    """Environment variables that can be passed to a process."""

    __slots__ = ()

    def __init__(self, variables: Mapping[str, str]) -> None:
        if not isinstance(variables, Mapping):
            msg = f"env must be a mapping of variables, not {type(variables).__name__}"
            raise InvalidRequestError(msg, hint='for example env={"MODEL_RUNNER_HOST": "http://…"}')
        for name, value in variables.items():
            _check_variable(name, value)
        super().__init__(_canonical(variables))

    @classmethod
    def of(cls, variables: Mapping[str, str] | None) -> Environment:
        """Convert an `env=` setting.

        Raises:
            InvalidRequestError: If a name or value cannot be passed to a process.
        """
        return variables if isinstance(variables, cls) else cls(variables or {})


def _canonical(variables: Mapping[str, str], *, windows: bool = os.name == "nt") -> dict[str, str]:
    """Convert names to upper case on Windows, where names are case-insensitive."""
    return {name.upper(): value for name, value in variables.items()} if windows else {**variables}


def environ_snapshot() -> dict[str, str]:
    """Return a copy of `os.environ`, for the detection of changes."""
    return dict(os.environ)


def can_be_passed(text: object) -> bool:
    """Whether a value can be passed to a process as an argument or a variable."""
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        return text.isascii() or bool(os.fsencode(text))
    except UnicodeEncodeError:  # a lone surrogate that does not represent a byte
        return False


def _check_variable(name: object, value: object) -> None:
    if not name or not isinstance(name, str) or "=" in name or not can_be_passed(name):
        msg = "env contains an invalid variable name"
        raise InvalidRequestError(msg, hint="names must be strings without '=' and NUL")
    if not can_be_passed(value):
        msg = f"env[{name!r}] must be a string without NUL or lone surrogates"
        raise InvalidRequestError(msg, hint="to inherit a variable, omit it from env")
