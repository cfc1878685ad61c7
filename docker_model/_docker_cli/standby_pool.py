"""Started runs that wait for a prompt, so that an answer need not wait for a start.

A started `docker model run` reads stdin to its end before it asks the runner anything, so a
process can wait there. Each is used once. An unused one is always killed, and its input never
closed: at the end of its input the CLI would go on, and might pull a model.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Self

from docker_model._transport.log import LOG
from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from docker_model._docker_cli.run import RunCommand
    from docker_model._runtime import Child

MAX_AGE = 120.0  # seconds; the CLI has already chosen its context and read its configuration
BACK_OFF = 5.0  # seconds without refilling after a standby process has ended by itself
_GAP = 0.05  # seconds between two starts, at least; one takes 25 to 60 ms of a processor
_PROCESSORS = os.cpu_count() or 1


class StandbyOwner:
    """A model's claim to standby, until the model is closed or collected.

    Attributes:
        count: The number of standby processes that it wants.
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
        """Start a run.

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
        """Whether it may be used: it is alive, young, and has printed nothing."""
        age = asyncio.get_running_loop().time() - self._born
        return self.child.silent and not self._noisy and age < MAX_AGE


class StandbyPool:
    """The standby processes of one model, command and directory; on the I/O thread.

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
        """Keep processes for `owner`, until it is released."""
        if owner.open:
            self._owners.add(owner)

    def release(self, owner: StandbyOwner) -> bool:
        """Kill surplus standby processes. Return True if the pool has no owners left."""
        self._owners.discard(owner)
        while len(self._parked) > self._target():
            self._parked.pop().child.kill()
        if self._owners:
            return False
        self._plan(None)
        return True

    def retain(self, usable: Callable[[RunCommand], bool]) -> None:
        """Kill the standby processes whose command cannot be used any more."""
        for parked in self._parked:
            if not usable(parked.command):
                parked.child.kill()
        self._parked = deque(parked for parked in self._parked if usable(parked.command))

    def _target(self) -> int:
        return max((owner.count for owner in self._owners), default=0)

    def take(self) -> StandbyProcess | None:
        """Return the oldest process that may be used, which the caller owns from now on."""
        while self._parked:
            parked = self._parked.popleft()
            if parked.fit:
                return parked
            _discard(parked)
        return None

    def begin(self) -> None:
        """Count a run that begins; starts would slow it down."""
        self._running += 1

    def end(self) -> None:
        """Count a run that has ended, and plan the next start."""
        self._running -= 1
        self.refill()

    def refill(self) -> None:
        """Plan the next start, after a run has given its first output or has ended."""
        if len(self._parked) >= self._target():
            return
        gap = self._gap()
        now = asyncio.get_running_loop().time()
        # Never later: runs in quick succession must not put the start off for ever.
        if self._refill is None or now + gap < self._refill.when():
            self._plan(gap)

    def _gap(self) -> float:
        """Return the seconds until the next start.

        A start takes a processor from the runs that answer, so the gap grows with their number.
        """
        return _GAP * max(1.0, self._running / _PROCESSORS)

    async def fill(self) -> None:
        """Start all standby processes at once.

        Raises:
            DockerModelError: If one cannot be started.
        """
        self._drop_unfit()
        while len(self._parked) < self._target():
            await self._park()
        self._plan(MAX_AGE if self._parked else None)

    async def _park(self) -> None:
        command = await self._find_command()
        self.retain(command.__eq__)  # others are of a plugin that was replaced
        parked = await StandbyProcess.start(command, self._cwd)
        if len(self._parked) < self._target():  # the owner may have been released meanwhile
            self._parked.append(parked)
        else:
            parked.child.kill()

    async def _replenish(self) -> None:
        """Start one process, and plan the next start: many at once would delay other runs."""
        if self._drop_unfit():
            self._plan(BACK_OFF)
            return
        try:
            if len(self._parked) < self._target():
                await self._park()
        except DockerModelError:
            self._plan(BACK_OFF)  # the next call raises the reason
        else:
            self._plan(self._gap() if len(self._parked) < self._target() else MAX_AGE)

    def _drop_unfit(self) -> bool:
        """Drop the processes that may not be used; true if one of them has failed."""
        unfit = [parked for parked in self._parked if not parked.fit]
        self._parked = deque(parked for parked in self._parked if parked not in unfit)
        failed = [parked for parked in unfit if _discard(parked)]
        return bool(failed)

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


def _discard(parked: StandbyProcess) -> bool:
    """Kill a process that may not be used; true if it has failed, rather than become too old."""
    failed = not parked.child.silent
    if failed:
        LOG.info("a standby process ended or printed an error before it was used")
    parked.child.kill()
    return failed


class StandbyLease:
    """The use that one run makes of a pool: a context manager, which may have no pool."""

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
        """Return a process that may be used, if there is one."""
        return None if self._pool is None else self._pool.take()

    def refill(self) -> None:
        """Plan the next start, after the first output of the run."""
        if self._pool is not None:
            self._pool.refill()
