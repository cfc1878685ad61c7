"""A request to the runner: its slot, its timeouts and its attempts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from docker_model._runtime import io_thread
from docker_model._runtime.limiter import Limiter
from docker_model._runtime.timeouts import PhaseTimeout, timeout_scope
from docker_model._transport.failure_table import NO_ROOM
from docker_model._transport.log import LOG
from docker_model._transport.stages import Stages
from docker_model.errors import InvalidRequestError, ModelLoadError, ModelNotFoundError
from docker_model.http import discovery, failures, pulls
from docker_model.http.connections import ConnectFailed, ConnectionLost, Connections
from docker_model.http.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from docker_model.errors import DockerModelError
    from docker_model.http.connections import Reply
    from docker_model.http.discovery import DiscoveryInputs, Endpoint
    from docker_model.http.reading import Backpressure
    from docker_model.options import PullPolicy, Timeouts
    from docker_model.types import Progress, RunningModel

_T = TypeVar("_T")

_OK = 200
INITIAL_RETRY_DELAY = 0.5  # seconds before the first retry; doubled for each further retry
MAX_RETRY_DELAY = 8.0
FIRST_LOOK = 0.3  # seconds without a reply before progress reports whether the model loads
LOADING_POLL_INTERVAL = 0.5  # seconds; the same interval as in the runner


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The settings of requests.

    Attributes:
        place: The settings that determine the address of the runner.
        api_key: The user's key; sent only to a configured address.
        headers: The user's headers; sent only to a configured address.
        timeouts: The time limit of each phase.
        max_retries: The maximum number of retries.
        max_concurrency: The maximum number of simultaneous requests with the same place and limit.
        pull: The policy for a missing model.
        on_progress: Called with the stages of a call, including pulls, on the I/O thread.
        list_running: Lists the loaded models, for `on_progress`.
        make_room: Unloads another model if there is too little memory, and adds it to `unloaded`.
            No other request does this until the function that it yields is awaited.
        unloaded: The models that were unloaded for this request.
    """

    place: DiscoveryInputs
    api_key: str | None = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    timeouts: Timeouts
    max_retries: int
    max_concurrency: int
    pull: PullPolicy
    on_progress: Callable[[Progress], object] | None = field(repr=False)
    list_running: Callable[[RequestOptions], Awaitable[list[RunningModel]]] | None = None
    make_room: (
        Callable[[RequestOptions, str], AbstractAsyncContextManager[Callable[[], Awaitable[None]]]]
        | None
    ) = None
    unloaded: list[str] = field(default_factory=list, compare=False)

    def noted(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return a reply with the names of the models that were unloaded for it."""
        if not self.unloaded:
            return reply
        return {**reply, "docker_model": {"unloaded": list(self.unloaded)}}

    def headers_for(self, endpoint: Endpoint) -> dict[str, str]:
        """Return the user's key and headers, or nothing if the address was discovered."""
        if not endpoint.link.named:
            return {}
        key = self.api_key or endpoint.api_key
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        return {**bearer, **dict(self.headers)}


class HttpRequest:
    """A request, sent on the I/O thread.

    Args:
        options: The settings of requests.
        model: The model name that the caller passed, for errors.
        path: The path below the OpenAI-compatible API, such as `/chat/completions`.
        body: The body as JSON.
        headers: Headers for any address.
        partial: Returns the answer so far, for errors.
        cap: The setting that limits the length of the answer, for the hint of a timeout.

    Attributes:
        began: The time when the request was created, on the loop's clock.
        started: The time when the request left the queue.
    """

    def __init__(
        self,
        options: RequestOptions,
        model: str,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        partial: Callable[[], str] = str,
        cap: str = "",
    ) -> None:
        self._options = options
        self._model = model
        self._path = path
        self._body = body
        self._headers = headers or {}
        self._partial = partial
        self._cap = cap
        self._stages = Stages(model, options.on_progress)
        self._clock = asyncio.get_running_loop().time
        self.began = self.started = self._clock()

    async def whole(self) -> bytes:
        """Return the reply's body.

        Raises:
            DockerModelError: If the request failed.
        """
        return await self._answered(lambda reply, _: reply.read())

    def report_speed(self, reply: Mapping[str, Any]) -> None:
        """Report the generation speed of a complete reply."""
        self._stages.speed(reply.get("usage"), reply.get("timings"))

    async def stream(
        self, consumer: Backpressure, take: Callable[[dict[str, Any], int], bool]
    ) -> None:
        """Pass each event of the reply to `take`, until it returns True.

        Args:
            consumer: The consumer, which can pause reading.
            take: Called with an event and its size in bytes.

        Raises:
            DockerModelError: If the request failed.
        """
        timeouts = self._options.timeouts
        reader = Reader(self._model, consumer, take, self._partial, self._stages)
        await self._answered(lambda reply, phase: reader.read(reply, phase, timeouts))
        self._stages.speed(reader.usage, reader.timings)

    async def _answered(self, read: Callable[[Reply, PhaseTimeout], Awaitable[_T]]) -> _T:
        timeouts = self._options.timeouts
        async with timeout_scope("total", timeouts.total, self._partial, cap=self._cap):
            limiter = io_thread.current().local(Limiter)
            slot = limiter.slots(self._options.place, self._options.max_concurrency)
            if slot.locked():
                self._stages.queue()
            async with timeout_scope("queue", timeouts.queue):
                await slot.acquire()
            try:
                self.started = self._clock()
                async with PhaseTimeout(
                    "first_output", timeouts.first_output, self._partial
                ) as phase:
                    return await self._fix_and_repeat(read, phase)
            finally:
                slot.release()

    async def _fix_and_repeat(
        self, read: Callable[[Reply, PhaseTimeout], Awaitable[_T]], phase: PhaseTimeout
    ) -> _T:
        """Send the request; repeat it after a pull or an unload, if the settings allow these."""
        try:
            return await self._attempts(lambda reply: read(reply, phase))
        except ModelNotFoundError:
            if self._options.pull == "never":
                raise
        except ModelLoadError as error:
            make_room = self._options.make_room
            if make_room is None or not NO_ROOM.search(error.detail):
                raise
            phase.suspend(suspended=True)
            async with make_room(self._options, self._model) as end_turn:
                phase.suspend(suspended=False)

                async def read_in_turn(reply: Reply) -> _T:
                    await end_turn()  # the runner now reports the model as in use
                    return await read(reply, phase)

                return await self._attempts(read_in_turn)
        phase.suspend(suspended=True)
        await self._pull()
        phase.suspend(suspended=False)
        return await self._attempts(lambda reply: read(reply, phase))

    async def _pull(self) -> None:
        endpoint = await discovery.find(self._options.place)
        headers = self._options.headers_for(endpoint)
        await pulls.pull(endpoint.link, headers, self._model, self._options.on_progress)

    async def _attempts(self, read: Callable[[Reply], Awaitable[_T]]) -> _T:
        """Send the request, and retry as long as no part of an answer has arrived."""
        place = self._options.place
        retries = 0
        looked_again = False
        while True:
            endpoint = discovery.known(place) or await discovery.find(place)
            failure: DockerModelError
            try:
                async with (
                    self._stages.watch_loading(self._running, FIRST_LOOK) as stop_watching,
                    self._post(endpoint) as reply,
                ):
                    stop_watching()
                    if reply.status == _OK:
                        return await read(reply)
                    status = reply.status
                    body = (await reply.read()).decode("utf-8", "replace")
            except ConnectFailed as error:
                discovery.forget(place)
                if looked_again:
                    raise failures.no_connection(endpoint.root) from error
                looked_again = True  # the address was possibly outdated
                continue
            except ConnectionLost as error:
                failure = failures.lost(self._model, len(self._body), error)
            else:
                if failures.is_loading(status, body):
                    self._stages.load()
                    await asyncio.sleep(LOADING_POLL_INTERVAL)
                    continue
                failure = failures.name_reply(status, body, self._model)
                if not failures.is_temporary(status, body):
                    raise failure
            if retries == self._options.max_retries or isinstance(failure, InvalidRequestError):
                raise failure
            retries += 1
            await self._wait_to_retry(retries, failure)

    async def _wait_to_retry(self, retry: int, failure: DockerModelError) -> None:
        """Wait before a retry, with exponential backoff; the first retry has number 1."""
        pause = min(INITIAL_RETRY_DELAY * 2 ** (retry - 1), MAX_RETRY_DELAY)
        pause *= random.uniform(0.5, 1)  # noqa: S311  not used for security
        LOG.info(
            "retry %d of %d for %r in %.1f s after %s",
            retry,
            self._options.max_retries,
            self._model,
            pause,
            type(failure).__name__,
        )
        await asyncio.sleep(pause)

    async def _running(self) -> list[RunningModel]:
        listing = self._options.list_running
        return [] if listing is None else await listing(self._options)

    def _post(self, endpoint: Endpoint) -> AbstractAsyncContextManager[Reply]:
        headers = {
            "Content-Type": "application/json",
            **self._headers,
            **self._options.headers_for(endpoint),
        }
        url = endpoint.url_of(self._path)
        connections = io_thread.current().local(Connections)
        return connections.send(endpoint.link, "POST", url, headers, self._body)
