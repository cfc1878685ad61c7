"""Connections to runners: one pool for each address, on the I/O thread.

The thread is independent of the callers' event loops, so there is no "Event loop is closed". A
forked process starts its own thread, with its own connections.

This module uses httpcore, the transport of httpx. It does not need the cookies, redirects and
hooks of httpx. A redirect could forward the API key, and httpx doubles the time to the first
piece of an answer.
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

CONNECT = 10.0  # seconds to connect to an address
_KEPT = 60.0  # seconds that an idle connection is kept
_HEADERS = {
    "User-Agent": f"docker-model-llm/{__version__}",
    "Accept-Encoding": "identity",  # compression would delay the pieces of a stream
}
_EXTENSIONS = {"timeout": {"connect": CONNECT}}  # `Timeouts` defines the other limits
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_HUNG_UP = (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError)


class ConnectFailed(Exception):
    """No server responds at the address."""


class ConnectionLost(Exception):
    """A connection ended too early, or its server does not use HTTP."""


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """The key of shared connections.

    Attributes:
        address: The address of the server.
        tls: The TLS settings.
        named: Whether the user configured this address. Only then, the proxy of the environment
            is used.
    """

    address: Address
    tls: Tls
    named: bool


class Reply:
    """A reply; its body is read later.

    Attributes:
        status: The HTTP status.
        content_type: The content type in lower case; empty if missing.
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
            ConnectionLost: If the body is incomplete.
        """
        # Some proxies compress a body despite `Accept-Encoding`.
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if self._encoding in _COMPRESSED else None
        with map_httpcore_exceptions():
            async for data in self._response.aiter_stream():
                yield unpack.decompress(data) if unpack else data

    async def read(self) -> bytes:
        """Return the complete body.

        Raises:
            ConnectionLost: If the body is incomplete.
        """
        return b"".join([piece async for piece in self.pieces()])


class Connections:
    """The connection pools of this process. Only the I/O thread uses this class."""

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
        """Send a request, and yield its reply, which is readable in the `async with` block.

        Raises:
            ConnectFailed: If no server responds at the address.
            ConnectionLost: If the connection ended before the reply began.
            InvalidRequestError: If the trusted certificates or the proxy are invalid.
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
            connection, response = await pool.send(request)
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
        """Close idle connections when the thread ends; their finalizers would emit warnings.

        This is a generator, because the shutdown of a loop closes running async generators, after
        its tasks.
        """
        try:
            yield
        finally:
            for pool in self._pools.values():
                await pool.aclose()


class _Pool:
    """The connections to one address, each for one request at a time.

    Requests do not wait for a connection, because `max_concurrency` limits their number. The
    request queue of httpcore's own pool takes a tenth of the time of a request.
    """

    def __init__(self, maker: httpcore.AsyncConnectionPool) -> None:
        self._maker = maker
        self._idle: list[httpcore.AsyncConnectionInterface] = []

    async def send(
        self, request: httpcore.Request
    ) -> tuple[httpcore.AsyncConnectionInterface, httpcore.Response]:
        """Send a request over an idle connection, or over a new one.

        A server can close an idle connection while the request is being sent. This does not count
        as an attempt, so the request is sent over the next connection immediately.
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
        """Return a connection to the pool, or close it if its reply was not completely read."""
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
    """Connects without leaking an open socket on cancellation.

    anyio leaks the socket if the task is canceled at the moment of success, so connecting
    continues to its end, within `CONNECT` seconds. httpcore leaks it if the task is canceled in
    the TLS handshake.
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
    """Await a connection; on cancellation, complete it in the background and then close it."""
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


_closing: set[asyncio.Task[None]] = set()  # strong references to the tasks


@lru_cache(maxsize=64)
def _target(url: str) -> tuple[httpcore.URL, str]:
    """Parse a URL, and return its `Host` header: httpcore omits the brackets of IPv6."""
    return httpcore.URL(url), urlsplit(url).netloc


@contextlib.contextmanager
def map_httpcore_exceptions() -> Iterator[None]:
    """Convert httpcore's exceptions to the exceptions of this module."""
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
    """Return the system's message, from the cause of an error of httpcore or anyio."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):  # an error for each address of a host name
            cause = cause.exceptions[0]
        if isinstance(cause, (ssl.SSLError, socket.gaierror)):  # have other error numbers
            return cause.strerror or str(cause)
        if isinstance(cause, OSError) and cause.errno:
            if sys.platform == "win32":  # several causes share a number
                return cause.strerror or str(cause)
            return os.strerror(cause.errno)  # asyncio's message repeats the address
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _maker(link: ConnectionKey) -> httpcore.AsyncConnectionPool:
    """Return the factory of connections: httpcore's pool, which supports proxies."""
    address = link.address
    return httpcore.AsyncConnectionPool(
        ssl_context=_context(link.tls) if address.root.startswith("https:") else None,
        proxy=_proxy(address) if link.named and not _is_near(address) else None,
        keepalive_expiry=_KEPT,
        uds=address.socket,
        network_backend=_Backend(),
    )


def _is_near(address: Address) -> bool:
    """Whether an address is local; a proxy would connect to another machine."""
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
        InvalidRequestError: If the proxy is invalid.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  slow, rarely needed

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
        msg = f"the environment's proxy for {address.root} is invalid"
        hint = "set http_proxy, https_proxy or all_proxy to http://host:port, or set no_proxy"
        raise InvalidRequestError(msg, hint=hint)
    login = (unquote(url.username), unquote(url.password or "")) if url.username else None
    return httpcore.Proxy(f"{url.scheme}://{url.netloc.rpartition('@')[2]}", auth=login)


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_cert)
    except OSError as error:  # includes ssl.SSLError
        msg = f"MODEL_RUNNER_TLS_CA_CERT is invalid: {error.strerror or error}"
        raise InvalidRequestError(msg, hint="set it to the path of a PEM file") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
