"""Started runs that wait for a prompt, so that an answer need not wait for a start.

A started `docker model run` reads stdin to its end before it asks the runner anything, so a
child can be parked there. Each is used once. Whatever ends a parked child is a SIGKILL to
its group and never the end of its input, after which the CLI would go on, and might pull.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING

from docker_model.process import Child

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.cli.launch import Launch

MAX_AGE = 120.0  # seconds; the CLI has already chosen its context and read its configuration
BACK_OFF = 5.0  # seconds without refilling after a parked child has died by itself
_GAP = 0.05  # seconds between two starts, about what one of them takes of a processor
_PROCESSORS = os.cpu_count() or 1


class _Parked:
    """A started run that has not been given a prompt."""

    def __init__(self, launch: Launch, argv: Sequence[str], cwd: str) -> None:
        self._noisy = False
        self._born = asyncio.get_running_loop().time()
        self.child = Child(argv, env=launch.env, cwd=cwd, on_stdout=self._noise)

    def _noise(self, data: bytes) -> None:
        self._noisy = True

    @property
    def fit(self) -> bool:
        """Whether it may be used: it lives, is young, and has printed nothing."""
        age = asyncio.get_running_loop().time() - self._born
        return self.child.silent and not self._noisy and age < MAX_AGE


class Shelf:
    """The parked runs of one command line, environment and directory; on the I/O thread.

    Args:
        launch: Command and environment.
        argv: The run's whole command.
        cwd: The run's working directory.
    """

    def __init__(self, launch: Launch, argv: Sequence[str], cwd: str) -> None:
        self._launch = launch
        self._argv = argv
        self._cwd = cwd
        self._parked: deque[_Parked] = deque()
        self._wanted: dict[object, int] = {}
        self._busy = 0
        self._refill: asyncio.TimerHandle | None = None

    def hold(self, holder: object, count: int) -> None:
        """Keep `count` runs parked until `holder` lets go."""
        self._wanted[holder] = count

    def release(self, holder: object) -> None:
        """End what nobody else wants parked."""
        self._wanted.pop(holder, None)
        while len(self._parked) > self._target():
            self._parked.pop().child.kill_group()
        if not self._wanted:
            self._plan(None)

    def _target(self) -> int:
        return max(self._wanted.values(), default=0)

    def take(self) -> Child | None:
        """The oldest parked run that is fit for use; from now on its caller's."""
        while self._parked:
            parked = self._parked.popleft()
            if parked.fit:
                return parked.child
            parked.child.kill_group()
        return None

    def begin(self) -> None:
        """A run begins: starting others would only slow it down."""
        self._busy += 1

    def settle(self) -> None:
        """A run has said its first words, or has ended: there may be time to refill."""
        self._busy -= 1
        if self._busy < _PROCESSORS and len(self._parked) < self._target():
            self._plan(0.0)

    def fill(self) -> None:
        """Park what is wanted, at once.

        Raises:
            OSError: One cannot be started.
        """
        self._drop_unfit()
        while len(self._parked) < self._target():
            self._parked.append(_Parked(self._launch, self._argv, self._cwd))
        self._plan(MAX_AGE if self._parked else None)

    def _replenish(self) -> None:
        """Park one and come back for the next: a burst of starts would delay who is answering."""
        if self._drop_unfit():
            self._plan(BACK_OFF)  # something kills them, or they print: no race against it
            return
        try:
            if len(self._parked) < self._target():
                self._parked.append(_Parked(self._launch, self._argv, self._cwd))
        except OSError:
            self._plan(BACK_OFF)  # the next cold start will tell the caller why
            return
        self._plan(_GAP if len(self._parked) < self._target() else MAX_AGE)

    def _drop_unfit(self) -> bool:
        fit = deque(parked for parked in self._parked if parked.fit)
        died = False
        for parked in self._parked:
            if parked not in fit:
                died = died or not parked.child.silent
                parked.child.kill_group()
        self._parked = fit
        return died

    def _plan(self, delay: float | None) -> None:
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if delay is not None and self._wanted:
            self._refill = asyncio.get_running_loop().call_later(delay, self._replenish)
