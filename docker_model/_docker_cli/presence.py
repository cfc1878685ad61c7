"""Remembering for a moment that a model is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

REMEMBERED = 5.0  # seconds that a yes holds
REMEMBERED_BY_STANDBY = 60.0  # the same with standby, where a check would be the longest step


class Presence:
    """What is known of models' presence; on the I/O thread alone. A no is never remembered."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def known(self, key: Hashable) -> bool:
        """Whether a yes still holds."""
        return self._until.get(key, 0.0) > asyncio.get_running_loop().time()

    def remember(self, key: Hashable, since: float, seconds: float) -> None:
        """The model was there at `since` on the loop's clock."""
        self._until[key] = max(since + seconds, self._until.get(key, 0.0))

    def forget(self, key: Hashable) -> None:
        """The model was found missing."""
        self._until.pop(key, None)
