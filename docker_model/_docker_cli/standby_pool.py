"""Started runs that wait for a prompt, so that an answer need not wait for a start.

A started `docker model run` reads stdin to its end before it asks the runner anything, so a
child can be parked there. Each is used once. Whatever ends a parked child is a SIGKILL to
its group and never the end of its input, after which the CLI would go on, and might pull.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Self

from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from docker_model._docker_cli.run import RunCommand
    from docker_model._runtime import Child

MAX_AGE = 120.0  # seconds; the CLI has already chosen its context and read its configuration
BACK_OFF = 5.0  # seconds without refilling after a parked child has died by itself
_GAP = 0.05  # seconds between two starts, at least: about what one takes of a processor
_PROCESSORS = os.cpu_count() or 1


class StandbyOwner:
    """A model's wish for standby, until it is closed or collected.

    Attributes:
        count: How many runs it wants parked.
        open: False once closed; a run that began before must not fill the pool again.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.open = True


class StandbyProcess:
    """A started run that has not been given a prompt.

    Args:
        command: The command that was started.
    """

    child: Child

    def __init__(self, command: RunCommand) -> None:
        self.command = command
        self._noisy = False
        self._born = asyncio.get_running_loop().time()

    @classmethod
    async def start(cls, command: RunCommand, cwd: Callable[[], str]) -> Self:
        """Start one.

        Raises:
            DockerModelError: If it cannot be started.
        """
        parked = cls(command)
        parked.child = await command.start(cwd, parked._noise)
        return parked

    def _noise(self, _: bytes) -> None:
        self._noisy = True

    @property
    def fit(self) -> bool:
        """Whether it may be used: it lives, is young, and has printed nothing."""
        age = asyncio.get_running_loop().time() - self._born
        return self.child.silent and not self._noisy and age < MAX_AGE


class StandbyPool:
    """The parked runs of one model, command, environment and directory; on the I/O thread.

    Args:
        find_command: Finds the command of a run; the plugin may be replaced between two of them.
        cwd: The run's working directory.
    """

    def __init__(
        self, find_command: Callable[[], Awaitable[RunCommand]], cwd: Callable[[], str]
    ) -> None:
        self._find_command = find_command
        self._cwd = cwd
        self._parked: deque[StandbyProcess] = deque()
        self._owners: set[StandbyOwner] = set()
        self._running = 0
        self._refill: asyncio.TimerHandle | None = None
        self._replenishing: asyncio.Task[None] | None = None  # kept: a loop holds tasks weakly

    def hold(self, owner: StandbyOwner) -> None:
        """Keep runs parked until `owner` lets go."""
        if owner.open:
            self._owners.add(owner)

    def release(self, owner: StandbyOwner) -> bool:
        """End what nobody else wants parked; true when nobody wants anything."""
        self._owners.discard(owner)
        while len(self._parked) > self._target():
            self._parked.pop().child.kill()
        if self._owners:
            return False
        self._plan(None)
        return True

    def retain(self, usable: Callable[[RunCommand], bool]) -> None:
        """Kill the runs whose command is not usable any more."""
        for parked in self._parked:
            if not usable(parked.command):
                parked.child.kill()
        self._parked = deque(parked for parked in self._parked if usable(parked.command))

    def _target(self) -> int:
        return max((owner.count for owner in self._owners), default=0)

    def take(self) -> StandbyProcess | None:
        """The oldest parked run that is fit for use; from now on its caller's."""
        while self._parked:
            parked = self._parked.popleft()
            if parked.fit:
                return parked
            parked.child.kill()
        return None

    def begin(self) -> None:
        """A run begins: starting others would only slow it down."""
        self._running += 1

    def end(self) -> None:
        """It has ended."""
        self._running -= 1
        self.refill()

    def refill(self) -> None:
        """A run has said its first words, or has ended: there may be time for another start."""
        if len(self._parked) >= self._target():
            return
        gap = self._gap()
        now = asyncio.get_running_loop().time()
        # Only ever sooner: runs in quick succession must not put it off for ever.
        if self._refill is None or now + gap < self._refill.when():
            self._plan(gap)

    def _gap(self) -> float:
        """Seconds until the next start, which takes a processor from those who answer.

        The more of them there are, the less of it: a crowd is not to be slowed down by
        preparations for the next one.
        """
        return _GAP * max(1.0, self._running / _PROCESSORS)

    async def fill(self) -> None:
        """Park what is wanted, at once.

        Raises:
            DockerModelError: One cannot be started.
        """
        self._drop_unfit()
        while len(self._parked) < self._target():
            await self._park()
        self._plan(MAX_AGE if self._parked else None)

    async def _park(self) -> None:
        command = await self._find_command()
        self.retain(command.__eq__)  # others are of a plugin that was replaced
        parked = await StandbyProcess.start(command, self._cwd)
        if len(self._parked) < self._target():  # it may have been closed meanwhile
            self._parked.append(parked)
        else:
            parked.child.kill()

    async def _replenish(self) -> None:
        """Park one and come back for the next: a burst of starts would delay who is answering."""
        if self._drop_unfit():
            self._plan(BACK_OFF)  # something kills them, or they print: no race against it
            return
        try:
            if len(self._parked) < self._target():
                await self._park()
        except DockerModelError:
            self._plan(BACK_OFF)  # the next cold start will tell the caller why
        else:
            self._plan(self._gap() if len(self._parked) < self._target() else MAX_AGE)

    def _drop_unfit(self) -> bool:
        fit = deque(parked for parked in self._parked if parked.fit)
        died = False
        for parked in self._parked:
            if parked not in fit:
                died = died or not parked.child.silent
                parked.child.kill()
        self._parked = fit
        return died

    def _plan(self, delay: float | None) -> None:
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if delay is not None and self._owners:
            loop = asyncio.get_running_loop()
            self._refill = loop.call_later(delay, self._start_replenishing)

    def _start_replenishing(self) -> None:
        self._refill = None
        if self._replenishing is None or self._replenishing.done():
            self._replenishing = asyncio.get_running_loop().create_task(self._replenish())


class StandbyLease:
    """One run's dealings with a pool: a scope, which does nothing without a pool."""

    def __init__(self, pool: StandbyPool | None) -> None:
        self._pool = pool

    def __enter__(self) -> Self:
        if self._pool is not None:
            self._pool.begin()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.end()

    def take(self) -> StandbyProcess | None:
        """A parked run, if there is one."""
        return None if self._pool is None else self._pool.take()

    def refill(self) -> None:
        """The run speaks: see `StandbyPool.refill`."""
        if self._pool is not None:
            self._pool.refill()
