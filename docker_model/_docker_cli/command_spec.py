"""What every child of one model is started with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from docker_model.cli.command import child_environment, located, split_command
from docker_model.cli.environment import Environment, picture
from docker_model.cli.failures import name_start_failure
from docker_model.errors import DockerModelError
from docker_model.latest import Latest
from docker_model.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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

        def resolve() -> Launch:
            environment = child_environment(env, command)
            return cls(split_command(command, environment), Environment.of(environment))

        return _latest.get((command, env, picture()), resolve)

    async def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Callable[[], str] | None = None,
        on_stdout: Callable[[bytes], object],
        stdin: bool = True,
    ) -> Child:
        """Start a command; arguments as for `Child.start`.

        Raises:
            DockerModelError: It cannot be started, and why.
        """
        command = partial(located, argv, self.env)
        try:
            return await Child.start(
                command, env=self.env, cwd=cwd, on_stdout=on_stdout, stdin=stdin
            )
        except DockerModelError:
            raise
        except OSError as error:
            raise name_start_failure(error, argv) from error


_latest: Latest[Launch] = Latest()
