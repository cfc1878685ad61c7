"""What every child of one model is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from docker_model.cli.command import child_environment, split_command
from docker_model.cli.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and its environment: the key of all that is shared between calls.

    Attributes:
        prefix: The argv up to the subcommand, as it was given.
        env: The child's whole environment; never shown.
    """

    prefix: tuple[str, ...]
    env: Environment

    @classmethod
    def of(cls, command: Sequence[str] | str | None, env: Mapping[str, str] | None) -> Launch:
        """Resolve the settings against the caller's environment as it is now."""
        environment = child_environment(env, command)
        return cls(split_command(command, environment), Environment.of(environment))
