"""What every child of one model is started with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from docker_model._docker_cli.command import child_environment, located, split_command
from docker_model._docker_cli.failures import name_start_failure
from docker_model._runtime import Child
from docker_model._transport.environment import Environment, environ_snapshot
from docker_model._transport.memo import MemoLast
from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command and its environment: the key of all that is shared between calls.

    Attributes:
        prefix: The argv up to the subcommand, as it was given.
        env: The child's whole environment; never shown.
    """

    prefix: tuple[str, ...]
    env: Environment

    @classmethod
    def of(cls, command: Sequence[str] | str | None, env: Mapping[str, str] | None) -> CommandSpec:
        """Resolve the settings against the caller's environment as it is now."""

        def resolve() -> CommandSpec:
            environment = child_environment(env, command)
            return cls(split_command(command, environment), Environment.of(environment))

        return _latest.get((command, env, environ_snapshot()), resolve)

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


_latest: MemoLast[CommandSpec] = MemoLast()
