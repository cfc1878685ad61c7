"""Connections to a runner: one pool for each address, on the I/O thread.

That thread outlives every caller's event loop, so there is no "Event loop is closed"; a
forked process has a thread of its own, and with it connections of its own.

Of httpx, this takes its engine, httpcore. What httpx adds are cookies, redirects and hooks,
which are not wanted here, where a key must not be sent on; they would double the time to
an answer's first piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import zlib
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import httpcore

from docker_model._version import __version__
from docker_model.errors import InvalidRequestError
from docker_model.http.named_pipes import NamedPipes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping

    from docker_model.http.addresses import Address, Tls

CONNECT = 10.0  # seconds; an address that takes longer counts as absent
_KEPT = 60.0  # seconds that a connection waits for its next use
_HEADERS = {
    "User-Agent": f"docker-model-llm/{__version__}",
    "Accept-Encoding": "identity",  # compression would hold back a stream's pieces
}
_EXTENSIONS = {"timeout": {"connect": CONNECT}}  # the other limits are for `Timeouts`
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_HUNG_UP = (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError)


class ConnectFailed(Exception):
    """There is no server at the address."""


class ConnectionLost(Exception):
    """A connection ended too early, or its server does not speak HTTP."""


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """The key under which connections are shared.

    Attributes:
        address: Where to.
        tls: How an https server is trusted.
        named: The user has named this address, so that the proxies of the environment hold.
    """

    address: Address
    tls: Tls
    named: bool


class Reply:
    """A reply, whose body may still be on its way.

    Attributes:
        status: The HTTP status.
        content_type: In lower case; empty when there is none.
    """

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        self.content_type = headers.get(b"content-type", "").lower()
        self._encoding = headers.get(b"content-encoding", "").lower()
        self._response = response

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ConnectionLost: If it ends too early.
        """
        # We ask for none of these, and proxies compress all the same.
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if self._encoding in _COMPRESSED else None
        with map_httpcore_exceptions():
            async for data in self._response.aiter_stream():
                yield unpack.decompress(data) if unpack else data

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            ConnectionLost: If it ends too early.
        """
        return b"".join([piece async for piece in self.pieces()])


class Connections:
    """The pools of this process; on the I/O thread alone."""

    def __init__(self) -> None:
        self._pools: dict[ConnectionKey, _Pool] = {}
        self._end: AsyncGenerator[None] | None = None

    @contextlib.asynccontextmanager
    async def send(
        self,
        link: ConnectionKey,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[Reply]:
        """Send a request, and yield its reply, which can be read within the scope.

        Raises:
            ConnectFailed: If there is no server at the address.
            ConnectionLost: If the connection ended before the reply began.
            InvalidRequestError: If the certificates to trust, or the proxy, cannot be used.
        """
        pool = await self._pool(link)
        target, host = _target(url)
        sent = [*{"Host": host, **_HEADERS, **(headers or {})}.items()]
        if body is not None:
            sent.append(("Content-Length", str(len(body))))
        request = httpcore.Request(
            method, target, headers=sent, content=body, extensions=_EXTENSIONS
        )
        with map_httpcore_exceptions():
            connection, response = await pool.ask(request)
            try:
                yield Reply(response)
            finally:
                await pool.release(connection, response)

    async def _pool(self, link: ConnectionKey) -> _Pool:
        if self._end is None:
            self._end = self._until_the_end()
            await anext(self._end)
        pool = self._pools.get(link)
        if pool is None:
            self._pools[link] = pool = _Pool(_maker(link))
        return pool

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """Close what is open when the thread ends, which no finalizer does without a warning.

        A generator, because a loop that ends closes those that it has begun, after its tasks.
        """
        try:
            yield
        finally:
            for pool in self._pools.values():
                await pool.aclose()


class _Pool:
    """The connections to one address, each for one request at a time.

    No request waits here, since `max_concurrency` limits how many there are; the records that
    httpcore's own pool keeps for that cost a tenth of a request.
    """

    def __init__(self, maker: httpcore.AsyncConnectionPool) -> None:
        self._maker = maker
        self._idle: list[httpcore.AsyncConnectionInterface] = []

    async def ask(
        self, request: httpcore.Request
    ) -> tuple[httpcore.AsyncConnectionInterface, httpcore.Response]:
        """Send by a kept connection, or else a new one.

        A server may close a kept connection while the request is on its way. That is not a failed
        attempt of the caller's, so the next connection is taken at once.
        """
        while True:
            kept = await self._kept()
            connection = kept or self._maker.create_connection(request.url.origin)
            try:
                return connection, await connection.handle_async_request(request)
            except BaseException as error:
                await connection.aclose()
                if kept is None or not isinstance(error, _HUNG_UP):
                    raise

    async def release(
        self, connection: httpcore.AsyncConnectionInterface, response: httpcore.Response
    ) -> None:
        """Take a connection back; what has not been read of its reply ends it."""
        try:
            await response.aclose()
        finally:
            if connection.is_available():
                self._idle.append(connection)
            else:
                await connection.aclose()

    async def _kept(self) -> httpcore.AsyncConnectionInterface | None:
        while (
            old := next((connection for connection in self._idle if connection.has_expired()), None)
        ) is not None:
            self._idle.remove(old)
            await old.aclose()
        return self._idle.pop() if self._idle else None

    async def aclose(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects without losing an open socket when it is cancelled.

    anyio loses it if the task is cancelled at the moment of success, so connecting goes on to its
    end, which `CONNECT` limits. httpcore loses it if the task is cancelled in the TLS handshake.
    """

    def __init__(self) -> None:
        self._system = NamedPipes() if sys.platform == "win32" else httpcore.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        return await _opened(self._system.connect_tcp(*args, **kwargs))

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        return await _opened(self._system.connect_unix_socket(*args, **kwargs))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, system: httpcore.AsyncNetworkStream) -> None:
        self._system = system

    async def read(self, *args: Any, **kwargs: Any) -> bytes:
        return await self._system.read(*args, **kwargs)

    async def write(self, *args: Any, **kwargs: Any) -> None:
        await self._system.write(*args, **kwargs)

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._system.start_tls(*args, **kwargs))
        except BaseException:
            await self._system.aclose()
            raise

    async def aclose(self) -> None:
        await self._system.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._system.get_extra_info(info)


async def _opened(opening: Coroutine[Any, Any, httpcore.AsyncNetworkStream]) -> _Stream:
    """Await a connection, which goes on to its end, and is then closed, if this is cancelled."""
    task = asyncio.ensure_future(opening)
    try:
        return _Stream(await asyncio.shield(task))
    except asyncio.CancelledError:
        task.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(task: asyncio.Task[httpcore.AsyncNetworkStream]) -> None:
    if not task.cancelled() and task.exception() is None:
        closing = asyncio.ensure_future(task.result().aclose())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()  # a loop forgets its tasks


@lru_cache(maxsize=64)
def _target(url: str) -> tuple[httpcore.URL, str]:
    """Parse a URL once, with its `Host`: httpcore leaves out the brackets of IPv6."""
    return httpcore.URL(url), urlsplit(url).netloc


@contextlib.contextmanager
def map_httpcore_exceptions() -> Iterator[None]:
    """Raise this package's errors in place of httpcore's."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise ConnectFailed(_reason(error)) from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        zlib.error,
    ) as error:
        raise ConnectionLost(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return the system's own words, which stand below those of httpcore and anyio."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, BaseExceptionGroup):  # an error for each of a name's addresses
            below = below.exceptions[0]
        if isinstance(below, (ssl.SSLError, socket.gaierror)):  # with numbers of their own
            return below.strerror or str(below)
        if isinstance(below, OSError) and below.errno:
            if sys.platform == "win32":  # where several reasons share a number
                return below.strerror or str(below)
            return os.strerror(below.errno)  # asyncio's words repeat the address
        below = below.__cause__ or below.__context__
    return str(error) or type(error).__name__


def _maker(link: ConnectionKey) -> httpcore.AsyncConnectionPool:
    """Return the maker of connections: httpcore's pool, which knows proxies."""
    address = link.address
    return httpcore.AsyncConnectionPool(
        ssl_context=_context(link.tls) if address.root.startswith("https:") else None,
        proxy=_proxy(address) if link.named and not _is_near(address) else None,
        keepalive_expiry=_KEPT,
        uds=address.socket,
        network_backend=_Backend(),
    )


def _is_near(address: Address) -> bool:
    """Tell whether an address is local, where a proxy would reach another machine."""
    host = address.host
    if address.socket is not None or host == "localhost" or host.endswith(".docker.internal"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _proxy(address: Address) -> httpcore.Proxy | None:
    """Return the proxy that the environment sets for an address, if any.

    Raises:
        InvalidRequestError: If it cannot be used.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  slow, seldom needed

    if proxy_bypass(urlsplit(address.root).netloc):
        return None
    proxies = getproxies()
    spelled = proxies.get(urlsplit(address.root).scheme) or proxies.get("all")
    if not spelled:
        return None
    try:
        url = urlsplit(spelled if "://" in spelled else f"http://{spelled}")
        fit = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # an invalid port, an open bracket
        fit = False
    if not fit:
        msg = f"the environment's proxy for {address.root} cannot be used"
        hint = "it reads http://host:port, in http_proxy, https_proxy or all_proxy; or set no_proxy"
        raise InvalidRequestError(msg, hint=hint)
    login = (unquote(url.username), unquote(url.password or "")) if url.username else None
    return httpcore.Proxy(f"{url.scheme}://{url.netloc.rpartition('@')[2]}", auth=login)


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_cert)
    except OSError as error:  # ssl.SSLError is one
        msg = f"MODEL_RUNNER_TLS_CA_CERT cannot be used: {error.strerror or error}"
        raise InvalidRequestError(msg, hint="it is the name of a PEM file") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
