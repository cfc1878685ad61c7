"""One pull of a model at a time, for all calls of this process that need it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from docker_model._runtime.tasks import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

    from docker_model.types import PullProgress

    Report: TypeAlias = Callable[[PullProgress], object]


class SharedPulls:
    """Shares running pulls between calls; only the I/O thread uses it.

    The runner does not support two simultaneous pulls of one model. Both pulls write to the same
    file, so the model is temporarily damaged, or the second pull fails.
    """

    def __init__(self) -> None:
        self._single_flight = SingleFlight()
        self._listeners: dict[
            Hashable, list[tuple[Report | None, asyncio.Future[BaseException]]]
        ] = {}

    async def pull(
        self,
        key: Hashable,
        work: Callable[[Report], Coroutine[Any, Any, object]],
        on_progress: Report | None,
    ) -> None:
        """Await `work(report)`, shared with all calls that currently wait for `key`.

        If a call is canceled or its `on_progress` fails, the pull continues for the other calls.

        Args:
            key: Identifies the pull.
            work: The pull. Its argument is a function that reports each step to all calls.
            on_progress: Called with each further step; once per step if several calls share it.

        Raises:
            BaseException: If `work`, or this call's own `on_progress`, raised it.
        """
        failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        listeners = self._listeners.setdefault(key, [])
        listeners.append(listener := (on_progress, failure))

        def report(step: PullProgress) -> None:
            errors: dict[int, BaseException | None] = {}
            for function, failed in listeners:
                if function is not None and not failed.done():
                    if id(function) not in errors:  # call a function that several calls share once
                        errors[id(function)] = _error_of(function, step)
                    if (error := errors[id(function)]) is not None:
                        failed.set_result(error)

        pulling = asyncio.ensure_future(self._single_flight.do(key, lambda: work(report)))
        pulling.add_done_callback(_mark_as_retrieved)
        try:
            await asyncio.wait((pulling, failure), return_when=asyncio.FIRST_COMPLETED)
        finally:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[key]
            pulling.cancel()
        if failure.done():
            raise failure.result()
        pulling.result()


def _error_of(function: Report, step: PullProgress) -> BaseException | None:
    try:
        function(step)
    # Includes SystemExit, which would end the I/O thread.
    except BaseException as error:  # noqa: BLE001  raised again for the caller
        return error
    return None


def _mark_as_retrieved(task: asyncio.Task[None]) -> None:
    """Keep asyncio from logging an exception that the caller does not need."""
    if not task.cancelled():
        task.exception()
