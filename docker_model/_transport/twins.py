"""Public functions in pairs: one that waits, and one that is awaited."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_P = ParamSpec("_P")
_T = TypeVar("_T")


def twins(
    function: Callable[_P, Coroutine[Any, Any, _T]],
) -> tuple[Callable[_P, _T], Callable[_P, Coroutine[Any, Any, _T]]]:
    """Make the public functions, or methods, of one that returns a coroutine for the I/O thread.

    Its name begins with `_`. It is called on the caller's thread, so what it checks before it
    returns a coroutine is checked there.

    Returns:
        One that waits, and one that is awaited, with the same signature and documentation.
    """

    @functools.wraps(function)
    def wait(*args: _P.args, **settings: _P.kwargs) -> _T:
        from docker_model._runtime import tasks

        return tasks.run_blocking(function(*args, **settings))

    @functools.wraps(function)
    async def awaited(*args: _P.args, **settings: _P.kwargs) -> _T:
        from docker_model._runtime import tasks

        return await tasks.run_async(function(*args, **settings))

    name = function.__name__.removeprefix("_")
    owner = function.__qualname__.removesuffix(function.__name__)  # such as `Client.`
    wait.__name__, wait.__qualname__ = name, owner + name
    awaited.__name__, awaited.__qualname__ = f"a{name}", f"{owner}a{name}"
    return wait, awaited
