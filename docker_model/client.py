"""`DockerModel`: the only door for the adapters."""

from __future__ import annotations

import _thread
import weakref
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_args

from docker_model._transport.environment import Environment
from docker_model._transport.model_names import check_model_name
from docker_model.errors import InvalidRequestError, UnsupportedParameterError
from docker_model.options import FileReferences, PullPolicy, Timeouts, TransportName, stop_sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model._engine import Backend, Engine
    from docker_model.streams import AsyncTextStream, TextStream
    from docker_model.types import Completion, PullProgress

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

    Args:
        model: The name, exactly as `docker model run` takes it.
        stop: Stop sequences; the earliest match ends the answer and is no part of it.
        max_chars: Ends the answer after so many characters, since nothing else caps a small
            model that rambles.
        timeout: `Timeouts`, or a number of seconds for the whole call.
        max_concurrency: Runs at once in this process, among all models with the same
            command, environment and limit; the rest wait, first come first served.
        pull: `"never"`: a missing model raises; `"missing"`: it is pulled first.
        on_progress: Told of a pull's progress, on a thread of the library: it must not block.
        file_references: What becomes of text in the prompt that names local files, which the
            CLI would read and send: `"escape"`, `"refuse"` or `"allow"`.
        standby: Started processes kept waiting for a prompt.
        command: The argv up to the subcommand, default `$DOCKER_MODEL_COMMAND` or `docker model`.
        env: Variables laid over the caller's environment; never shown.
        transport: `"cli"`, `"http"`, or `None`: the CLI, unless `base_url` or `api_key` is
            given. Over HTTP a prompt arrives byte for byte and no local file is looked at,
            there are no processes to keep in standby, and the runner is found as the CLI
            finds it and in the usual places.
        base_url: The HTTP API's address, in any of its usual spellings.
        api_key: Sent to an address that you have named, and to none that was found; never
            shown. The runner itself wants none.

    Raises:
        InvalidRequestError: A setting that cannot be.
        UnsupportedParameterError: `transport="cli"` with a setting of the other's.
    """

    model: str
    _: KW_ONLY
    stop: str | Sequence[str] | None = ()
    max_chars: int | None = None
    timeout: Timeouts | float | None = Timeouts()  # noqa: RUF009  it is frozen
    max_concurrency: int = 8
    pull: PullPolicy = "never"
    on_progress: Callable[[PullProgress], object] | None = field(
        default=None, repr=False, hash=False
    )
    file_references: FileReferences = "escape"
    standby: int = 0
    command: str | Sequence[str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    transport: TransportName | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._set("_engine", None)
        check_model_name(self.model)
        self._set("stop", stop_sequences(self.stop))
        self._set("timeout", Timeouts.of(self.timeout))
        if self.env is not None:
            self._set("env", Environment.of(self.env))
        if self.command is not None:
            from docker_model._docker_cli.command import split_command

            words = split_command(self.command, {})
            self._set("command", self.command if isinstance(self.command, str) else words)
        if self.on_progress is not None and not callable(self.on_progress):
            msg = f"on_progress must be a function, not {self.on_progress!r}"
            raise InvalidRequestError(msg)
        _check_count("max_chars", self.max_chars, least=1)
        _check_count("max_concurrency", self.max_concurrency, least=1)
        _check_count("standby", self.standby, least=0)
        _check_choice("pull", self.pull, get_args(PullPolicy))
        _check_choice("file_references", self.file_references, get_args(FileReferences))
        _check_choice("transport", self.transport, (None, *get_args(TransportName)))
        if self.base_url is not None or self.api_key is not None:
            self._check_http()

    def _check_http(self) -> None:
        if self.transport == "cli":
            given = "base_url" if self.base_url is not None else "api_key"
            msg = f"{given} is for the HTTP transport"
            hint = 'leave transport="cli" out; MODEL_RUNNER_HOST tells the CLI where the runner is'
            raise UnsupportedParameterError(msg, hint=hint)
        from docker_model.http import Client

        Client(base_url=self.base_url, api_key=self.api_key)  # looks at both

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def generate(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> Completion:
        """Answer `prompt`, waiting for the whole answer.

        Args:
            prompt: What the model is to read. The CLI takes white space off its ends.
            stop: Stop sequences in the place of the model's own.

        Raises:
            DockerModelError: See `docker_model.errors` for what each class means.
        """
        return self._calls().generate(prompt, stop)

    async def agenerate(
        self, prompt: str, *, stop: str | Sequence[str] | None = None
    ) -> Completion:
        """The same, awaited; cancelling the call ends the run."""
        return await self._calls().generate_async(prompt, stop)

    def stream(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> TextStream:
        """Answer `prompt` piece by piece, as they arrive.

        The run starts when the first piece is asked for; the prompt is checked now.
        Takes and raises what `generate` does; a run's errors are raised while iterating.
        """
        return self._calls().stream(prompt, stop)

    def astream(self, prompt: str, *, stop: str | Sequence[str] | None = None) -> AsyncTextStream:
        """The same for `async for`; no coroutine, so there is nothing to await.

        Local files are looked for off the caller's loop, so that a `FileReferenceError` is
        raised by the first piece.
        """
        return self._calls().stream_async(prompt, stop)

    def warm_up(self) -> None:
        """Load the model (and fill the standby), so that the first answer comes at once.

        Raises:
            DockerModelError: See `docker_model.errors`.
        """
        self._calls().warm_up()

    async def awarm_up(self) -> None:
        """The same, awaited."""
        await self._calls().warm_up_async()

    def close(self) -> None:
        """End this model's standby processes; it is usable again afterwards.

        A run that goes on is not ended, and does not fill the standby again.
        """
        if self._engine is not None:
            self._engine.backend.close()

    async def aclose(self) -> None:
        """The same; nothing is awaited."""
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
        if self.transport == "http" or self.base_url is not None or self.api_key is not None:
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


_engine_lock = _thread.RLock()  # a signal handler may make a call while another is in here


_standby_models: dict[int, DockerModel] = {}


def standby_model_for(owner: object, model: DockerModel) -> DockerModel:
    """The same object for equal models, for as long as `owner` lives.

    Standby belongs to an object. An adapter makes its model anew for each call, so that it
    never misses an assignment to its fields; with standby, it has to be the one of before.
    """
    key = id(owner)
    if not model.standby:
        _standby_models.pop(key, None)  # it had one: those processes end with their model
        return model
    if key not in _standby_models:
        weakref.finalize(owner, _standby_models.pop, key, None).atexit = False
    if _standby_models.get(key) != model:
        _standby_models[key] = model
    return _standby_models[key]


def _check_count(name: str, value: object, *, least: int) -> None:
    if value is None and name == "max_chars":
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        msg = f"{name} must be a whole number of at least {least}, not {value!r}"
        raise InvalidRequestError(msg)


def _check_choice(name: str, value: object, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"
        raise InvalidRequestError(msg)
