"""Remembering for a moment that a model is there, and asking once for all who wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

REMEMBERED = 5.0  # seconds that a yes holds
REMEMBERED_BY_STANDBY = 60.0  # the same with standby, where a check would be the longest step


class Presence:
    """What is known of models' presence; on the I/O thread alone. A no is never remembered."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}
        self._checks: dict[Hashable, tuple[asyncio.Task[BaseException | None], list[None]]] = {}

    def known(self, key: Hashable) -> bool:
        """Whether a yes still holds."""
        return self._until.get(key, 0.0) > asyncio.get_running_loop().time()

    def remember(self, key: Hashable, since: float, seconds: float) -> None:
        """The model was there at `since` on the loop's clock."""
        self._until[key] = max(since + seconds, self._until.get(key, 0.0))

    def forget(self, key: Hashable) -> None:
        """The model was found missing."""
        self._until.pop(key, None)

    async def check(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await `ask()`, shared with everybody who asks the same at this time.

        Raises:
            DockerModelError: What `ask` raised.
        """
        task, waiting = self._checks.get(key, (None, []))
        if task is None:
            task = asyncio.get_running_loop().create_task(_outcome(ask()))
            self._checks[key] = task, waiting
            task.add_done_callback(lambda task: self._drop(key, task))
        waiting.append(None)
        try:
            error = await asyncio.shield(task)
        finally:
            waiting.pop()
            if not waiting:  # the last one who wanted to know is gone
                self._drop(key, task)  # at once: who asks next must not get a cancelled one
                task.cancel()
        if error is not None:
            raise error

    def _drop(self, key: Hashable, task: asyncio.Task[BaseException | None]) -> None:
        if self._checks.get(key, (None,))[0] is task:
            del self._checks[key]


async def _outcome(asked: Coroutine[Any, Any, object]) -> BaseException | None:
    """What it failed with, if it did.

    Never raised in the task itself: a pull's `on_progress` may raise SystemExit, which would
    end the loop of us all. And what nobody waits for any more is not logged.
    """
    try:
        await asked
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  raised again for each who waits
        return error
    return None
