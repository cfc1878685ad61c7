"""Processes that are started in advance and wait for a prompt.

`docker model run` reads stdin to its end before it sends a request, so a process can wait
there. Each process answers one prompt. An unused process is always killed without closing its
stdin: at the end of stdin, the CLI would send a request, and could pull a model.
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

MAX_AGE = 120.0  # seconds; limits the use of an outdated Docker context and configuration
BACK_OFF = 5.0  # seconds without a start after a standby process has exited or failed
_GAP = 0.05  # seconds; the minimum time between two starts, each of which takes 25 to 60 ms of CPU
_PROCESSORS = os.cpu_count() or 1


class StandbyOwner:
    """The standby setting of a model, until the model is closed or garbage-collected.

    Attributes:
        count: The number of standby processes.
        open: False after the model is closed. An earlier run must not refill the pool then.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.open = True


class StandbyProcess:
    """A started run that has not received a prompt.

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
            DockerModelError: If the run cannot be started.
        """
        parked = cls(command)
        parked.child = await command.start(cwd, parked._noise)
        return parked

    def _noise(self, _: bytes) -> None:
        self._noisy = True

    @property
    def fit(self) -> bool:
        """Whether the process can be used: it is alive, not too old, and has printed nothing."""
        age = asyncio.get_running_loop().time() - self._born
        return self.child.silent and not self._noisy and age < MAX_AGE


class StandbyPool:
    """The standby processes of one model, command and directory, on the I/O thread.

    Args:
        find_command: Returns the command of a run; called for each start because the plugin can
            be replaced.
        cwd: Returns the working directory of a run.
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
        self._replenishing: asyncio.Task[None] | None = None  # a strong reference to the task

    def hold(self, owner: StandbyOwner) -> None:
        """Keep processes ready for `owner`, until it is released."""
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
        """Kill the standby processes with a command that is no longer usable."""
        for parked in self._parked:
            if not usable(parked.command):
                parked.child.kill()
        self._parked = deque(parked for parked in self._parked if usable(parked.command))

    def _target(self) -> int:
        return max((owner.count for owner in self._owners), default=0)

    def take(self) -> StandbyProcess | None:
        """Remove and return the oldest usable process; `None` if there is none."""
        while self._parked:
            parked = self._parked.popleft()
            if parked.fit:
                return parked
            _discard(parked)
        return None

    def begin(self) -> None:
        """Count a run that begins. The number of runs determines the time between starts."""
        self._running += 1

    def end(self) -> None:
        """Count a run that has ended, and schedule the next start."""
        self._running -= 1
        self.refill()

    def refill(self) -> None:
        """Schedule the next start, after the first output or the end of a run."""
        if len(self._parked) >= self._target():
            return
        gap = self._gap()
        now = asyncio.get_running_loop().time()
        # Never postpone a start: runs in quick succession would postpone it indefinitely.
        if self._refill is None or now + gap < self._refill.when():
            self._plan(gap)

    def _gap(self) -> float:
        """Return the seconds until the next start.

        A start takes CPU time from active runs, so the time between starts grows with their
        number.
        """
        return _GAP * max(1.0, self._running / _PROCESSORS)

    async def fill(self) -> None:
        """Start all standby processes without delays.

        Raises:
            DockerModelError: If a process cannot be started.
        """
        self._drop_unfit()
        while len(self._parked) < self._target():
            await self._park()
        self._plan(MAX_AGE if self._parked else None)

    async def _park(self) -> None:
        command = await self._find_command()
        self.retain(command.__eq__)  # other commands belong to a plugin that was replaced
        parked = await StandbyProcess.start(command, self._cwd)
        if len(self._parked) < self._target():  # the owner can be released during the start
            self._parked.append(parked)
        else:
            parked.child.kill()

    async def _replenish(self) -> None:
        """Start one process, and schedule the next; parallel starts would delay active runs."""
        if self._drop_unfit():
            self._plan(BACK_OFF)
            return
        try:
            if len(self._parked) < self._target():
                await self._park()
        except DockerModelError:
            self._plan(BACK_OFF)  # the next call raises the error
        else:
            self._plan(self._gap() if len(self._parked) < self._target() else MAX_AGE)

    def _drop_unfit(self) -> bool:
        """Remove unusable processes; return whether one of them has failed."""
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
    """Kill an unusable process; return whether it has failed and is not just too old."""
    failed = not parked.child.silent
    if failed:
        LOG.info("a standby process ended or printed an error before it was used")
    parked.child.kill()
    return failed


class StandbyLease:
    """A context manager for the use of a pool by one run; the pool can be `None`."""

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
        """Return a usable process, or `None`."""
        return None if self._pool is None else self._pool.take()

    def refill(self) -> None:
        """Schedule the next start, after the first output of the run."""
        if self._pool is not None:
            self._pool.refill()
