"""Unload a model when the runner's memory is full, on the I/O thread.

If all its slots are in use, the runner itself unloads idle models, and a request waits for a
busy model. If there is too little memory, the runner unloads nothing and the request fails.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from docker_model._runtime import io_thread
from docker_model._transport.log import LOG
from docker_model._transport.model_data import loaded_name, text
from docker_model._transport.model_names import same_model
from docker_model.http.management import HttpManagement
from docker_model.options import Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from docker_model.http.discovery import DiscoveryInputs
    from docker_model.http.request import RequestOptions


class _Locks:
    """A lock for each runner, so that requests of this process do not evict each other's models."""

    def __init__(self) -> None:
        self._locks: dict[DiscoveryInputs, asyncio.Lock] = {}

    def get(self, place: DiscoveryInputs) -> asyncio.Lock:
        return self._locks.setdefault(place, asyncio.Lock())


@contextlib.asynccontextmanager
async def make_room(
    options: RequestOptions, model: str
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Unload the model that was idle for longest, for a request in the `async with` block.

    If no idle model may be unloaded, nothing happens. The name of the unloaded model is appended
    to `options.unloaded`.

    Args:
        options: The settings of the request.
        model: The model to load.

    Yields:
        A function that lets other requests unload models. Call it when the model is in use;
        before that, another request would find the model idle and unload it.

    Raises:
        DockerModelError: If the runner rejects a request.
    """
    models = HttpManagement(replace(options, timeouts=Timeouts(), make_room=None))
    async with contextlib.AsyncExitStack() as turn:
        await turn.enter_async_context(io_thread.current().local(_Locks).get(options.place))
        name = longest_idle(await models.loaded(), model)
        if name:
            await models.unload(name)
            options.unloaded.append(loaded_name(name))
            LOG.info("unloaded %r to make room for %r", loaded_name(name), model)
        yield turn.aclose


def longest_idle(loaded: Iterable[Mapping[str, Any]], model: str) -> str:
    """Return the model that was idle for longest and may be unloaded; empty if there is none.

    Args:
        loaded: The entries of `GET /engines/ps`.
        model: The model to load.
    """
    idle = [
        (text(entry.get("last_used")) or "", name)
        for entry in loaded
        if not (entry.get("in_use") or entry.get("loading") or entry.get("keep_alive") == "-1")
        and (name := text(entry.get("model_name")))
        and not same_model(name, model)
    ]
    return min(idle)[1] if idle else ""
