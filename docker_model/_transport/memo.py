"""Remembering what was made last, for as long as the same is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class MemoLast(Generic[_T]):
    """What was made last, and what for.

    For what depends on the environment: it may change between two calls, and hardly ever does.
    From any thread; two that want something at once may both make it.
    """

    def __init__(self) -> None:
        self._made: tuple[object, _T] | None = None

    def get(self, given: object, make: Callable[[], _T]) -> _T:
        """Return what was made for an equal `given`, or what `make` makes now."""
        made = self._made
        if made is None or made[0] != given:
            self._made = made = given, make()
        return made[1]
