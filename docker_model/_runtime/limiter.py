"""A limited number of slots per key; only the I/O thread uses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable


class Limiter:
    """Semaphores by key and limit, acquired in the order of the requests.

    A semaphore is discarded when no caller references it.
    """

    def __init__(self) -> None:
        self._slots: WeakValueDictionary[tuple[Hashable, int], asyncio.Semaphore] = (
            WeakValueDictionary()
        )

    def slots(self, key: Hashable, limit: int) -> asyncio.Semaphore:
        """Return the semaphore that all callers with the same `key` and `limit` share."""
        semaphore = self._slots.get((key, limit))
        if semaphore is None:
            self._slots[key, limit] = semaphore = asyncio.Semaphore(limit)
        return semaphore
