"""`DockerModel`: the settings of a model, and the methods that call it."""

from __future__ import annotations

import _thread
import contextlib
import weakref
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_args

from docker_model._transport.command_words import check_runner_settings
from docker_model._transport.model_names import check_model_name
from docker_model.errors import (
    InvalidRequestError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.options import (
    SAMPLING,
    FileReferences,
    PullPolicy,
    Timeouts,
    TransportName,
    check_choice,
    check_count,
    check_sampling,
    stop_sequences,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from docker_model._engine import Backend, Engine
    from docker_model.http import Client
    from docker_model.streams import AsyncTextStream, TextStream
    from docker_model.types import Completion, Progress

__all__ = ["DockerModel"]


class _EngineSlot:
    """A slot for the engine, which a model keeps between calls.

    A slot is not a dataclass field, so copies, pickles and `vars` do not contain the engine.
    """

    __slots__ = ("_engine",)
    _engine: Engine | None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, settings: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_engine", None)
        self.__dict__.update(settings)


@dataclass(frozen=True)
class DockerModel(_EngineSlot):
    """A model of Docker Model Runner, called through `docker model run` or the HTTP API.

    Instances are frozen, hashable and picklable. Creating one starts no process or thread and
    does not use the network. The same object works in sync code, any event loop and any thread.

    Example:
        >>> model = DockerModel("ai/smollm2", max_chars=2000)
        >>> model.generate("What is a container?").text  # doctest: +SKIP
        'A container is …'

    Args:
        model: The model name, exactly as for `docker model run`.
        stop: Stop sequences. The earliest match ends the answer and is not part of it.
        max_chars: The maximum length of the answer in characters. The CLI has no other limit.
            Reasoning has a separate limit: twice `max_chars`, and at least 10,000 characters.
        timeout: `Timeouts`, or a number of seconds for the whole call.
        max_concurrency: The maximum number of simultaneous runs in this process, counted over
            all models with the same command, environment and limit. Other calls wait in order.
        pull: `"never"`: a missing model is an error; `"missing"`: it is pulled first.
        on_progress: Called with a `Progress` for each step of a call: pull, queue, load, prompt
            (over HTTP), first token and speed. It runs on a thread of this library and must not
            block. `None` makes no requests for progress.
        file_references: What happens to text in the prompt that names local files, which the
            CLI would read and send: `"escape"`, `"refuse"` or `"allow"`.
        standby: The number of started processes that wait for a prompt.
        command: The words before the subcommand; default: `$DOCKER_MODEL_COMMAND`, else
            `docker model`.
        env: Environment variables, added to the caller's environment; never shown.
        transport: `"cli"`, `"http"` or `None`. `None` is the CLI, unless a setting requires
            HTTP. Over HTTP the prompt is sent unchanged, local files are never read, and
            standby has no effect. The runner is searched for where the CLI looks for it, and at
            the usual addresses.
        base_url: The address of the HTTP API, in any of its usual spellings. HTTP only.
        api_key: Sent only to an address that you set, not to one that was discovered; never
            shown. The runner itself needs no key. HTTP only.
        temperature: The randomness of the answer; 0 always chooses the most likely token. HTTP
            only, like all settings below.
        top_p: Sample only from the most likely tokens whose probabilities add up to this value.
        top_k: Sample only from this number of most likely tokens.
        min_p: Exclude tokens less likely than this fraction of the most likely token.
        seed: The same seed and request return the same answer on the same engine.
        max_tokens: The maximum length of the answer in tokens.
        presence_penalty: Makes tokens less likely that have already occurred.
        frequency_penalty: Makes tokens less likely the more often they have occurred.

    Raises:
        InvalidRequestError: If a setting is invalid.
        UnsupportedParameterError: If `transport="cli"` is combined with a setting that requires
            HTTP.
    """

    model: str
    _: KW_ONLY
    stop: str | Sequence[str] | None = ()
    max_chars: int | None = None
    timeout: Timeouts | float | None = Timeouts()  # noqa: RUF009  it is frozen
    max_concurrency: int = 8
    pull: PullPolicy = "never"
    on_progress: Callable[[Progress], object] | None = field(default=None, repr=False, hash=False)
    file_references: FileReferences = "escape"
    standby: int = 0
    command: str | Sequence[str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    transport: TransportName | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def __post_init__(self) -> None:
        self._set("_engine", None)
        check_model_name(self.model)
        self._set("stop", stop_sequences(self.stop))
        self._set("timeout", Timeouts.of(self.timeout))
        command, env = check_runner_settings(self.command, self.env)
        self._set("command", command)
        self._set("env", env)
        if self.on_progress is not None and not callable(self.on_progress):
            msg = f"on_progress must be a function, not {self.on_progress!r}"
            raise InvalidRequestError(msg, hint="for example on_progress=print")
        check_count("max_chars", self.max_chars, least=1, optional=True)
        check_count("max_concurrency", self.max_concurrency, least=1)
        check_count("standby", self.standby, least=0)
        check_choice("pull", self.pull, get_args(PullPolicy))
        check_choice("file_references", self.file_references, get_args(FileReferences))
        check_choice("transport", self.transport, (None, *get_args(TransportName)))
        if self._http_settings:
            self._check_http()

    @property
    def _sampling(self) -> dict[str, Any]:
        """The sampling parameters that are set."""
        parameters = ((name, getattr(self, name)) for name in SAMPLING)
        return {name: value for name, value in parameters if value is not None}

    @property
    def _http_settings(self) -> list[str]:
        """The names of the settings that require HTTP."""
        address = (name for name in ("base_url", "api_key") if getattr(self, name) is not None)
        return [*address, *self._sampling]

    def _check_http(self) -> None:
        if self.transport == "cli":
            names = ", ".join(self._http_settings)
            msg = f"`docker model run` does not support {names}; the HTTP transport does"
            hint = 'remove transport="cli", or set transport="http"'
            if self.base_url is not None:
                hint += "; for the CLI, set MODEL_RUNNER_HOST to the runner's address"
            raise UnsupportedParameterError(msg, hint=hint)
        check_sampling(self._sampling)
        if self.base_url is not None or self.api_key is not None:
            from docker_model.http import Client

            Client(base_url=self.base_url, api_key=self.api_key)  # validates both

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def generate(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> Completion:
        """Answer `prompt`, and return the complete answer.

        Args:
            prompt: The prompt. The CLI removes leading and trailing white space.
            stop: Stop sequences that replace those of the model.

        Raises:
            DockerModelError: If the call fails; `docker_model.errors` has a class for each
                cause.
        """
        return self._calls().generate(prompt, stop)

    async def agenerate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None
    ) -> Completion:
        """Await `generate`; canceling the task ends the run."""
        return await self._calls().generate_async(prompt, stop)

    def stream(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> TextStream:
        """Answer `prompt`, and return a stream of the pieces of the answer as they arrive.

        The prompt is checked immediately, and the run starts with the first iteration. The
        parameters and errors are those of `generate`; a run's errors are raised during
        iteration.
        """
        return self._calls().stream(prompt, stop)

    def astream(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> AsyncTextStream:
        """Answer `prompt`, and return a stream for `async for`; this is not a coroutine.

        A worker thread searches the prompt for local files, so a `FileReferenceError` is
        raised by the first iteration.
        """
        return self._calls().stream_async(prompt, stop)

    def count_tokens(self, prompt: str) -> int:
        """Count the tokens of `prompt`, including the model's chat template.

        The engine counts them. The request always uses HTTP, whatever the transport of
        prompts, and loads the model.

        Raises:
            UnsupportedParameterError: If the HTTP API is not found, or if `transport="cli"`.
            DockerModelError: If the runner or the engine rejects the request.
        """
        client = self._counting_client()
        with _only_over_http():
            return client.count_tokens(self.model, [{"role": "user", "content": prompt}])

    async def acount_tokens(self, prompt: str) -> int:
        """Await `count_tokens`."""
        client = self._counting_client()
        with _only_over_http():
            return await client.acount_tokens(self.model, [{"role": "user", "content": prompt}])

    def warm_up(self) -> None:
        """Load the model and start the standby processes, so that the first answer is fast.

        Raises:
            DockerModelError: If the model cannot be loaded.
        """
        self._calls().warm_up()

    async def awarm_up(self) -> None:
        """Await `warm_up`."""
        await self._calls().warm_up_async()

    def close(self) -> None:
        """End this model's standby processes; the model remains usable.

        Active runs continue, but do not start new standby processes.
        """
        if self._engine is not None:
            self._engine.backend.close()

    async def aclose(self) -> None:
        """End this model's standby processes, as `close` does."""
        self.close()

    def _calls(self) -> Engine:
        """Return the engine. The first call creates it, because its module imports asyncio."""
        if self._engine is None:
            from docker_model._engine import Engine

            engine = Engine(
                backend=self._backend(),
                model=self.model,
                stop=cast("tuple[str, ...]", self.stop),  # converted by `__post_init__`
                max_chars=self.max_chars,
                timeouts=cast("Timeouts", self.timeout),
            )
            with _engine_lock:
                if self._engine is None:  # another thread can have set it first
                    self._set("_engine", engine)
        assert self._engine is not None
        return self._engine

    def _backend(self) -> Backend:
        if self.transport == "http" or self._http_settings:
            from docker_model._engine import HttpBackend

            return HttpBackend(self._client(), self._sampling)
        from docker_model._engine import CliBackend

        return CliBackend(
            command=self.command,
            env=self.env,
            file_references=self.file_references,
            max_concurrency=self.max_concurrency,
            pull=self.pull,
            on_progress=self.on_progress,
            standby=self.standby,
        )

    def _client(self) -> Client:
        from docker_model.http import Client

        return Client(
            base_url=self.base_url,
            api_key=self.api_key,
            timeout=self.timeout,
            max_concurrency=self.max_concurrency,
            pull=self.pull,
            on_progress=self.on_progress,
            command=self.command,
            env=self.env,
        )

    def _counting_client(self) -> Client:
        if self.transport == "cli":
            msg = "`docker model` cannot count tokens"
            hint = 'remove transport="cli", so that the HTTP API can count them'
            raise UnsupportedParameterError(msg, hint=hint)
        return self._client()


@contextlib.contextmanager
def _only_over_http() -> Iterator[None]:
    try:
        yield
    except RunnerUnavailableError as error:
        msg = "counting tokens requires the HTTP API, which was not found"
        hint = f"{error.hint}; if the API has another address, set base_url"
        raise UnsupportedParameterError(msg, hint=hint, detail=str(error)) from error


_engine_lock = _thread.RLock()  # reentrant: a signal handler can interrupt a call and make one


_standby_models: dict[int, DockerModel] = {}


def standby_model_for(owner: object, model: DockerModel) -> DockerModel:
    """Return the same object for equal models, as long as `owner` exists.

    Standby processes belong to a `DockerModel` object. An adapter creates a new model for each
    call, because its fields can be assigned. With standby it must reuse the previous object.
    """
    key = id(owner)
    if not model.standby:
        _standby_models.pop(key, None)  # ends the processes of an earlier model
        return model
    previous = _standby_models.get(key)
    if previous is None:
        weakref.finalize(owner, _standby_models.pop, key, None).atexit = False
    if previous is None or previous != model:
        _standby_models[key] = previous = model
    return previous  # no second lookup, because another thread can remove the entry
