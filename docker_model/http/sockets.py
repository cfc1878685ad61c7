"""httpcore's bytes over asyncio's own transports.

httpcore's own way to asyncio is anyio, whose scopes and checkpoints around each read and write
take as long as all the rest of a request. None of them is needed here: there is one kind of
loop, and `Timeouts` are kept elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Iterable

_WAITING = 1 << 18  # bytes that wait to be read before the server has to wait
_NEXT_ADDRESS = 0.25  # seconds before another address of the same name is tried, too


class Network(httpcore.AsyncNetworkBackend):
    """Opens connections on the running loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Implement httpcore's interface."""
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(_Stream, host, port, happy_eyeballs_delay=_NEXT_ADDRESS)
        return await _opened(opening, timeout)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Implement httpcore's interface."""
        loop = asyncio.get_running_loop()
        return await _opened(loop.create_unix_connection(_Stream, path), timeout)

    async def sleep(self, seconds: float) -> None:
        """Implement httpcore's interface."""
        await asyncio.sleep(seconds)


async def _opened(
    opening: Coroutine[Any, Any, tuple[asyncio.Transport, _Stream]], seconds: float | None
) -> _Stream:
    try:
        async with asyncio.timeout(seconds):
            _, stream = await opening
    except TimeoutError as error:
        msg = "it takes too long to connect"
        raise httpcore.ConnectTimeout(msg) from error
    except OSError as error:
        raise httpcore.ConnectError(_why(error)) from error
    return stream


def _why(error: OSError) -> str:
    """Return the system's message; asyncio's repeats the address, and a number."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


class _Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection. What has come is read before its end is told, be that a reset."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._over = False
        self._error: Exception | None = None
        self._news = asyncio.Event()  # something to read, be it the end
        self._unsent: list[bytes] = []

    # -- asyncio's side --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()
        if len(self._received) > _WAITING:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self._over = True
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        self._error = error
        self._news.set()

    # -- httpcore's side --

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
        while not self._received:
            if self._error is not None:
                raise httpcore.ReadError(str(self._error)) from self._error
            if self._over:
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if len(self._received) <= _WAITING:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        # httpcore writes a request's head and its body one by one, and then reads: sent together
        # they are one system call, and one packet that wakes the server once. What a slow server
        # has not taken yet is no reason to wait: it may have an answer already.
        self._unsent.append(buffer)

    async def aclose(self) -> None:
        # Not `close`, which would first send what a server that hangs never takes.
        self._transport.abort()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn, which may be its last

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                transport = await loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            msg = "it takes too long to agree on TLS"
            raise httpcore.ConnectTimeout(msg) from error
        except OSError as error:  # ssl.SSLError is one
            raise httpcore.ConnectError(str(error) or type(error).__name__) from error
        assert transport is not None
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked while nothing is awaited: the server has ended it
            return self._over or bool(self._received)
        return self._transport.get_extra_info(info)
