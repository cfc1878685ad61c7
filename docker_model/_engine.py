"""The calls of a `DockerModel`: from a prompt to a completion or a stream.

The first call imports this module, because it imports asyncio. `Engine` has the settings of a
model, but no reference to the `DockerModel`.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._docker_cli.prompt_guard import check_prompt
from docker_model._docker_cli.request import RunOptions
from docker_model._docker_cli.shared_state import release
from docker_model._docker_cli.standby_pool import StandbyOwner
from docker_model._docker_cli.transport import CliTransport
from docker_model._docker_cli.workdir import working_directory
from docker_model._runtime import Stream, io_thread, tasks
from docker_model._transport.environment import environ_snapshot
from docker_model._transport.memo import MemoLast
from docker_model._transport.protocol import NullReceiver, Request
from docker_model.options import stop_sequences
from docker_model.streams import AsyncTextStream, TextStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model._runtime import Sink
    from docker_model._transport.protocol import Receiver, Transport
    from docker_model.http import Client
    from docker_model.options import FileReferences, PullPolicy, Timeouts
    from docker_model.types import Completion, Event, Progress


class Backend(Protocol):
    """A transport with its settings: the CLI or HTTP."""

    def transport(self) -> Transport:
        """Return the transport for the current environment and directory."""

    def close(self) -> None:
        """Release the resources that are kept between calls; the backend remains usable."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The calls of one model.

    Attributes:
        backend: The transport and its settings.
        model: The model name.
        stop: The stop sequences of calls without their own.
        max_chars: The maximum length of an answer in characters; `None` for no limit.
        timeouts: The time limit of each phase.
    """

    backend: Backend
    model: str
    stop: tuple[str, ...]
    max_chars: int | None
    timeouts: Timeouts

    def generate(self, prompt: str, stop: str | Sequence[str] | None) -> Completion:
        """Answer `prompt`, and return the complete answer."""
        transport, request = self.request(prompt, stop)
        return tasks.run_blocking(transport.generate(transport.prepare(request), NullReceiver()))

    async def generate_async(self, prompt: str, stop: str | Sequence[str] | None) -> Completion:
        """Await `generate`."""
        transport, request = self.request(prompt, stop)
        return await tasks.run_async(_prepare_and_generate(transport, request, NullReceiver()))

    def stream(self, prompt: str, stop: str | Sequence[str] | None) -> TextStream:
        """Return the stream of an answer, for `for`."""
        transport, request = self.request(prompt, stop)
        prepared = transport.prepare(request)

        async def produce(sink: Sink[Event]) -> None:
            sink.put(await transport.generate(prepared, sink), last=True)

        return TextStream(Stream(produce))

    def stream_async(self, prompt: str, stop: str | Sequence[str] | None) -> AsyncTextStream:
        """Return the stream of an answer, for `async for`."""
        transport, request = self.request(prompt, stop)

        async def produce(sink: Sink[Event]) -> None:
            sink.put(await _prepare_and_generate(transport, request, sink), last=True)

        return AsyncTextStream(Stream(produce))

    def warm_up(self) -> None:
        """Load the model and start the standby processes."""
        tasks.run_blocking(self.backend.transport().warm_up(self.model))

    async def warm_up_async(self) -> None:
        """Await `warm_up`."""
        await tasks.run_async(self.backend.transport().warm_up(self.model))

    def request(self, prompt: str, stop: str | Sequence[str] | None) -> tuple[Transport, Request]:
        """Validate the arguments of a call, and return its transport and request.

        Raises:
            InvalidRequestError: If the prompt or a stop sequence is invalid.
        """
        check_prompt(prompt)
        request = Request(
            model=self.model,
            prompt=prompt,
            stop=self.stop if stop is None else stop_sequences(stop),
            max_chars=self.max_chars,
            timeouts=self.timeouts,
        )
        return self.backend.transport(), request


@dataclass(frozen=True, slots=True)
class HttpBackend:
    """The runner's HTTP API, and the settings of each request.

    Attributes:
        client: The HTTP client.
        parameters: The sampling parameters.
        before: The messages before the prompt.
        images: The URLs of images to send with the prompt.
    """

    client: Client
    parameters: Mapping[str, Any]
    before: tuple[Mapping[str, Any], ...] = ()
    images: tuple[str, ...] = ()

    def transport(self) -> Transport:
        """Return the transport for the current environment."""
        return self.client.transport(self.parameters, self.before, self.images)

    def close(self) -> None:
        """Do nothing: over HTTP there are no processes to end."""


class CliBackend:
    """The settings of `docker model run`, and the standby processes that belong to one model."""

    def __init__(
        self,
        *,
        command: str | Sequence[str] | None,
        env: Mapping[str, str] | None,
        file_references: FileReferences,
        max_concurrency: int,
        pull: PullPolicy,
        on_progress: Callable[[Progress], object] | None,
        standby: int,
    ) -> None:
        self._command = command
        self._env = env
        self._file_references = file_references
        self._max_concurrency = max_concurrency
        self._pull = pull
        self._on_progress = on_progress
        self._standby = standby
        self._owner: StandbyOwner | None = None
        self._last: MemoLast[Transport] = MemoLast()

    def transport(self) -> Transport:
        """Return the transport of the previous call, or a new one if its inputs have changed.

        Creating a transport is the slowest step before a call.
        """
        cwd = working_directory(self._file_references)
        owner = self._own_standby()
        return self._last.get(
            (environ_snapshot(), cwd, owner),
            lambda: CliTransport(
                RunOptions(
                    spec=CommandSpec.of(self._command, self._env),
                    cwd=cwd,
                    max_concurrency=self._max_concurrency,
                    pull=self._pull,
                    on_progress=self._on_progress,
                    owner=owner,
                ),
                self._file_references,
            ),
        )

    def close(self) -> None:
        """End the standby processes; active runs do not start new ones."""
        owner, self._owner = self._owner, None
        if owner is not None:
            release(owner)

    def _own_standby(self) -> StandbyOwner | None:
        """Return the standby owner of this object, released by `close` or garbage collection."""
        if self._standby and self._owner is None:
            owner = StandbyOwner(self._standby)
            weakref.finalize(self, release, owner).atexit = False
            self._owner = owner
        return self._owner


async def _prepare_and_generate(
    transport: Transport, request: Request, receiver: Receiver
) -> Completion:
    """Prepare and answer a request without blocking the I/O thread or the caller's loop."""
    if transport.needs_file_check(request):
        request = await io_thread.current().run_in_worker(
            lambda: transport.prepare(request), lambda _: None
        )
    return await transport.generate(request, receiver)
