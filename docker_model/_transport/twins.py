"""Create public functions in pairs: a blocking function and a coroutine function."""

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
    """Return two public versions of a function that returns a coroutine for the I/O thread.

    The name of `function` begins with `_`. It is called on the caller's thread, and so are the
    checks before it returns its coroutine. For a method, both versions are methods.

    Returns:
        A blocking function and a coroutine function, with the same signature and docstring.
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
