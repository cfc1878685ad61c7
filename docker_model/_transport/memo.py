"""Remembering the last result, for as long as the same is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class MemoLast(Generic[_T]):
    """The last result, and what it was made for.

    It is for results that depend on the environment, which may change between two calls, and
    hardly ever does. Any thread may ask; two that ask at once may both make a result.
    """

    def __init__(self) -> None:
        self._made: tuple[object, _T] | None = None

    def get(self, given: object, make: Callable[[], _T]) -> _T:
        """Return what was made for an equal `given`, or what `make` makes now."""
        made = self._made
        if made is None or made[0] != given:
            self._made = made = given, make()
        return made[1]
