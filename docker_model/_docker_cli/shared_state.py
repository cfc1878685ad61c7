"""State that all runs of this process share: the models found, and the standby pools."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from docker_model._docker_cli import management
from docker_model._docker_cli.run import RunCommand
from docker_model._docker_cli.standby_pool import StandbyPool
from docker_model._runtime import io_thread
from docker_model._runtime.tasks import SingleFlight
from docker_model._transport.log import LOG

if TYPE_CHECKING:
    from collections.abc import Hashable

    from docker_model._docker_cli.command_spec import CommandSpec, Program
    from docker_model._docker_cli.plugin_file import PluginFile
    from docker_model._docker_cli.standby_pool import StandbyOwner
    from docker_model._docker_cli.workdir import Workdir


class Presence:
    """Remembers which models were found. Missing models are not remembered."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def known(self, spec: CommandSpec, model: str) -> bool:
        """Whether a check that found the model is still valid."""
        return self._until.get((spec, model), 0.0) > asyncio.get_running_loop().time()

    def remember(self, spec: CommandSpec, model: str, since: float, seconds: float) -> None:
        """Store for `seconds` that the model was found at `since`, on the loop's clock."""
        key = spec, model
        self._until[key] = max(since + seconds, self._until.get(key, 0.0))

    def forget(self, spec: CommandSpec, model: str) -> None:
        """Discard the entry of a model that is missing."""
        self._until.pop((spec, model), None)


class SharedState:
    """The state that all runs of this process share. Only the I/O thread uses it."""

    def __init__(self) -> None:
        self.presence = Presence()
        self._single_flight = SingleFlight()
        # Programs without `--color` (before v0.1.41). An updated plugin has a new `PluginFile`.
        self._colorless: set[PluginFile | Program] = set()
        self._pools: dict[tuple[CommandSpec, str, Workdir], StandbyPool] = {}

    async def require_model(self, spec: CommandSpec, model: str, seconds: float) -> None:
        """Check that a model is present, unless it was found recently.

        Calls that wait for the same model share one check.

        Args:
            spec: The command of the check.
            model: The model name.
            seconds: How long the result is valid.

        Raises:
            ModelNotFoundError: If the model is missing.
        """
        if self.presence.known(spec, model):
            return
        asked_at = asyncio.get_running_loop().time()
        await self._single_flight.do((spec, model), lambda: management.check_pulled(spec, model))
        self.presence.remember(spec, model, asked_at, seconds)

    async def run_command(self, spec: CommandSpec, model: str) -> RunCommand:
        """Return the command that runs `model`, with the flags that its program supports."""
        program = await spec.program()
        color = (program.plugin or program) not in self._colorless
        return RunCommand(program, model, color)

    async def detect_color(self, spec: CommandSpec, model: str) -> None:
        """Check whether an old program supports `--color`, before standby processes start."""
        command = await self.run_command(spec, model)
        if command.color and not await management.supports_color(spec):
            self.disable_color(command)

    def disable_color(self, command: RunCommand) -> None:
        """Start the program without `--color` from now on; remove its failed standby processes."""
        LOG.info("%s does not support --color, and is started without it", command.program.argv[0])
        self._colorless.add(command.program.plugin or command.program)
        for pool in self._pools.values():
            pool.retain(lambda parked: parked.program != command.program)

    def pool(
        self, spec: CommandSpec, model: str, cwd: Workdir, owner: StandbyOwner | None
    ) -> StandbyPool | None:
        """Return the standby pool of a model, and register `owner`; `None` without an owner."""
        if owner is None:
            return None
        pool = self._pools.get((spec, model, cwd))
        if pool is None:
            pool = StandbyPool(partial(self.run_command, spec, model), cwd)
            self._pools[spec, model, cwd] = pool
        pool.hold(owner)
        return pool

    def release(self, owner: StandbyOwner) -> None:
        """Kill the standby processes that no other owner needs."""
        owner.open = False
        for key, pool in list(self._pools.items()):
            if pool.release(owner):
                del self._pools[key]


def release(owner: StandbyOwner) -> None:
    """Release a model's standby processes; for any thread or finalizer, never blocks."""
    thread = io_thread.started()
    if thread is not None:
        thread.post(lambda: thread.local(SharedState).release(owner))
