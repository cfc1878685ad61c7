"""The program and the environment of `docker model` processes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from docker_model._docker_cli.command import (
    ORIGINAL_COMMAND,
    child_environment,
    located,
)
from docker_model._docker_cli.failures import name_start_failure
from docker_model._docker_cli.plugin_file import (
    METADATA_ARGUMENT,
    PLUGIN_SOCKET,
    Front,
    PluginFile,
    check_metadata,
    find_plugin,
)
from docker_model._runtime import Child, io_thread
from docker_model._runtime.tasks import SingleFlight
from docker_model._transport.command_words import is_default, split_command
from docker_model._transport.environment import Environment, environ_snapshot
from docker_model._transport.log import LOG
from docker_model._transport.memo import MemoLast
from docker_model.errors import DockerModelError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MOST_METADATA = 64 * 1024  # bytes; the real plugin prints 130


@dataclass(frozen=True, slots=True)
class Program:
    """The program that runs `docker model` commands.

    Attributes:
        argv: The absolute path of the program, and the words before the subcommand.
        env: The environment of the child; never shown.
        reason: Why this program is used, for the user.
        plugin: The plugin's executable, if it is started without `docker` in front.
    """

    argv: tuple[str, ...]
    env: Environment
    reason: str
    plugin: PluginFile | None = None

    async def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Callable[[], str] | None = None,
        on_stdout: Callable[[bytes], object],
        stdin: bool = True,
    ) -> Child:
        """Start a subcommand.

        Args:
            arguments: The subcommand and its arguments.
            cwd: As for `Child.start`.
            on_stdout: As for `Child.start`.
            stdin: As for `Child.start`.

        Raises:
            DockerModelError: If the program cannot be started.
        """
        argv = [*self.argv, *arguments]
        try:
            return await Child.start(argv, env=self.env, cwd=cwd, on_stdout=on_stdout, stdin=stdin)
        except DockerModelError:
            raise
        except OSError as error:
            raise name_start_failure(error, argv) from error


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command and its environment: the key of all state that calls share.

    Attributes:
        prefix: The words before the subcommand, as configured.
        env: The environment of the child; never shown.
        default: Whether no command is configured, so that the plugin can run without `docker`.
    """

    prefix: tuple[str, ...]
    env: Environment
    default: bool

    @classmethod
    def of(cls, command: Sequence[str] | str | None, env: Mapping[str, str] | None) -> CommandSpec:
        """Resolve the settings with the caller's current environment."""

        def resolve() -> CommandSpec:
            environment = child_environment(env, command)
            return cls(
                prefix=split_command(command, environment),
                env=Environment.of(environment),
                default=is_default(command, environment),
            )

        return _latest.get((command, env, environ_snapshot()), resolve)

    async def program(self) -> Program:
        """Find the program to start, on the I/O thread; the worker thread accesses files.

        Raises:
            DockerModelError: If the program is not found.
        """
        thread = io_thread.current()
        programs = thread.local(_Programs)
        plugin = await thread.run_in_worker(self._look, _nothing)
        program = plugin if isinstance(plugin, Program) else await programs.check(self, plugin)
        programs.log(program)
        return program

    def front(self, reason: str) -> Program:
        """Find the program of `prefix`; accesses files.

        Raises:
            DockerNotFoundError: If the program is not found.
        """
        return Program(tuple(located(self.prefix, self.env)), self.env, reason)

    def _look(self) -> Program | PluginFile:
        if not self.default:
            return self.front("set by command= or DOCKER_MODEL_COMMAND")
        plugin = find_plugin(self.env)
        return plugin if isinstance(plugin, PluginFile) else self.front(_behind(plugin))


class _Programs:
    """The plugin files with validated metadata. Only the I/O thread uses it."""

    def __init__(self) -> None:
        self._verdicts: dict[PluginFile, Front | None] = {}
        self._asking = SingleFlight()
        self._latest: MemoLast[Program] = MemoLast()
        self._logged: set[tuple[tuple[str, ...], str]] = set()

    def log(self, program: Program) -> None:
        """Log a program on its first use."""
        key = program.argv, program.reason
        if key not in self._logged:
            self._logged.add(key)
            LOG.info("docker model is started as %s (%s)", " ".join(program.argv), key[1])

    async def check(self, spec: CommandSpec, file: PluginFile) -> Program:
        """Return the plugin as a program, or `docker` if `docker` would reject the file."""
        if file not in self._verdicts:
            await self._asking.do(file, lambda: self._ask(spec, file))
        verdict = self._verdicts[file]
        if verdict is not None:
            front = partial(spec.front, _behind(verdict))
            return await io_thread.current().run_in_worker(front, _nothing)
        return self._latest.get((spec, file), lambda: _plugin_program(spec, file))

    async def _ask(self, spec: CommandSpec, file: PluginFile) -> None:
        """Run a file to get its metadata, as `docker` does before each call.

        Raises:
            ResourceError: If the system has no resources for a process.
        """
        output = bytearray()

        def collect(data: bytes) -> None:
            if len(output) < _MOST_METADATA:
                output.extend(data)

        argv = [file.path, METADATA_ARGUMENT]
        try:
            child = await Child.start(argv, env=spec.env, on_stdout=collect, stdin=False)
        except DockerModelError:
            raise
        except OSError as error:
            failure = name_start_failure(error, argv)
            if isinstance(failure, ResourceError):
                raise failure from error
            self._verdicts[file] = Front(f"{file.path} cannot be started: {error.strerror}")
            return
        try:
            end = await asyncio.shield(child.ended)
        finally:
            child.end()
        failed = end.code or end.signal  # both are unknown if other code reaped the process
        self._verdicts[file] = (
            Front("the plugin file failed to print its metadata")
            if failed
            else check_metadata(bytes(output))
        )


def _plugin_program(spec: CommandSpec, file: PluginFile) -> Program:
    """Return the program that `docker` would start, with the variable that `docker` sets."""
    variables = {**spec.env, ORIGINAL_COMMAND: file.docker or "docker"}
    variables.pop(PLUGIN_SOCKET, None)  # set if this process itself runs in a plugin of `docker`
    reason = "without docker in front" if file.docker else "there is no docker on PATH"
    return Program((file.path, "model"), Environment(variables), reason, file)


def _behind(front: Front) -> str:
    return f"docker in front: {front.reason}"


def _nothing(_: object) -> None:
    pass


_latest: MemoLast[CommandSpec] = MemoLast()
