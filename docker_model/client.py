"""`DockerModel`: a model's settings, and its calls."""

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
    """A slot for what a model keeps between two calls.

    The slot is no field, so the engine is in no copy, no pickle, and not in `vars`.
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
    """A model of Docker Model Runner, driven through `docker model run` or its HTTP API.

    Frozen, hashable, picklable and cheap: making one starts no process, thread or network
    use, and the same object works from sync code, any event loop and any thread.

    Example:
        >>> model = DockerModel("ai/smollm2", max_chars=2000)
        >>> model.generate("What is a container?").text  # doctest: +SKIP
        'A container is …'

    Args:
        model: The name, exactly as `docker model run` takes it.
        stop: Stop sequences; the earliest match ends the answer and is not part of it.
        max_chars: Ends the answer after so many characters. Over the CLI nothing else stops a
            small model that rambles. Reasoning has a limit of its own: twice as many
            characters, and at least 10,000.
        timeout: `Timeouts`, or a number of seconds for the whole call.
        max_concurrency: Runs at once in this process, among all models with the same
            command, environment and limit; the rest wait, first come first served.
        pull: `"never"`: a missing model is an error; `"missing"`: it is pulled first.
        on_progress: Called with the `Progress` of each call, on a thread of the library: a
            pull, the queue, loading, how much of the prompt is read (over HTTP), the first token,
            the speed. It must not block. Without it nothing of this is asked for.
        file_references: What happens to text in the prompt that names local files, which the
            CLI would read and send: `"escape"`, `"refuse"` or `"allow"`.
        standby: Started processes that wait for a prompt.
        command: The argv up to the subcommand, default `$DOCKER_MODEL_COMMAND` or `docker model`.
        env: Variables laid over the caller's environment; never shown.
        transport: `"cli"`, `"http"`, or `None`: the CLI, unless a setting is given that only
            HTTP can honor. Over HTTP the prompt arrives byte for byte, no local file is looked
            at, and there are no processes to keep in standby. The runner is found as the CLI
            finds it and at the usual addresses.
        base_url: The address of the HTTP API, in any of its usual spellings; only HTTP.
        api_key: Sent to an address that you named, and to none that was found; never shown.
            The runner itself needs none. Only HTTP.
        temperature: How freely the model chooses words; 0 is the likeliest each time. Only
            HTTP, as everything below.
        top_p: Choose among the likeliest words that add up to this probability.
        top_k: Choose among so many of the likeliest words.
        min_p: Leave out words less likely than this fraction of the likeliest one.
        seed: The same seed and request give the same answer, on the same engine.
        max_tokens: Ends the answer after so many tokens.
        presence_penalty: Makes words less likely that occurred already.
        frequency_penalty: Makes words less likely the more often they occurred.

    Raises:
        InvalidRequestError: If a setting cannot be used.
        UnsupportedParameterError: If `transport="cli"` is given with a setting that only HTTP
            can honor.
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
            raise InvalidRequestError(msg, hint="such as on_progress=print")
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
        given = ((name, getattr(self, name)) for name in SAMPLING)
        return {name: value for name, value in given if value is not None}

    @property
    def _http_settings(self) -> list[str]:
        """The names of the settings that only HTTP can honor."""
        named = (name for name in ("base_url", "api_key") if getattr(self, name) is not None)
        return [*named, *self._sampling]

    def _check_http(self) -> None:
        if self.transport == "cli":
            names = ", ".join(self._http_settings)
            msg = f"`docker model run` has no way to honor {names}: only the HTTP transport has"
            hint = 'leave transport="cli" out, or set transport="http"'
            if self.base_url is not None:
                hint += "; MODEL_RUNNER_HOST tells the CLI where the runner is"
            raise UnsupportedParameterError(msg, hint=hint)
        check_sampling(self._sampling)
        if self.base_url is not None or self.api_key is not None:
            from docker_model.http import Client

            Client(base_url=self.base_url, api_key=self.api_key)  # checks both

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def generate(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> Completion:
        """Answer `prompt`, and wait for the whole answer.

        Args:
            prompt: What the model reads. The CLI trims white space at its ends.
            stop: Stop sequences in place of the model's own.

        Raises:
            DockerModelError: If there is no answer; `docker_model.errors` has a class for each
                cause.
        """
        return self._calls().generate(prompt, stop)

    async def agenerate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None
    ) -> Completion:
        """Await `generate`; cancelling the call ends the run."""
        return await self._calls().generate_async(prompt, stop)

    def stream(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> TextStream:
        """Answer `prompt` piece by piece, as they arrive.

        The prompt is checked now, and the run starts when the first piece is asked for. Takes
        and raises what `generate` does; errors of a run are raised while iterating.
        """
        return self._calls().stream(prompt, stop)

    def astream(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> AsyncTextStream:
        """Answer `prompt` piece by piece, for `async for`; nothing is to be awaited first.

        Local files are looked for off the caller's loop, so a `FileReferenceError` is raised
        by the first piece.
        """
        return self._calls().stream_async(prompt, stop)

    def count_tokens(self, prompt: str) -> int:
        """Count the tokens of `prompt` with the model's chat template, as the engine does.

        Asks the runner over HTTP, whatever transport answers prompts, and loads the model.

        Raises:
            UnsupportedParameterError: If the HTTP API is not found, or `transport="cli"`.
            DockerModelError: If the runner or the engine refuses.
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
        """Load the model and fill the standby, so that the first answer comes at once.

        Raises:
            DockerModelError: If the model cannot be loaded.
        """
        self._calls().warm_up()

    async def awarm_up(self) -> None:
        """Await `warm_up`."""
        await self._calls().warm_up_async()

    def close(self) -> None:
        """End this model's standby processes; it is usable again afterwards.

        A run that goes on is not ended, and does not fill the standby again.
        """
        if self._engine is not None:
            self._engine.backend.close()

    async def aclose(self) -> None:
        """Do what `close` does, without waiting."""
        self.close()

    def _calls(self) -> Engine:
        """Return the engine, made by the first call: its module imports asyncio."""
        if self._engine is None:
            from docker_model._engine import Engine

            engine = Engine(
                backend=self._backend(),
                model=self.model,
                stop=cast("tuple[str, ...]", self.stop),  # `__post_init__` made it one
                max_chars=self.max_chars,
                timeouts=cast("Timeouts", self.timeout),
            )
            with _engine_lock:
                if self._engine is None:  # of two threads, one wins for both
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
            hint = 'leave transport="cli" out: counting takes the HTTP API where it is found'
            raise UnsupportedParameterError(msg, hint=hint)
        return self._client()


@contextlib.contextmanager
def _only_over_http() -> Iterator[None]:
    try:
        yield
    except RunnerUnavailableError as error:
        msg = "tokens are counted over HTTP, and the HTTP API was not found"
        hint = f"{error.hint}; a runner elsewhere is named by base_url"
        raise UnsupportedParameterError(msg, hint=hint, detail=str(error)) from error


_engine_lock = _thread.RLock()  # a signal handler may make a call while another is in here


_standby_models: dict[int, DockerModel] = {}


def standby_model_for(owner: object, model: DockerModel) -> DockerModel:
    """Return the same object for equal models, for as long as `owner` lives.

    Standby belongs to an object. An adapter makes its model anew for each call, so that an
    assignment to one of its fields takes effect; with standby, the model has to be the one of
    the call before.
    """
    key = id(owner)
    if not model.standby:
        _standby_models.pop(key, None)  # the processes of an earlier one end with it
        return model
    if key not in _standby_models:
        weakref.finalize(owner, _standby_models.pop, key, None).atexit = False
    if _standby_models.get(key) != model:
        _standby_models[key] = model
    return _standby_models[key]
