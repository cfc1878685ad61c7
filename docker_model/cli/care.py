"""Discovery and care of models: what `docker_model.models` waits for, on the I/O thread."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from docker_model.cli import asking, command, failures, listing
from docker_model.errors import DockerModelError, GenerationTimeoutError
from docker_model.info import ModelInfo, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from docker_model.cli.launch import Launch
    from docker_model.info import RunningModel
    from docker_model.process import Sink
    from docker_model.types import PullProgress


@dataclass(frozen=True, slots=True)
class Care:
    """Commands of one launch, each with the same limit in seconds (`None`: for ever)."""

    launch: Launch
    timeout: float | None

    async def list_models(self) -> list[ModelInfo]:
        """All models of the local store."""
        return listing.parse_models(await self._ask(command.list_argv(self.launch.prefix), "list"))

    async def inspect(self, name: str) -> ModelInfo:
        """One model."""
        async with self._limit("inspect"):
            return await self._inspect(name)

    async def list_running(self) -> list[RunningModel]:
        """The loaded models."""
        return listing.parse_running(await self._ask(command.ps_argv(self.launch.prefix), "ps"))

    async def pull(self, name: str, sink: Sink[PullProgress | ModelInfo]) -> None:
        """Put each step of a pull into `sink`, and last the model."""
        async with self._limit("pull"):
            sink.put(_model(name, await asking.pull(self.launch, name, sink.put)))

    async def preload(self, name: str) -> None:
        """Load a model that is there: `run --detach` would pull one that is not."""
        async with self._limit("run --detach"):
            await self._inspect(name)
            await asking.preload(self.launch, name)

    async def unload(self, name: str) -> None:
        """Unload a model."""
        await self._ask(command.unload_argv(self.launch.prefix, name), "unload", name)

    async def configure(self, name: str, context_size: int | None, mode: str | None) -> None:
        """Configure a model that is there: the CLI takes any name, and says nothing."""
        argv = command.configure_argv(
            self.launch.prefix, name, context_size=context_size, mode=mode
        )
        async with self._limit("configure"):
            await self._inspect(name)
            await asking.ask(self.launch, argv, about="configure", model=name)

    async def status(self) -> Status:
        """All that can be told of the runner, whatever of it is missing."""
        found, (version, engine) = await asyncio.gather(self._state(), self._version())
        return replace(found, version=version, engine=found.engine or engine)

    async def _state(self) -> Status:
        """The runner's state; why it is not running is part of it."""
        argv = command.status_argv(self.launch.prefix)
        try:
            found = listing.parse_status(await self._ask(argv, "status"))
        except DockerModelError as error:
            return Status(running=False, problem=str(error))
        return found if found.running else replace(found, problem=str(failures.not_running()))

    async def _version(self) -> tuple[str | None, str | None]:
        """The plugin's version and the kind of engine, where they can be told."""
        try:
            text = await self._ask(command.version_argv(self.launch.prefix), "version")
        except DockerModelError:
            return None, None
        return listing.parse_version(text)

    async def _inspect(self, name: str) -> ModelInfo:
        return _model(name, await asking.inspect(self.launch, name))

    async def _ask(self, argv: Sequence[str], about: str, model: str = "") -> str:
        async with self._limit(about):
            return await asking.ask(self.launch, argv, about=about, model=model)

    @contextlib.asynccontextmanager
    async def _limit(self, about: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError:
            msg = f"`docker model {about}` took longer than {self.timeout:g} s"
            hint = "raise timeout=; `docker info` shows whether Docker itself answers"
            raise GenerationTimeoutError(msg, hint=hint, phase="total") from None


def _model(name: str, inspected: str) -> ModelInfo:
    found = listing.parse_model(inspected)
    if found is None:
        raise failures.model_not_found(name)
    return found
