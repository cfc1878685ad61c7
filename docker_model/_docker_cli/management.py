"""The management commands: all commands except a `run` that answers a prompt."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from docker_model._docker_cli import command, failures, listing
from docker_model._runtime import io_thread
from docker_model._transport import configuration as configurations
from docker_model._transport import model_data
from docker_model._transport.environment import Environment
from docker_model._transport.failure_table import NOT_SEARCHED, PLUGIN_HINT
from docker_model._transport.failures import model_not_found
from docker_model._transport.log import LOG
from docker_model._transport.model_names import HUGGING_FACE, canonical
from docker_model._transport.shared_pulls import SharedPulls
from docker_model.errors import (
    DockerModelError,
    DockerNotFoundError,
    GenerationTimeoutError,
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    UnsupportedParameterError,
)
from docker_model.types import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from docker_model._docker_cli.command_spec import CommandSpec
    from docker_model._runtime import Sink
    from docker_model._transport.configuration import Configured
    from docker_model.types import (
        DiskUsage,
        FoundModel,
        Mode,
        ModelConfiguration,
        ModelInfo,
        PullProgress,
        RunningModel,
    )

# The plugin does not know `configure show`, or the runner does not know its request.
_NO_CONFIGURE_SHOW = re.compile(r"Exactly one model must be specified|failed with status 404")

# Descriptions of models by command and name. Only the I/O thread changes this dict.
_known: dict[tuple[CommandSpec, str], ModelInfo] = {}


def known_model(spec: CommandSpec, model: str) -> ModelInfo | None:
    """Return the description of a model that this process remembers, without a request."""
    return _known.get((spec, model))


async def check_pulled(spec: CommandSpec, model: str) -> None:
    """Check that `model` is in the local store, and store its description if it is new.

    Raises:
        ModelNotFoundError: If the model is not in the local store.
        DockerModelError: If the command fails.
    """
    output = await inspect(spec, model)
    if (spec, model) not in _known:
        with contextlib.suppress(PluginNotFoundError):  # a custom command can print other text
            if (described := listing.parse_model(output)) is not None:
                _known[spec, model] = model_data.with_configuration(described)


async def run_command(
    spec: CommandSpec,
    arguments: Sequence[str],
    *,
    about: str,
    model: str = "",
    on_stdout: Callable[[bytes], object] | None = None,
    on_stderr: Callable[[str], object] | None = None,
) -> str:
    """Run a command to its end, on the I/O thread, and return its standard output.

    Args:
        spec: The program and its environment.
        arguments: The subcommand and its arguments.
        about: The subcommand, for errors.
        model: The model, for errors.
        on_stdout: Called with the output as it arrives; the return value is then empty. An
            exception in it ends the command.
        on_stderr: Called with the standard error of a successful command.

    Raises:
        DockerModelError: If the command cannot be started, or fails.
    """
    output = bytearray()
    program = await spec.program()
    child = await program.start(arguments, on_stdout=on_stdout or output.extend, stdin=False)
    try:
        # Shielded, because canceling a caller must not cancel the child's future.
        end = await asyncio.shield(child.ended)
    finally:
        child.end()
    if end.code != 0:
        raise failures.name_failure(
            command=about, model=model, exit_code=end.code, signal=end.signal, stderr=end.stderr
        )
    if on_stderr is not None:
        on_stderr(end.stderr)
    return output.decode("utf-8", "replace")


async def inspect(spec: CommandSpec, model: str) -> str:
    """Return the output of `docker model inspect`.

    Raises:
        ModelNotFoundError: If the model is not in the local store.
        DockerModelError: If the command fails.
    """
    return await run_command(spec, command.inspect_arguments(model), about="inspect", model=model)


async def preload(spec: CommandSpec, model: str) -> None:
    """Load `model` into memory.

    Raises:
        UnsupportedParameterError: If the CLI is older than v0.1.45.
        DockerModelError: If the command fails.
    """
    arguments = command.preload_arguments(model)
    try:
        await run_command(spec, arguments, about="run --detach", model=model)
    except PluginNotFoundError as error:  # the plugin does not support the flag
        msg = "this version of the CLI cannot load a model without running it"
        hint = "update the Docker Model Runner plugin to v0.1.45 or later"
        raise UnsupportedParameterError(msg, hint=hint) from error


async def supports_color(spec: CommandSpec) -> bool:
    """Whether `run` supports `--color`, as v0.1.41 and later do.

    Raises:
        DockerModelError: If the command fails for another reason.
    """
    try:
        await run_command(spec, command.color_help_arguments(), about="run --help")
    except PluginNotFoundError:
        return False
    return True


async def pull(
    spec: CommandSpec, model: str, on_progress: Callable[[PullProgress], object] | None = None
) -> None:
    """Pull `model`. Calls that wait for the same model share one pull.

    Raises:
        ModelNotFoundError: If the registry does not have the model.
        PullError: If the pull failed.
        DockerModelError: If the command fails.
    """
    shared = io_thread.current().local(SharedPulls)
    await shared.pull((spec, model), lambda report: _pull(spec, model, report), on_progress)


async def _pull(spec: CommandSpec, model: str, report: Callable[[PullProgress], object]) -> None:
    """Pull `model`, and check that it is in the store.

    Exit code 0 does not prove success: the CLI also exits with 0 if the progress stream ends
    early or ends with an error text.
    """
    output = listing.PullOutput(model)

    def feed(data: bytes) -> None:
        for progress in output.feed(data):
            report(progress)

    arguments = command.pull_arguments(model)
    LOG.info("pulling %s", model)
    await run_command(spec, arguments, about="pull", model=model, on_stdout=feed)
    try:
        await inspect(spec, model)
    except ModelNotFoundError:
        msg = f"the pull of {model!r} reported success, but the model is not in the local store"
        hint = f"try `docker model pull {model}` again"
        if canonical(model).startswith(HUGGING_FACE):  # the command does not report a refusal
            hint = "check the name; a private model needs HF_TOKEN, or pull_model(…, token=…)"
        raise PullError(msg, hint=hint) from None
    LOG.info("pulled %s", model)


@dataclass(frozen=True, slots=True)
class ManagementCommands:
    """The commands that manage models and the runner.

    Attributes:
        spec: The program and its environment.
        timeout: The limit of each command, in seconds; `None` for no limit.
    """

    spec: CommandSpec
    timeout: float | None

    async def list_models(self) -> list[ModelInfo]:
        """List all models of the local store."""
        models, configured = await asyncio.gather(
            self._ask(command.list_arguments(), "list"),
            configurations.if_readable(self._configured("")),
        )
        return [
            model_data.with_configuration(model, configurations.select(configured, model))
            for model in listing.parse_models(models)
        ]

    async def inspect(self, name: str) -> ModelInfo:
        """Describe a model, and store the description for this process."""
        async with self._limit("inspect"):
            return await self._describe(name)

    async def _describe(self, name: str) -> ModelInfo:
        model, configured = await asyncio.gather(
            self._inspect(name), configurations.if_readable(self._configured(name))
        )
        model = model_data.with_configuration(model, configurations.select(configured, model))
        _known[self.spec, name] = model
        return model

    async def list_running(self) -> list[RunningModel]:
        """List the loaded models."""
        return listing.parse_running(await self._ask(command.ps_arguments(), "ps"))

    async def pull(
        self, name: str, sink: Sink[PullProgress | ModelInfo], token: str | None = None
    ) -> None:
        """Put each step of a pull into `sink`, then the model.

        The command reads a Hugging Face token from the environment.

        Raises:
            UnsupportedParameterError: If a token is set for another registry.
        """
        spec = self.spec
        if token is not None:
            if not canonical(name).startswith(HUGGING_FACE):
                msg = f"the command accepts a token only for Hugging Face, not for {name!r}"
                hint = 'use transport="http", or `docker login` without a token'
                raise UnsupportedParameterError(msg, hint=hint)
            spec = replace(spec, env=Environment({**spec.env, "HF_TOKEN": token}))
        async with self._limit("pull"):
            await pull(spec, name, sink.put)
            model = await self._describe(name)
        sink.put(model)

    async def preload(self, name: str) -> None:
        """Load a model that is in the store; `run --detach` would pull a missing model."""
        async with self._limit("run --detach"):
            await self._inspect(name)
            await preload(self.spec, name)

    async def unload(self, name: str) -> None:
        """Unload a model."""
        await self._ask(command.unload_arguments(name), "unload", name)

    async def configure(self, name: str, changes: ModelConfiguration) -> None:
        """Change the configuration of a model.

        The model must be in the store, which the CLI does not check.

        Raises:
            GenerationError: If the model is in use.
            UnsupportedParameterError: If this version of the CLI has no flag for a value.
        """
        async with self._limit("configure"):
            model, configured = await asyncio.gather(self._inspect(name), self._configured(name))
            changes = configurations.completed(changes, model)
            old = configurations.select(configured, model, changes.mode)
            arguments = command.configure_arguments(name, configurations.changed(old, changes))
            try:
                await run_command(self.spec, arguments, about="configure", model=name)
            except PluginNotFoundError as error:
                raise _too_old(error, "set this value") from error
        _known.pop((self.spec, name), None)

    async def configuration(self, name: str, mode: Mode | None) -> ModelConfiguration | None:
        """Return the configuration of a model, or `None` if the model is not configured."""
        async with self._limit("inspect"):
            model, configured = await asyncio.gather(self._inspect(name), self._configured(name))
        return configurations.select(configured, model, mode)

    async def _configured(self, name: str) -> list[Configured]:
        """Return the configurations of all models or one model.

        The result is empty before v1.0.6 of the plugin and v1.0.10 of the runner.

        Raises:
            DockerModelError: If the command fails. A change of a configuration would then
                overwrite the values of others.
        """
        try:
            output = await self._ask(command.configurations_arguments(name), "configure show")
            return listing.parse_configurations(output)
        except (PluginNotFoundError, ModelNotFoundError):
            return []
        except DockerModelError as error:
            if _NO_CONFIGURE_SHOW.search(error.detail):
                return []
            raise

    async def remove(self, name: str, *, force: bool) -> None:
        """Remove a model, or one of its tags."""
        await self._ask(command.remove_arguments(name, force=force), "rm", name)
        _known.pop((self.spec, name), None)

    async def tag(self, name: str, tag: str) -> None:
        """Add another name to a model."""
        await self._ask(command.tag_arguments(name, tag), "tag", name)

    async def disk_usage(self) -> DiskUsage:
        """Return the used disk space."""
        return listing.parse_disk_usage(await self._ask(command.disk_usage_arguments(), "df"))

    async def search(self, term: str, limit: int) -> list[FoundModel]:
        """Search the registries.

        Raises:
            UnsupportedParameterError: If the CLI is older than v1.0.7.
        """

        def warn(stderr: str) -> None:
            for source, words in NOT_SEARCHED.findall(stderr):
                LOG.warning("%s could not be searched: %s", source, words)

        arguments = command.search_arguments(term, limit)
        try:
            output = await self._ask(arguments, "search", on_stderr=warn)
            return listing.parse_search(output)[:limit]
        except PluginNotFoundError as error:
            raise _too_old(error, "search for models") from error

    async def status(self) -> Status:
        """Return the state of the runner; unknown values are `None`."""
        argv, state, (version, engine) = await asyncio.gather(
            self._argv(), self._state(), self._version()
        )
        return replace(state, version=version, engine=state.engine or engine, command=argv)

    async def _argv(self) -> tuple[str, ...]:
        """Return the command with the path of its program, or as configured if not found."""
        try:
            async with self._limit("status"):
                return (await self.spec.program()).argv
        except DockerModelError:
            return self.spec.prefix

    async def _state(self) -> Status:
        """Return the runner's state, with the reason if it is not running."""
        arguments = command.status_arguments()
        try:
            state = listing.parse_status(await self._ask(arguments, "status"))
        except (DockerNotFoundError, PluginNotFoundError):
            raise  # so that the caller tries the HTTP API
        except DockerModelError as error:
            return Status(running=False, problem=str(error))
        return state if state.running else replace(state, problem=str(failures.not_running()))

    async def _version(self) -> tuple[str | None, str | None]:
        """Return the plugin's version and the kind of engine, or `None` if unknown."""
        try:
            text = await self._ask(command.version_arguments(), "version")
        except DockerModelError:
            return None, None
        return listing.parse_version(text)

    async def _inspect(self, name: str) -> ModelInfo:
        return _model(name, await inspect(self.spec, name))

    async def _ask(
        self,
        arguments: Sequence[str],
        about: str,
        model: str = "",
        on_stderr: Callable[[str], object] | None = None,
    ) -> str:
        """Run a command to its end, and return its output.

        Raises:
            PluginNotFoundError: If the CLI does not know the subcommand; it then prints help and
                exits with code 0.
        """
        async with self._limit(about):
            output = await run_command(
                self.spec, arguments, about=about, model=model, on_stderr=on_stderr
            )
        if re.search(r"^Usage:  docker model", output, re.MULTILINE):
            msg = f"the installed `docker model` is too old: it has no command {about!r}"
            raise PluginNotFoundError(msg, hint="update the plugin: " + PLUGIN_HINT)
        return output

    @contextlib.asynccontextmanager
    async def _limit(self, about: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError:
            msg = f"`docker model {about}` took longer than {self.timeout:g} s"
            hint = "increase timeout=; `docker info` shows whether Docker responds"
            raise GenerationTimeoutError(msg, hint=hint, phase="total") from None


def _too_old(error: PluginNotFoundError, action: str) -> DockerModelError:
    """Convert the error for an unknown flag or subcommand to an `UnsupportedParameterError`."""
    if "too old" not in error.message:
        return error
    msg = f"this version of the CLI cannot {action}: {error.message}"
    return UnsupportedParameterError(msg, hint=error.hint, detail=error.detail)


def _model(name: str, inspected: str) -> ModelInfo:
    model = listing.parse_model(inspected)
    if model is None:
        raise model_not_found(name)
    return model
