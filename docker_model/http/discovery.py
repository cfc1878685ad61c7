"""Discover the runner's API: from settings, the CLI's status and the default addresses.

The user's key and headers are only sent to addresses that the user has configured.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from docker_model._docker_cli.command_spec import CommandSpec
from docker_model._docker_cli.management import ManagementCommands
from docker_model._runtime import io_thread
from docker_model._transport.environment import environ_snapshot
from docker_model._transport.failure_table import START_HINT
from docker_model._transport.log import LOG
from docker_model._transport.memo import MemoLast
from docker_model.errors import DockerModelError, RunnerUnavailableError
from docker_model.http import addresses
from docker_model.http.addresses import Address, Tls
from docker_model.http.connections import ConnectFailed, ConnectionKey, ConnectionLost, Connections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ASKING = 5.0  # seconds for a configured address, and for `docker model status`
PROBING = 1.0  # seconds for a default address
NOT_AGAIN = 3.0  # seconds before a search that found nothing is repeated
_IN_CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_IN_WSL = (Path("/proc/sys/fs/binfmt_misc/WSLInterop"), Path("/run/WSL"))
_OK = 200
_BESIDE_THE_API = ("/rerank",)  # paths of the engine that are not below `/v1`
_LOCKED = (401, 403)  # the server requires a key, which a probe does not send


@dataclass(frozen=True, slots=True)
class DiscoveryAttempt:
    """An attempt to find the runner.

    Attributes:
        source: The source of the address, such as `MODEL_RUNNER_HOST`.
        address: The address; empty if the source has no address.
        outcome: The result of the attempt.
        hint: The step that fixes the problem, if the command reports one.
    """

    source: str
    address: str
    outcome: str
    hint: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.source}{f' ({self.address})' if self.address else ''}: {self.outcome}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of the runner's API.

    Attributes:
        url: The OpenAI-compatible API, such as `http://127.0.0.1:12434/engines/v1`.
        root: The base address of the runner's own paths, such as `/models`.
        source: The source of the address.
        tried: The attempts of the search.
        link: The key of its connections; `link.named` is true if the user configured the address.
        api_key: The key from the same source.
        verified: Whether the address has answered like a runner.
    """

    url: str
    root: str
    source: str
    tried: tuple[DiscoveryAttempt, ...] = ()
    link: ConnectionKey = field(repr=False, kw_only=True)
    api_key: str | None = field(repr=False, kw_only=True, default=None)
    verified: bool = field(repr=False, kw_only=True, default=True)

    def url_of(self, path: str) -> str:
        """Return the URL of an engine's path, such as `/chat/completions`."""
        api = self.url.removesuffix("/v1") if path in _BESIDE_THE_API else self.url
        return api + path


@dataclass(frozen=True, slots=True)
class DiscoveryInputs:
    """All settings that determine the address of the runner.

    Attributes:
        base_url: The setting of the user.
        command: The command that reports the runner's status.
        env: The variables that are added to the environment of the command.
        variables: The values of the relevant environment variables.
    """

    base_url: str | None
    command: str | Sequence[str] | None
    env: Mapping[str, str] | None = field(repr=False)
    variables: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(
        cls,
        base_url: str | None,
        command: str | Sequence[str] | None,
        env: Mapping[str, str] | None,
    ) -> DiscoveryInputs:
        """Create the inputs from the current environment."""

        def read() -> DiscoveryInputs:
            variables = {**os.environ, **(env or {})}  # `env` can unset a variable with ""
            relevant = tuple(variables.get(name, "") for name in addresses.RELEVANT)
            return cls(base_url, command, env, relevant)

        return _latest.get((base_url, command, env, environ_snapshot()), read)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by name."""
        return dict(zip(addresses.RELEVANT, self.variables, strict=True))


_latest: MemoLast[DiscoveryInputs] = MemoLast()
_found: dict[DiscoveryInputs, Endpoint] = {}  # only the I/O thread changes it


class Endpoints:
    """The searches for endpoints. Only the I/O thread uses this class."""

    def __init__(self) -> None:
        self._in_vain: dict[DiscoveryInputs, tuple[float, Sequence[DiscoveryAttempt]]] = {}
        self._searches: dict[DiscoveryInputs, tuple[Search, asyncio.Task[Endpoint | None]]] = {}

    async def find(self, place: DiscoveryInputs) -> Endpoint:
        """Return the endpoint; concurrent callers share one search.

        A failed search is remembered for `NOT_AGAIN` seconds. Otherwise, a chat model that falls
        back on the CLI would repeat the whole search in each call. A configured address is always
        tried again, because this is only one request, and the user possibly started the runner.

        Raises:
            RunnerUnavailableError: If no runner is found; the error lists the attempts.
            InvalidRequestError: If a setting or variable is not a valid address.
        """
        endpoint: Endpoint | None = _found.get(place)
        if endpoint is not None:
            return endpoint
        loop = asyncio.get_running_loop()
        until, tried = self._in_vain.get(place, (0.0, ()))
        if loop.time() < until:
            raise nowhere(tried)
        if place not in self._searches:
            search = Search(place)
            task = loop.create_task(search.run())
            self._searches[place] = search, task
            task.add_done_callback(lambda _: self._searches.pop(place))
        search, task = self._searches[place]
        # Shielded, because other callers can wait for the search, and it has a time limit.
        endpoint = await asyncio.shield(task)
        if endpoint is None:
            if not search.named:
                self._in_vain[place] = loop.time() + NOT_AGAIN, search.tried
            raise nowhere(search.tried)
        if endpoint.verified:
            _found[place] = endpoint
            LOG.info("found the HTTP API at %s, by %s", endpoint.url, endpoint.source)
        return endpoint


def known(place: DiscoveryInputs) -> Endpoint | None:
    """Return the endpoint if a search has found it; for any thread."""
    return _found.get(place)


async def find(place: DiscoveryInputs) -> Endpoint:
    """Return the endpoint; concurrent callers share one search."""
    return await io_thread.current().local(Endpoints).find(place)


def forget(place: DiscoveryInputs) -> None:
    """Remove an endpoint that no longer responds, so that the next request searches again."""
    lost = _found.pop(place, None)
    if lost is not None:
        LOG.info("the HTTP API at %s no longer responds", lost.url)


def nowhere(tried: Sequence[DiscoveryAttempt]) -> RunnerUnavailableError:
    """Return the error for a runner that was not found, with all attempts."""
    lines = "".join(f"\n  {attempt}" for attempt in tried)
    sources = [attempt.source for attempt in tried]
    named = [source for source in sources if source == "base_url" or source.isupper()]
    hint = next((attempt.hint for attempt in tried if attempt.hint), START_HINT)
    if named:
        hint = f"check {named[0]}; {hint}"
    return RunnerUnavailableError(f"Docker Model Runner was not found{lines}", hint=hint)


class Search:
    """A search for the runner.

    Attributes:
        tried: The attempts so far.
        named: Whether the user configured the address. Other addresses are then not tried.

    Raises:
        InvalidRequestError: If a setting or variable is not a valid address.
    """

    def __init__(self, place: DiscoveryInputs) -> None:
        self.tried: list[DiscoveryAttempt] = []
        self._place = place
        self._variables = place.environment
        self._tls = Tls.of(self._variables)
        self._named = addresses.named(place.base_url, self._variables)
        self.named = self._named is not None

    async def run(self) -> Endpoint | None:
        """Try all sources in order until a runner responds; `None` if no runner responds."""
        if self._named is not None:
            # Only this address, because a prompt must not be sent to an unexpected server.
            return await self._named_one(self._named)
        sockets = addresses.docker_sockets(self._variables)
        usual = addresses.usual(
            in_container=any(path.exists() for path in _IN_CONTAINERS),
            in_wsl=any(path.exists() for path in _IN_WSL),
        )
        return (
            await self._status()
            or await self._likely("Docker's socket", sockets, PROBING)
            or await self._likely("usual address", usual, PROBING)
        )

    async def _named_one(self, named: addresses.ConfiguredAddress) -> Endpoint | None:
        named_endpoint = None
        for address in named.addresses:
            link = ConnectionKey(address, self._tls, named=True)
            tried, endpoint = await _probe(named.source, link, ASKING)
            self.tried.append(tried)
            if endpoint is not None:
                named_endpoint = replace(endpoint, api_key=named.api_key)
                if named_endpoint.verified:
                    break
        return named_endpoint and replace(named_endpoint, tried=tuple(self.tried))

    async def _status(self) -> Endpoint | None:
        source = "docker model status"
        try:
            spec = CommandSpec.of(self._place.command, self._place.env)
            status = await ManagementCommands(spec, ASKING).status()
        except DockerModelError as error:
            hint = f"{error.hint}; or set base_url or MODEL_RUNNER_HOST to the runner's address"
            self.tried.append(DiscoveryAttempt(source, "", error.message, hint))
            return None
        if status.running and status.endpoint is not None:
            return await self._likely(source, [addresses.parse(status.endpoint, source)], ASKING)
        why, _, hint = status.problem.partition("\nHint: ")
        why = "it reports no address" if status.running else why.partition("\n")[0]
        self.tried.append(DiscoveryAttempt(source, "", why, hint))
        return None

    async def _likely(
        self, source: str, candidates: Sequence[Address], limit: float
    ) -> Endpoint | None:
        """Return the first of `candidates` that responds like a runner; probe all in parallel."""
        links = [ConnectionKey(address, self._tls, named=False) for address in candidates]
        probes = [asyncio.create_task(_probe(source, link, limit)) for link in links]
        try:
            for probe in probes:
                tried, endpoint = await probe
                self.tried.append(tried)
                if endpoint is not None and endpoint.verified:
                    return replace(endpoint, tried=tuple(self.tried))
        finally:
            for probe in probes:
                probe.cancel()
        return None


async def _probe(
    source: str, link: ConnectionKey, limit: float
) -> tuple[DiscoveryAttempt, Endpoint | None]:
    """Request the list of models from an address, without a key."""
    address = link.address
    outcome = ""
    try:
        async with asyncio.timeout(limit):
            connections = io_thread.current().local(Connections)
            for api in address.apis:
                url = address.root + api
                async with connections.send(link, "GET", f"{url}/models") as reply:
                    status, body = reply.status, await reply.read()
                if status in _LOCKED or (status == _OK and _lists_models(body)):
                    outcome = "answers" if status == _OK else "answers, but requires a key"
                    return (
                        DiscoveryAttempt(source, str(address), outcome),
                        Endpoint(url, address.root, source, link=link),
                    )
                outcome = outcome or f"answers with HTTP {status}, not as Docker Model Runner"
    except TimeoutError:
        outcome = f"no answer within {limit:g} s"
    except (ConnectFailed, ConnectionLost) as error:
        outcome = str(error)
    else:
        url = address.root + address.apis[0]
        unsure = Endpoint(url, address.root, source, link=link, verified=False)
        return DiscoveryAttempt(source, str(address), outcome), unsure
    return DiscoveryAttempt(source, str(address), outcome), None


def _lists_models(body: bytes) -> bool:
    try:
        content = json.loads(body)
    except ValueError:
        return False
    return isinstance(content, dict) and (content.get("object") == "list" or "data" in content)
