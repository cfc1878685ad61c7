"""What a `DockerModel` does when it is called.

A module of its own, imported by the first call: it takes asyncio along, which nobody who
only makes models should wait for. All imports are up here, and not in the functions: after
a pause, looking them up costs a tenth of a millisecond.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, cast

from docker_model.cli import transport as cli
from docker_model.cli.environment import picture
from docker_model.cli.launch import Launch
from docker_model.cli.prompt import check_prompt
from docker_model.cli.standby import Holder
from docker_model.cli.workdir import working_directory
from docker_model.latest import Latest
from docker_model.options import stops
from docker_model.process import Stream, call, io
from docker_model.streams import AsyncTextStream, TextStream
from docker_model.transport import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from docker_model.cli.workdir import Workdir
    from docker_model.client import DockerModel
    from docker_model.options import Timeouts
    from docker_model.process import Sink
    from docker_model.transport import Receiver, Transport
    from docker_model.types import Completion, Event


def generate(model: DockerModel, prompt: str, stop: str | Sequence[str] | None) -> Completion:
    """See `DockerModel.generate`."""
    transport, request = prepare(model, prompt, stop)
    return call.run(transport.generate(transport.admit(request), _Nowhere()))


async def agenerate(
    model: DockerModel, prompt: str, stop: str | Sequence[str] | None
) -> Completion:
    """See `DockerModel.agenerate`."""
    return await call.arun(_admitted(*prepare(model, prompt, stop), _Nowhere()))


def stream(model: DockerModel, prompt: str, stop: str | Sequence[str] | None) -> TextStream:
    """See `DockerModel.stream`."""
    transport, request = prepare(model, prompt, stop)
    request = transport.admit(request)

    async def produce(sink: Sink[Event]) -> None:
        sink.put(await transport.generate(request, sink), last=True)

    return TextStream(Stream(produce))


def astream(model: DockerModel, prompt: str, stop: str | Sequence[str] | None) -> AsyncTextStream:
    """See `DockerModel.astream`."""
    transport, request = prepare(model, prompt, stop)

    async def produce(sink: Sink[Event]) -> None:
        sink.put(await _admitted(transport, request, sink), last=True)

    return AsyncTextStream(Stream(produce))


def warm_up(model: DockerModel) -> None:
    """See `DockerModel.warm_up`."""
    call.run(_transport(model).warm_up(model.model))


async def awarm_up(model: DockerModel) -> None:
    """See `DockerModel.awarm_up`."""
    await call.arun(_transport(model).warm_up(model.model))


def release(model: DockerModel) -> None:
    """See `DockerModel.close`."""
    live = _live(model)
    live.pop("transport", None)  # which has the claim
    holder = live.pop("holder", None)
    if holder is not None:
        cli.release(holder)


def prepare(
    model: DockerModel, prompt: str, stop: str | Sequence[str] | None
) -> tuple[Transport, Request]:
    """Check all that a call was given, before anything starts."""
    check_prompt(prompt)
    request = Request(
        model=model.model,
        prompt=prompt,
        # The model's own were checked and brought into this form when it was made.
        stop=cast("tuple[str, ...]", model.stop) if stop is None else stops(stop),
        max_chars=model.max_chars,
        timeouts=cast("Timeouts", model.timeout),
    )
    return _transport(model), request


def _transport(model: DockerModel) -> Transport:
    """The model's transport for the environment and the directory as they are now.

    Mostly that of the call before: to make it anew takes longer than the rest of what is done
    before a call is under way.
    """
    http = model.transport == "http" or model.base_url is not None or model.api_key is not None
    cwd = None if http else working_directory(model.file_references)
    latest: Latest[Transport] = _live(model).setdefault("transport", Latest())
    return latest.get(
        (picture(), cwd), lambda: _over_http(model) if cwd is None else _over_cli(model, cwd)
    )


def _over_http(model: DockerModel) -> Transport:
    from docker_model.http import Client  # httpcore, which the command does without

    return Client(
        base_url=model.base_url,
        api_key=model.api_key,
        timeout=model.timeout,
        max_concurrency=model.max_concurrency,
        pull=model.pull,
        on_progress=model.on_progress,
        command=model.command,
        env=model.env,
    ).transport()


def _over_cli(model: DockerModel, cwd: Workdir) -> Transport:
    return cli.CliTransport(
        launch=Launch.of(model.command, model.env),
        file_references=model.file_references,
        cwd=cwd,
        max_concurrency=model.max_concurrency,
        pull=model.pull,
        on_progress=model.on_progress,
        holder=_holder(model) if model.standby else None,
    )


def _holder(model: DockerModel) -> Holder:
    """The object's claim to standby; given up by `close` and when it is collected."""
    live = _live(model)
    holder = live.get("holder")
    if holder is None:
        # One of two racing threads wins, for both.
        holder = live.setdefault("holder", Holder(model.standby))
        weakref.finalize(model, cli.release, holder).atexit = False
    assert isinstance(holder, Holder)
    return holder


def _live(model: DockerModel) -> dict[str, Any]:
    return model._live  # noqa: SLF001  ours to fill: see there


async def _admitted(transport: Transport, request: Request, receiver: Receiver) -> Completion:
    """Admit and answer a request, without holding up the I/O thread or the caller's loop."""
    if transport.blocks(request):
        request = await io.current().blocking(lambda: transport.admit(request), lambda _: None)
    return await transport.generate(request, receiver)


class _Nowhere:
    """Takes the pieces of an answer that is wanted whole; never full."""

    def __init__(self) -> None:
        self.on_full: Callable[[], object] = int
        self.on_drained: Callable[[], object] = int

    def put(self, piece: object, size: int, /) -> None:
        pass
