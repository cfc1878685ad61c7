"""A bounded number of slots for each key, on the I/O thread alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable


class Limiter:
    """Slots by key and limit, given out first come first served.

    The slots of a key are forgotten when no caller holds their semaphore any more.
    """

    def __init__(self) -> None:
        self._slots: WeakValueDictionary[tuple[Hashable, int], asyncio.Semaphore] = (
            WeakValueDictionary()
        )

    def slots(self, key: Hashable, limit: int) -> asyncio.Semaphore:
        """Return the slots of `key`, shared by all callers that give the same `limit`."""
        semaphore = self._slots.get((key, limit))
        if semaphore is None:
            self._slots[key, limit] = semaphore = asyncio.Semaphore(limit)
        return semaphore
