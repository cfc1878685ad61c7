"""Functions that list, pull and configure models, each in a sync and an async version.

Every function accepts the keywords of `list_models`:

* `command` and `env`: as for `DockerModel`;
* `timeout`: the limit in seconds; `None` means no limit. A call that is interrupted, is
  canceled or times out ends the processes and requests that it has started;
* `transport`: `"cli"`, `"http"` or `None`. `None` is the command, or HTTP where there is no
  command, for example in a container;
* `base_url`: the address of the HTTP API, for `transport="http"`.

`rerank` has no `transport`, because it always uses HTTP.

All functions raise the classes of `docker_model.errors`; a timeout is a
`GenerationTimeoutError`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar, get_args

from docker_model._transport.failures import explain
from docker_model._transport.log import LOG
from docker_model._transport.model_names import check_model_name
from docker_model._transport.twins import twins
from docker_model.errors import (
    DockerModelError,
    DockerNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    PluginNotFoundError,
    UnsupportedParameterError,
)
from docker_model.options import Timeouts, TransportName, check_choice, check_count
from docker_model.types import ModelInfo, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    from docker_model._docker_cli.management import ManagementCommands
    from docker_model._runtime import Stream
    from docker_model.http.client import Client
    from docker_model.http.management import HttpManagement
    from docker_model.types import (
        DiskUsage,
        FoundModel,
        Mode,
        ModelConfiguration,
        PullProgress,
        Ranked,
        RunningModel,
    )

    _Management: TypeAlias = ManagementCommands | HttpManagement

__all__ = [
    "aconfigure_model",
    "adisk_usage",
    "ainspect_model",
    "alist_models",
    "alist_running",
    "amodel_configuration",
    "apreload_model",
    "apull_model",
    "aremove_model",
    "arerank",
    "asearch_models",
    "astatus",
    "atag_model",
    "aunload_model",
    "configure_model",
    "disk_usage",
    "inspect_model",
    "list_models",
    "list_running",
    "model_configuration",
    "preload_model",
    "pull_model",
    "remove_model",
    "rerank",
    "search_models",
    "status",
    "tag_model",
    "unload_model",
]

_T = TypeVar("_T")

QUICK = 60.0  # seconds; the CLI alone waits at least 5 s for a daemon that does not respond
LOADING = 330.0  # seconds; the runner's own limit for loading a model is 300


@dataclass(frozen=True, slots=True)
class _Runner:
    """The settings that select a runner and the transport to it.

    Raises:
        InvalidRequestError: If a setting is invalid.
        UnsupportedParameterError: If two settings exclude each other.
    """

    command: str | Sequence[str] | None
    env: Mapping[str, str] | None = field(repr=False)
    timeout: float | None
    transport: TransportName | None
    base_url: str | None

    def __post_init__(self) -> None:
        Timeouts(total=self.timeout)
        check_choice("transport", self.transport, (None, *get_args(TransportName)))
        if self.transport == "cli" and self.base_url is not None:
            msg = "base_url requires the HTTP transport"
            hint = 'remove transport="cli"; for the CLI, set MODEL_RUNNER_HOST instead'
            raise UnsupportedParameterError(msg, hint=hint)

    def commands(self) -> ManagementCommands:
        """Return the management operations of `docker model`."""
        from docker_model._docker_cli.command_spec import CommandSpec
        from docker_model._docker_cli.management import ManagementCommands

        return ManagementCommands(CommandSpec.of(self.command, self.env), self.timeout)

    def client(self) -> Client:
        """Return a client of the HTTP API with the same settings."""
        from docker_model.http.client import Client

        limits = Timeouts(first_output=None, idle=None, total=self.timeout)
        return Client(base_url=self.base_url, command=self.command, env=self.env, timeout=limits)

    def http(self) -> HttpManagement:
        """Return the management operations of the HTTP API."""
        from docker_model.http import operations

        return operations.management(self.client())

    def known_model(self, name: str) -> ModelInfo | None:
        """Return the remembered description of a model.

        A module that is not imported yet has nothing to remember, and stays unimported.
        """
        model_info = None
        if self.transport != "cli" and "docker_model.http.operations" in sys.modules:
            model_info = self.client().known_model(name)
        commands = sys.modules.get("docker_model._docker_cli.management")
        if model_info is None and commands and self.transport != "http" and self.base_url is None:
            from docker_model._docker_cli.command_spec import CommandSpec

            model_info = commands.known_model(CommandSpec.of(self.command, self.env), name)
        return model_info

    async def run(self, operation: Callable[[_Management], Awaitable[_T]]) -> _T:
        """Run an operation with the command, or over HTTP if requested or without a command."""
        if self.transport == "http" or self.base_url is not None:
            return await _run(self.http(), operation)
        try:
            return await _run(self.commands(), operation)
        except (DockerNotFoundError, PluginNotFoundError) as error:
            if self.transport == "cli" or self.command is not None:
                raise
            http = await self._found_over_http(error)
        return await _run(http, operation)

    async def _found_over_http(self, missing: DockerModelError) -> HttpManagement:
        try:
            http = self.http()
            address = (await http.endpoint()).url
        except DockerModelError:
            raise missing from None
        LOG.info("%s; using the HTTP API at %s instead", missing.message, address)
        return http


async def _run(management: _Management, operation: Callable[[_Management], Awaitable[_T]]) -> _T:
    """Run an operation, and add the names of similar models to its error."""
    try:
        return await operation(management)
    except ModelNotFoundError as error:
        await explain(error, error.model, management)
        raise


async def _list_models(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> list[ModelInfo]:
    """List the models of the local store."""
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.run(lambda management: management.list_models())


list_models, alist_models = twins(_list_models)


async def _inspect_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> ModelInfo:
    """Describe a model of the local store.

    As with `docker model inspect`, newer runners accept the last part of a name, without its
    organization.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.run(lambda management: management.inspect(name))


inspect_model, ainspect_model = twins(_inspect_model)


def known_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> ModelInfo | None:
    """Return the description of a model that this process remembers, without a request.

    `inspect_model`, `pull_model` and a model's `warm_up` store descriptions. An answer by the
    command stores the packaged description, unless a description is already stored. A change by
    another process is not visible until one of these functions is called again.

    Args:
        name: The model name, exactly as in the call that stored the description.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        transport: The transport that stored the description; default: either.
        base_url: As for `list_models`.
    """
    return _Runner(command, env, None, transport, base_url).known_model(name)


async def _status(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> Status:
    """Return whether Docker Model Runner runs, and its address.

    If the runner does not run, or if Docker or its plugin is missing, no error is raised:
    `Status.problem` contains the cause and the step that fixes it.
    """
    runner = _Runner(command, env, timeout, transport, base_url)
    try:
        return await runner.run(lambda management: management.status())
    except InvalidRequestError:
        raise
    except DockerModelError as error:
        return Status(running=False, problem=str(error))


status, astatus = twins(_status)


async def _list_running(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> list[RunningModel]:
    """List the models that are loaded or being loaded.

    Names are as in `list_models`, but newer CLIs print them in lower case, including tags.
    """
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.run(lambda management: management.list_running())


list_running, alist_running = twins(_list_running)


def pull_model(
    name: str,
    *,
    on_progress: Callable[[PullProgress], object] | None = None,
    token: str | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> ModelInfo:
    """Download a model, unless the local store already has it.

    Args:
        name: The model to pull, such as `ai/smollm2` or `hf.co/org/model:Q4_K_M`.
        on_progress: Called with each step, on the caller's thread. An exception in it ends the
            pull and is raised to the caller.
        token: For a private model: a Hugging Face token. HTTP also accepts a token of another
            registry, which is sent as an OAuth 2 refresh token. For other registries, the
            command uses the credentials of `docker login`.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: The limit in seconds; default: no limit.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Returns:
        The model in the local store.

    Raises:
        ModelNotFoundError: If the registry does not have the model.
        PullError: If the pull failed. The command can exit with code 0 after a failed pull, so
            this function checks that the model is in the local store.
        UnsupportedParameterError: If `token` is set, the command pulls, and the registry is not
            Hugging Face.
    """
    pulling = _pulling(name, token, _Runner(command, env, timeout, transport, base_url))
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
    token: str | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> ModelInfo:
    """Await `pull_model`; `on_progress` is called in the caller's event loop."""
    pulling = _pulling(name, token, _Runner(command, env, timeout, transport, base_url))
    try:
        while not isinstance(step := await pulling.anext(), ModelInfo):
            assert step is not None  # the model is the last step; errors are raised
            if on_progress is not None:
                on_progress(step)
    except BaseException:
        pulling.cancel()
        raise
    return step


def _pulling(name: str, token: str | None, runner: _Runner) -> Stream[PullProgress | ModelInfo]:
    from docker_model._runtime import Stream

    check_model_name(name)
    return Stream(lambda sink: runner.run(lambda management: management.pull(name, sink, token)))


async def _preload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = LOADING,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> None:
    """Load a model into memory, and wait until it is loaded. The model is never pulled.

    Raises:
        ModelNotFoundError: If the model is not pulled.
        ModelLoadError: If the engine could not load the model.
        UnsupportedParameterError: If the CLI is older than v0.1.45 and cannot preload.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.run(lambda management: management.preload(name))


preload_model, apreload_model = twins(_preload_model)


async def _unload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> None:
    """Unload a model, if it is loaded.

    A model that is answering a request stays loaded, and the runner reports no error.
    `list_running` shows whether the model is still loaded.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.run(lambda management: management.unload(name))


unload_model, aunload_model = twins(_unload_model)


async def _configure_model(
    name: str,
    *,
    context_size: int | None = None,
    keep_alive: float | timedelta | str | None = None,
    think: bool | int | None = None,
    mode: Mode | None = None,
    runtime_flags: Sequence[str] | None = None,
    draft_model: str | None = None,
    draft_tokens: int | None = None,
    draft_min_acceptance: float | None = None,
    hf_overrides: Mapping[str, object] | None = None,
    gpu_memory_utilization: float | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> None:
    """Change how the runner starts a model, for all users of the runner.

    Values that are `None` do not change. A configuration lasts until the runner restarts, or
    `docker model unload --all` removes all of them. After the change, the runner loads the model
    in the background.

    Args:
        name: The name of a pulled model.
        context_size: The context size in tokens; -1 is the size that the model was trained for.
        keep_alive: How long an idle model stays loaded: seconds, a `timedelta`, or a string in
            Docker's notation, such as `"5m"`; `"0"` unloads it immediately, `"-1"` never.
        think: Whether a reasoning model thinks (llama.cpp). Over HTTP also the maximum number
            of reasoning tokens.
        mode: The mode that the configuration applies to; default: the mode that the model is
            made for. In `"embedding"` mode, llama.cpp returns the mean of the token vectors,
            unless the model or `runtime_flags` set another pooling.
        runtime_flags: Flags for the engine, such as `["--ubatch-size", "2048"]`.
        draft_model: A smaller model that drafts tokens for speculative decoding.
        draft_tokens: The number of tokens in a draft.
        draft_min_acceptance: The minimum acceptance rate of drafted tokens, 0 to 1.
        hf_overrides: Overrides of the model's Hugging Face configuration (vLLM).
        gpu_memory_utilization: The fraction of GPU memory to use, 0 to 1 (vLLM).
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: The limit in seconds.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
        GenerationError: If the model is in use; the hint contains the fix.
        UnsupportedParameterError: If this version of the CLI cannot set a value.
    """
    from docker_model._transport import configuration

    check_model_name(name)
    changes = configuration.checked(
        context_size=context_size,
        keep_alive=keep_alive,
        think=think,
        mode=mode,
        runtime_flags=runtime_flags,
        draft_model=draft_model,
        draft_tokens=draft_tokens,
        draft_min_acceptance=draft_min_acceptance,
        hf_overrides=hf_overrides,
        gpu_memory_utilization=gpu_memory_utilization,
    )
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.run(lambda management: management.configure(name, changes))


configure_model, aconfigure_model = twins(_configure_model)


async def _model_configuration(
    name: str,
    *,
    mode: Mode | None = None,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> ModelConfiguration | None:
    """Return the configuration of a model, or `None` if the model is not configured.

    The result is always `None` before v1.0.6 of the plugin and v1.0.10 of the runner.

    Args:
        name: The name of a pulled model.
        mode: The mode of the configuration; default: the mode that the model is made for.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: The limit in seconds.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.run(lambda management: management.configuration(name, mode))


model_configuration, amodel_configuration = twins(_model_configuration)


async def _remove_model(
    name: str,
    *,
    force: bool = False,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> None:
    """Remove a model from the local store.

    If the model has several tags, only the tag in `name` is removed.

    Args:
        name: The name of a pulled model.
        force: Remove the model with all its tags, even while it is loaded.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: The limit in seconds.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.run(lambda management: management.remove(name, force=force))


remove_model, aremove_model = twins(_remove_model)


async def _tag_model(
    name: str,
    tag: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> None:
    """Add another name to a model, such as `myorg/assistant:v1`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(tag)
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.run(lambda management: management.tag(name, tag))


tag_model, atag_model = twins(_tag_model)


async def _disk_usage(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> DiskUsage:
    """Return the disk space that the models and the engine use."""
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.run(lambda management: management.disk_usage())


disk_usage, adisk_usage = twins(_disk_usage)


async def _search_models(
    term: str,
    *,
    limit: int = 25,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> list[FoundModel]:
    """Search Docker Hub and Hugging Face for models. This requires internet access.

    Models of Docker Hub precede models of Hugging Face; both are sorted by downloads. If only
    one source can be searched, a warning is logged.

    Args:
        term: The text to find in names and descriptions; an empty string finds all models.
        limit: The maximum number of results.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: The limit in seconds.
        transport: Only the command can search.
        base_url: As for `list_models`.

    Raises:
        GenerationError: If there is no result, and a source could not be searched.
        UnsupportedParameterError: If HTTP is requested, or the CLI is older than v1.0.7.
    """
    if not isinstance(term, str) or "\0" in term:
        msg = f"the search term must be a string without NUL, not {term!r}"
        raise InvalidRequestError(msg, hint='for example search_models("smollm2")')
    check_count("limit", limit, least=1)
    runner = _Runner(command, env, timeout, transport, base_url)
    if transport == "http" or base_url is not None:
        return await runner.http().search(term, limit)
    return await runner.commands().search(term, limit)


search_models, asearch_models = twins(_search_models)


async def _rerank(
    model: str,
    query: str,
    documents: Iterable[str],
    *,
    top_n: int | None = None,
    force: bool = False,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = LOADING,
    base_url: str | None = None,
) -> list[Ranked]:
    """Rank documents by their relevance to a query, over HTTP.

    Args:
        model: The name of a reranking model, such as `ai/qwen3-reranker`.
        query: The query.
        documents: The documents to rank. They are sent in batches within the engine's limit.
        top_n: The maximum number of results, best first; default: all.
        force: Accept a model that is not a reranker according to its metadata. llama.cpp then
            returns meaningless scores.
        command: As for `DockerModel`; `docker model status` reports the runner's address.
        env: As for `DockerModel`.
        timeout: The limit in seconds.
        base_url: The address of the HTTP API; default: discovered.

    Returns:
        The index and score of each document, best first. Equal scores keep the input order.

    Raises:
        InvalidRequestError: If the model is not a reranker.
        ContextLengthError: If a document and the query together are too long.
    """
    from docker_model.http import operations

    client = _Runner(command, env, timeout, "http", base_url).client()
    return await operations.rerank(client, model, query, documents, top_n, force=force)


rerank, arerank = twins(_rerank)
