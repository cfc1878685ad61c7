"""Commands that are run to their end and answer at once: everything but `run`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from docker_model.cli import command, failures
from docker_model.cli.listing import PullOutput
from docker_model.errors import (
    ModelNotFoundError,
    PluginNotFoundError,
    PullError,
    UnsupportedParameterError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from docker_model.cli.launch import Launch
    from docker_model.types import PullProgress


async def ask(
    launch: Launch,
    argv: Sequence[str],
    *,
    about: str,
    model: str = "",
    on_stdout: Callable[[bytes], object] | None = None,
) -> str:
    """Run a command to its end, on the I/O thread, and give back its standard output.

    Args:
        launch: Gives the environment.
        argv: The whole command.
        about: The subcommand, for errors.
        model: The model that it is about, for errors.
        on_stdout: Takes the output instead, as it comes; what it raises ends the command.

    Raises:
        DockerModelError: It cannot be started, or fails.
    """
    output = bytearray()
    child = await launch.start(argv, on_stdout=on_stdout or output.extend, stdin=False)
    try:
        # Shielded, since cancelling a caller must not cancel the child's own future.
        end = await asyncio.shield(child.ended)
    finally:
        child.end()
    if end.code != 0:
        raise failures.name_failure(
            command=about, model=model, exit_code=end.code, signal=end.signal, stderr=end.stderr
        )
    return output.decode("utf-8", "replace")


async def inspect(launch: Launch, model: str) -> str:
    """What `docker model inspect` says of `model`.

    Raises:
        ModelNotFoundError: It is not in the local store.
        DockerModelError: Nobody can tell.
    """
    return await ask(
        launch, command.inspect_argv(launch.prefix, model), about="inspect", model=model
    )


async def preload(launch: Launch, model: str) -> None:
    """Load `model` into memory.

    Raises:
        UnsupportedParameterError: This CLI (before v0.1.45) cannot.
        DockerModelError: See `ask`.
    """
    argv = command.preload_argv(launch.prefix, model)
    try:
        await ask(launch, argv, about="run --detach", model=model)
    except PluginNotFoundError as error:  # it is there, and does not know the flag
        msg = "this version of the CLI cannot load a model without running it"
        hint = "update the Docker Model Runner plugin to v0.1.45 or later"
        raise UnsupportedParameterError(msg, hint=hint) from error


class _CallbackError(Exception):
    """Carries what a caller's function raised past all that handles our own errors."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def pull(
    launch: Launch, model: str, on_progress: Callable[[PullProgress], object] | None = None
) -> str:
    """Pull `model` and give back what `inspect` says of it.

    Exit code 0 is no proof of a pull: a stream of progress that just ends, or ends in an
    error's text, is a success to the CLI. So the model has to be there afterwards.

    Raises:
        ModelNotFoundError: The registry has no such model.
        PullError: It failed.
        DockerModelError: See `ask`.
    """
    output = PullOutput(model)

    def report(data: bytes) -> None:
        for progress in output.feed(data):
            if on_progress is not None:
                try:
                    on_progress(progress)
                # SystemExit, too, which would end the I/O thread.
                except BaseException as error:  # noqa: BLE001  the caller's own, and raised there
                    raise _CallbackError(error) from None

    argv = command.pull_argv(launch.prefix, model)
    failure: BaseException | None = None
    try:
        await ask(launch, argv, about="pull", model=model, on_stdout=report)
    except _CallbackError as carrier:
        failure = carrier.error
    if failure is not None:  # raised here, so that nothing of ours becomes its context
        raise failure
    try:
        return await inspect(launch, model)
    except ModelNotFoundError:
        msg = f"the pull of {model!r} ended without an error and without the model"
        raise PullError(msg, hint=f"try `docker model pull {model}` again") from None
