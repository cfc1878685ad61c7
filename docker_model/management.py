"""Discovery and care of models: each function waits, and its `a…` twin is awaited.

All of them take `command=` and `env=` as `DockerModel` does, and `timeout=` in seconds
(`None`: for ever). What they start is ended when they are interrupted, cancelled or late.
They raise what `docker_model.errors` lists; `GenerationTimeoutError` when they are late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from docker_model._transport.model_names import check_model_name
from docker_model.errors import InvalidRequestError
from docker_model.options import Timeouts
from docker_model.types import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from docker_model._docker_cli.management import ManagementCommands
    from docker_model._runtime import Stream
    from docker_model.types import PullProgress, RunningModel, Status

__all__ = [
    "aconfigure_model",
    "ainspect_model",
    "alist_models",
    "alist_running",
    "apreload_model",
    "apull_model",
    "astatus",
    "aunload_model",
    "configure_model",
    "inspect_model",
    "list_models",
    "list_running",
    "preload_model",
    "pull_model",
    "status",
    "unload_model",
]

_T = TypeVar("_T")

QUICK = 60.0  # seconds; a hung Docker daemon is waited for 5 s and more
LOADING = 330.0  # seconds; the runner itself gives a model 300


def list_models(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
) -> list[ModelInfo]:
    """List the models of the local store."""
    return _wait(_care(command, env, timeout).list_models())


async def alist_models(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,  # noqa: ASYNC109  ends the process too
) -> list[ModelInfo]:
    """See `list_models`."""
    return await _awaited(_care(command, env, timeout).list_models())


def inspect_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
) -> ModelInfo:
    """Describe one model of the local store.

    Newer runners find a model of any organisation by the last part of its name, as
    `docker model inspect` does.

    Raises:
        ModelNotFoundError: It is not there.
    """
    check_model_name(name)
    return _wait(_care(command, env, timeout).inspect(name))


async def ainspect_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,  # noqa: ASYNC109  ends the process too
) -> ModelInfo:
    """See `inspect_model`."""
    check_model_name(name)
    return await _awaited(_care(command, env, timeout).inspect(name))


def status(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
) -> Status:
    """Tell whether Docker Model Runner runs, and where.

    Never raises because it does not, or because Docker or its plugin is missing:
    `Status.problem` says so, with the step that fixes it.
    """
    return _wait(_care(command, env, timeout).status())


async def astatus(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,  # noqa: ASYNC109  ends the process too
) -> Status:
    """See `status`."""
    return await _awaited(_care(command, env, timeout).status())


def list_running(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
) -> list[RunningModel]:
    """List the models that are loaded, or being loaded.

    Names are as in `list_models`; newer CLIs print them in lower case, tags too.
    """
    return _wait(_care(command, env, timeout).list_running())


async def alist_running(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,  # noqa: ASYNC109  ends the process too
) -> list[RunningModel]:
    """See `list_running`."""
    return await _awaited(_care(command, env, timeout).list_running())


def pull_model(
    name: str,
    *,
    on_progress: Callable[[PullProgress], object] | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> ModelInfo:
    """Download a model, or make sure that it is there.

    Args:
        name: What to pull, such as `ai/smollm2` or `hf.co/org/model:Q4_K_M`.
        on_progress: Called with each step, on the caller's own thread. What it raises ends
            the pull and is raised here.
        command: See `DockerModel`.
        env: See `DockerModel`; `HF_TOKEN` is for private models of Hugging Face.
        timeout: In seconds; there is none by default.

    Returns:
        The model, as it is in the local store now.

    Raises:
        ModelNotFoundError: There is no such model in the registry.
        PullError: It failed. Exit code 0 is no proof: a pull that breaks off may end so.
    """
    pulling = _pulling(name, command, env, timeout)
    try:
        while not isinstance(step := pulling.next(), ModelInfo):
            assert step is not None  # the model is the last step; errors are raised
            if on_progress is not None:
                on_progress(step)
    except BaseException:
        pulling.cancel()
        raise
    return step


async def apull_model(
    name: str,
    *,
    on_progress: Callable[[PullProgress], object] | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,  # noqa: ASYNC109  ends the process too
) -> ModelInfo:
    """See `pull_model`; `on_progress` is called in the caller's own event loop."""
    pulling = _pulling(name, command, env, timeout)
    try:
        while not isinstance(step := await pulling.anext(), ModelInfo):
            assert step is not None  # the model is the last step; errors are raised
            if on_progress is not None:
                on_progress(step)
    except BaseException:
        pulling.cancel()
        raise
    return step


def preload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = LOADING,
) -> None:
    """Load a model into memory and wait until it is. Never pulls.

    Raises:
        ModelNotFoundError: It is not pulled.
        ModelLoadError: The engine could not load it.
        UnsupportedParameterError: The CLI is older than v0.1.45 and cannot.
    """
    check_model_name(name)
    _wait(_care(command, env, timeout).preload(name))


async def apreload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = LOADING,  # noqa: ASYNC109  ends the process too
) -> None:
    """See `preload_model`."""
    check_model_name(name)
    await _awaited(_care(command, env, timeout).preload(name))


def unload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
) -> None:
    """Unload a model, if it is loaded.

    One that is answering a request stays loaded, and the CLI does not tell: it says "No such
    model(s) running", as of one that is not loaded, and ends well. `list_running` tells.
    """
    check_model_name(name)
    _wait(_care(command, env, timeout).unload(name))


async def aunload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,  # noqa: ASYNC109  ends the process too
) -> None:
    """See `unload_model`."""
    check_model_name(name)
    await _awaited(_care(command, env, timeout).unload(name))


def configure_model(
    name: str,
    *,
    context_size: int | None = None,
    mode: Literal["embedding"] | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
) -> None:
    """Set the context size of a model, or have it give embeddings, for all of the runner's users.

    It takes the place of the model's whole earlier configuration for that use, lasts until the
    runner restarts, and has the runner load the model in the background.

    Args:
        name: A model that is pulled.
        context_size: In tokens; -1 is as much as the model can.
        mode: `"embedding"` has llama.cpp give one vector for a text, the mean of its tokens':
            a chat model, and some embedding models, give none before.
        command: See `DockerModel`.
        env: See `DockerModel`.
        timeout: In seconds.

    Raises:
        ModelNotFoundError: It is not pulled.
        GenerationError: It is loaded and in use: unload it first.
    """
    _check_configuration(context_size, mode)
    check_model_name(name)
    _wait(_care(command, env, timeout).configure(name, context_size, mode))


async def aconfigure_model(
    name: str,
    *,
    context_size: int | None = None,
    mode: Literal["embedding"] | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,  # noqa: ASYNC109  ends the process too
) -> None:
    """See `configure_model`."""
    _check_configuration(context_size, mode)
    check_model_name(name)
    await _awaited(_care(command, env, timeout).configure(name, context_size, mode))


def _check_configuration(value: int | None, mode: str | None) -> None:
    if mode not in (None, "embedding"):
        msg = f"mode must be 'embedding' or None, not {mode!r}"
        raise InvalidRequestError(msg)
    if value is None:
        if mode is None:
            msg = "there is nothing to configure"
            raise InvalidRequestError(msg, hint="such as context_size=8192")
        return
    number = isinstance(value, int) and not isinstance(value, bool)
    if not number or (value < 1 and value != -1):
        msg = "context_size must be a positive number of tokens, or -1 for as much as there is"
        raise InvalidRequestError(msg, hint="such as context_size=8192")


# The event loop and all that needs it is imported with the first call.


def _care(
    command: str | Sequence[str] | None, env: Mapping[str, str] | None, timeout: float | None
) -> ManagementCommands:
    from docker_model._docker_cli.command_spec import CommandSpec
    from docker_model._docker_cli.management import ManagementCommands

    return ManagementCommands(CommandSpec.of(command, env), Timeouts(total=timeout).total)


def _pulling(
    name: str,
    command: str | Sequence[str] | None,
    env: Mapping[str, str] | None,
    timeout: float | None,
) -> Stream[PullProgress | ModelInfo]:
    from docker_model._runtime import Stream

    check_model_name(name)
    care = _care(command, env, timeout)
    return Stream(lambda sink: care.pull(name, sink))


def _wait(coroutine: Coroutine[Any, Any, _T]) -> _T:
    from docker_model._runtime import tasks

    return tasks.run_blocking(coroutine)


async def _awaited(coroutine: Coroutine[Any, Any, _T]) -> _T:
    from docker_model._runtime import tasks

    return await tasks.run_async(coroutine)
