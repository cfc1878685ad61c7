r"""Connections over the named pipes of Windows, where Docker Desktop provides its API.

For httpcore, each local connection is a Unix socket. On Windows its path is the name of a pipe,
such as `\\.\pipe\docker_engine`, and the proactor loop of the I/O thread connects to this pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PREFIX = "\\\\.\\pipe\\"


class NamedPipes(httpcore.AnyIOBackend):
    """Connects to named pipes where httpcore would connect to a Unix socket."""

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a named pipe; asyncio retries while all its instances are busy."""
        loop: Any = asyncio.get_running_loop()
        connect = getattr(loop, "create_pipe_connection", None)
        if connect is None or not path.startswith(_PREFIX):
            msg = f"{path} is not a named pipe, the only kind of local address on Windows"
            raise httpcore.ConnectError(msg)
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            async with asyncio.timeout(timeout):
                transport, _ = await connect(lambda: protocol, path)
        except TimeoutError as error:
            msg = "connecting took too long"
            raise httpcore.ConnectTimeout(msg) from error
        except OSError as error:
            raise httpcore.ConnectError(error.strerror or str(error)) from error
        return _PipeStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class _PipeStream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as(httpcore.ReadError):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _as(httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        # `close` would first send the buffered data, which blocks if the server hangs.
        self._writer.transport.abort()
        await asyncio.sleep(0)  # let the loop close the pipe, because it can stop afterwards

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # queried for idle connections: whether the server closed it
            return self._reader.at_eof() or self._writer.transport.is_closing()
        return self._writer.get_extra_info(info)


@contextlib.contextmanager
def _as(kind: type[httpcore.NetworkError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(error.strerror or str(error)) from error
