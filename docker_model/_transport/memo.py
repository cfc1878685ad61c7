"""A cache for the last result of a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class MemoLast(Generic[_T]):
    """A cache with one entry.

    It is for results that depend on the environment, which can change between two calls but
    rarely does. It can be used from any thread; two threads can create the same result twice.
    """

    def __init__(self) -> None:
        self._entry: tuple[object, _T] | None = None

    def get(self, key: object, create: Callable[[], _T]) -> _T:
        """Return the cached result if the last key was equal, else a new result."""
        entry = self._entry
        if entry is None or entry[0] != key:
            self._entry = entry = key, create()
        return entry[1]
