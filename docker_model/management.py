"""Discovery and care of models: each function waits, and has a twin that is awaited.

Every function takes the keywords of `list_models`:

* `command` and `env`, as `DockerModel` does;
* `timeout`, in seconds; `None` means no limit. What a call has started is ended when it is
  interrupted, cancelled or late;
* `transport`: `"cli"`, `"http"`, or `None`: the command, and HTTP where there is no command, as
  in a container;
* `base_url`: the address of the HTTP API, for `transport="http"`.

All raise the classes of `docker_model.errors`; `GenerationTimeoutError` if they are late.
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

QUICK = 60.0  # seconds; a hung Docker daemon is waited for 5 s and more
LOADING = 330.0  # seconds; the runner itself gives a model 300


@dataclass(frozen=True, slots=True)
class _Runner:
    """Which runner is asked, and how.

    Raises:
        InvalidRequestError: If a setting cannot be used.
        UnsupportedParameterError: If settings exclude each other.
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
            msg = "base_url is for the HTTP transport"
            hint = 'leave transport="cli" out; MODEL_RUNNER_HOST tells the CLI where the runner is'
            raise UnsupportedParameterError(msg, hint=hint)

    def commands(self) -> ManagementCommands:
        """Return management by `docker model`."""
        from docker_model._docker_cli.command_spec import CommandSpec
        from docker_model._docker_cli.management import ManagementCommands

        return ManagementCommands(CommandSpec.of(self.command, self.env), self.timeout)

    def client(self) -> Client:
        """Return a client of the HTTP API with the same settings."""
        from docker_model.http.client import Client

        limits = Timeouts(first_output=None, idle=None, total=self.timeout)
        return Client(base_url=self.base_url, command=self.command, env=self.env, timeout=limits)

    def http(self) -> HttpManagement:
        """Return management by the HTTP API."""
        from docker_model.http import operations

        return operations.management(self.client())

    def known_model(self, name: str) -> ModelInfo | None:
        """Return what was learned of a model; imports nothing that could learn."""
        model_info = None
        if self.transport != "cli" and "docker_model.http.operations" in sys.modules:
            model_info = self.client().known_model(name)
        commands = sys.modules.get("docker_model._docker_cli.management")
        if model_info is None and commands and self.transport != "http" and self.base_url is None:
            from docker_model._docker_cli.command_spec import CommandSpec

            model_info = commands.known_model(CommandSpec.of(self.command, self.env), name)
        return model_info

    async def ask(self, question: Callable[[_Management], Awaitable[_T]]) -> _T:
        """Ask the command, or the HTTP API if that is wanted or there is no command."""
        if self.transport == "http" or self.base_url is not None:
            return await _answer(self.http(), question)
        try:
            return await _answer(self.commands(), question)
        except (DockerNotFoundError, PluginNotFoundError) as error:
            if self.transport == "cli" or self.command is not None:
                raise
            http = await self._found_over_http(error)
        return await _answer(http, question)

    async def _found_over_http(self, missing: DockerModelError) -> HttpManagement:
        try:
            http = self.http()
            address = (await http.endpoint()).url
        except DockerModelError:
            raise missing from None
        LOG.info("%s: asking the HTTP API at %s instead", missing.message, address)
        return http


async def _answer(to: _Management, question: Callable[[_Management], Awaitable[_T]]) -> _T:
    """Ask, and add the names of similar models to an error."""
    try:
        return await question(to)
    except ModelNotFoundError as error:
        await explain(error, error.model, to)
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
    return await runner.ask(lambda to: to.list_models())


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

    Newer runners find a model of any organization by the last part of its name, as
    `docker model inspect` does.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.ask(lambda to: to.inspect(name))


inspect_model, ainspect_model = twins(_inspect_model)


def known_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> ModelInfo | None:
    """Return what this process has learned about a model; starts nothing, makes no request.

    `inspect_model`, `pull_model` and a model's `warm_up` learn; a call by the command learns the
    window that was packaged, in case nothing was known. What another process configures is not
    noticed before one of them is called again.

    Args:
        name: The model's name, as it was given when something was learned.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        transport: What was asked; default: either.
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
    """Tell whether Docker Model Runner runs, and where.

    Never raises because it does not, or because Docker or its plugin is missing:
    `Status.problem` says so, with the step that fixes it.
    """
    runner = _Runner(command, env, timeout, transport, base_url)
    try:
        return await runner.ask(lambda to: to.status())
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
    """List the models that are loaded, or being loaded.

    Names are as in `list_models`; newer CLIs print them in lower case, tags too.
    """
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.ask(lambda to: to.list_running())


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
    """Download a model, or make sure that it is there.

    Args:
        name: What to pull, such as `ai/smollm2` or `hf.co/org/model:Q4_K_M`.
        on_progress: Called with each step, on the caller's own thread. What it raises ends
            the pull, and is raised here.
        token: For a private model: a token of Hugging Face. Over HTTP also of a registry, which
            gets it as the refresh token of OAuth 2. The command uses `docker login`.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: In seconds; default: no limit.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Returns:
        The model, as it is in the local store now.

    Raises:
        ModelNotFoundError: If the registry has no such model.
        PullError: If the pull failed. The command's exit code is no proof of a pull, so the
            model is looked for afterwards.
        UnsupportedParameterError: If the command gets a token for another registry.
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
    """Await `pull_model`; `on_progress` is called in the caller's own event loop."""
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
    return Stream(lambda sink: runner.ask(lambda to: to.pull(name, sink, token)))


async def _preload_model(
    name: str,
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = LOADING,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> None:
    """Load a model into memory, and wait until it is loaded. Never pulls.

    Raises:
        ModelNotFoundError: If the model is not pulled.
        ModelLoadError: If the engine could not load it.
        UnsupportedParameterError: If the CLI is older than v0.1.45, which cannot.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.ask(lambda to: to.preload(name))


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

    A model that is answering a request stays loaded, which the runner does not report.
    `list_running` shows whether it is.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.ask(lambda to: to.unload(name))


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
    """Change how the runner starts a model, for all of the runner's users.

    What is `None` stays as it is. A configuration lasts until the runner restarts, and the
    runner loads the model in the background.

    Args:
        name: A model that is pulled.
        context_size: In tokens; -1 is as much as the model was trained for.
        keep_alive: How long the idle model stays loaded: seconds, a `timedelta`, or Docker's
            words, such as `"5m"`; `"0"` unloads it at once and `"-1"` never does.
        think: Whether a reasoning model may think (llama.cpp). Over HTTP also for how many
            tokens.
        mode: What the configuration is for; default: what the model is for. With
            `"embedding"`, llama.cpp gives one vector for a text, the mean of its tokens',
            unless the model or `runtime_flags` name another pooling.
        runtime_flags: Flags for the engine, such as `["--ubatch-size", "2048"]`.
        draft_model: A smaller model that drafts tokens for speculative decoding.
        draft_tokens: How many tokens it drafts at once.
        draft_min_acceptance: The least acceptance rate of drafted tokens, 0 to 1.
        hf_overrides: Overrides of the model's Hugging Face configuration (vLLM).
        gpu_memory_utilization: The fraction of GPU memory to use, 0 to 1 (vLLM).
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: In seconds.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
        GenerationError: If the model is in use, which the hint helps with.
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
    await runner.ask(lambda to: to.configure(name, changes))


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
    """Return the configuration of a model; `None` if it has none.

    Before v1.0.6 of the plugin and v1.0.10 of the runner, none is reported.

    Args:
        name: A model that is pulled.
        mode: What the configuration is for; default: what the model is for.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: In seconds.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.ask(lambda to: to.configuration(name, mode))


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

    A model with several tags loses the one that is named, and is removed with its last.

    Args:
        name: A model that is pulled.
        force: Remove the model with all its tags, also while it is loaded.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: In seconds.
        transport: As for `list_models`.
        base_url: As for `list_models`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.ask(lambda to: to.remove(name, force=force))


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
    """Give a model another name, such as `myorg/assistant:v1`.

    Raises:
        ModelNotFoundError: If the model is not pulled.
    """
    check_model_name(tag)
    check_model_name(name)
    runner = _Runner(command, env, timeout, transport, base_url)
    await runner.ask(lambda to: to.tag(name, tag))


tag_model, atag_model = twins(_tag_model)


async def _disk_usage(
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = QUICK,
    transport: TransportName | None = None,
    base_url: str | None = None,
) -> DiskUsage:
    """Return the disk space that models and engine use."""
    runner = _Runner(command, env, timeout, transport, base_url)
    return await runner.ask(lambda to: to.disk_usage())


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
    """Search Docker Hub and Hugging Face for models, which needs the internet.

    Docker's models come first, then those of Hugging Face, each by their downloads. If only one
    of the two can be searched, a warning is logged.

    Args:
        term: What to look for in names and descriptions; empty for all models.
        limit: How many to return at most.
        command: As for `DockerModel`.
        env: As for `DockerModel`.
        timeout: In seconds.
        transport: The command alone can search.
        base_url: As for `list_models`.

    Raises:
        GenerationError: If there is no result, and a source could not be searched.
        UnsupportedParameterError: If HTTP was asked for, or the CLI is older than v1.0.7.
    """
    if not isinstance(term, str) or "\0" in term:
        msg = f"the search term must be a string without NUL, not {term!r}"
        raise InvalidRequestError(msg, hint='such as search_models("smollm2")')
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
    """Rank documents by their relevance for a query, over HTTP.

    Args:
        model: A reranker, such as `ai/qwen3-reranker`.
        query: What to look for.
        documents: What to rank; sent in batches that the engine takes.
        top_n: How many of the best to return; default: all.
        force: Also ask a model that is no reranker by its own data. llama.cpp answers with
            scores that mean nothing.
        command: As for `DockerModel`; asked where the runner is.
        env: As for `DockerModel`.
        timeout: In seconds.
        base_url: The address of the HTTP API; default: it is found.

    Returns:
        The documents' places and scores, best first; equal scores stay in their order.

    Raises:
        InvalidRequestError: If the model is no reranker.
        ContextLengthError: If a document and the query are too long together.
    """
    from docker_model.http import operations

    client = _Runner(command, env, timeout, "http", base_url).client()
    return await operations.rerank(client, model, query, documents, top_n, force=force)


rerank, arerank = twins(_rerank)
