"""The plugin's HTTP client: one request a connection, errors in the words of Go."""

from __future__ import annotations

from _socket import IPPROTO_TCP, TCP_NODELAY, gaierror, socket

from .gojson import dumps
from .process import Canceled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .process import Plugin


class QueryError(Exception):
    """The request did not get through; the text is Go's own."""


class CutError(Exception):
    """The connection ended before the reply was complete."""


class Unavailable(Exception):  # noqa: N818 - the CLI's own name for a 503
    """HTTP 503, which the CLI takes for "not running" whoever sends it."""


class Reply:
    """A reply whose body is still to be read.

    Attributes:
        status: The number.
        reason: The number and its words, such as `500 Internal Server Error`.
        content_type: Its header, empty when there is none.
    """

    def __init__(self, connection: socket, plugin: Plugin, *, cancel: bool) -> None:
        self._connection = connection
        self._plugin = plugin
        self._cancel = cancel
        self._buffer = b""
        self._left = 0
        self._headers: dict[str, str] = {}
        self.reason = ""
        self.status = 0
        self.untouched = True
        self._read_head()
        self.content_type = self._headers.get("content-type", "")
        self._chunked = self._headers.get("transfer-encoding") == "chunked"
        length = self._headers.get("content-length")
        self._until_close = not self._chunked and length is None
        if not self._chunked:
            self._left = int(length or 0)

    def _more(self) -> bool:
        self._plugin.wait(self._connection.fileno(), cancel=self._cancel)
        try:
            data = self._connection.recv(65536)
        except ConnectionError:
            raise CutError from None
        self._buffer += data
        return bool(data)

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            if not self._more():
                raise CutError
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def _read_head(self) -> None:
        self.reason = self._line().decode("latin-1").split(" ", 1)[1]
        self.status = int(self.reason.split(" ", 1)[0])
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            self._headers[name.lower()] = value.strip()

    def chunk(self) -> bytes:
        """The next bytes of the body as they arrive; empty at its end.

        Raises:
            CutError: The connection ended too early.
            Canceled: If asked for with the request.
        """
        if self._until_close:
            if not self._buffer:
                self._more()
            data, self._buffer = self._buffer, b""
            return data
        if self._chunked and not self._left:
            self._left = int(self._line(), 16)
            if not self._left:
                self._line()
                self._chunked = False
                return b""
        if not self._left:
            return b""
        if not self._buffer and not self._more():
            raise CutError
        data = self._buffer[: self._left]
        self._buffer = self._buffer[len(data) :]
        self._left -= len(data)
        if self._chunked and not self._left:
            self._line()
        self.untouched = False
        return data

    def read(self) -> str:
        """The whole rest of the body."""
        parts = []
        while data := self.chunk():
            parts.append(data)
        return b"".join(parts).decode("utf-8", "replace")

    def own_address(self) -> str:
        """This end of the connection, `127.0.0.1:40000`."""
        host, port = self._connection.getsockname()[:2]
        return f"{host}:{port}"

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Client:
    """Requests to one base address.

    Attributes:
        base: Such as `http://127.0.0.1:12434`, without a slash at the end.
        address: Its host and port.
    """

    def __init__(
        self, base: str, plugin: Plugin, headers: dict[str, str], instead: str | None = None
    ) -> None:
        """Make ready, without connecting.

        Args:
            base: See above.
            plugin: This process.
            headers: Sent with every request.
            instead: The `host:port` to connect to in place of the one in `base`; empty for
                one that refuses.
        """
        self.base = base
        self._plugin = plugin
        self._headers = headers
        self.address, _, self._prefix = base.partition("://")[2].partition("/")
        self._peer = self.address if instead is None else instead

    def redirect(self, base: str) -> None:
        """Talk to another server from now on."""
        self.base = base
        self.address, _, self._prefix = base.partition("://")[2].partition("/")
        self._peer = self.address

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        cancel: bool = False,
    ) -> Reply:
        """Send a request and read the reply's head.

        Raises:
            QueryError: Nobody listens there, or the reply's head never came.
            Unavailable: HTTP 503.
        """
        reply = self.attempt(method, path, body, headers=headers, cancel=cancel)
        if reply.status == 503:  # noqa: PLR2004 - HTTP's own number
            reply.close()
            raise Unavailable
        return reply

    def attempt(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        cancel: bool = False,
    ) -> Reply:
        """As `request`, where 503 is a reply like any other."""
        verb = method[0] + method[1:].lower()
        where = f'error querying {path}: {verb} "{self.base}{path}": '
        if cancel and self._plugin.canceled():
            raise QueryError(where + "context canceled")
        host, _, port = self._peer.rpartition(":")
        connection = socket()
        try:
            if not self._peer:
                raise ConnectionRefusedError
            connection.connect((host or self._peer, int(port or 80) if host else 80))
        except gaierror:
            msg = f"{where}dial tcp: lookup {host}: no such host"
            raise QueryError(msg) from None
        except OSError:
            address = self.address.replace("localhost", "127.0.0.1")
            msg = f"{where}dial tcp {address}: connect: connection refused"
            raise QueryError(msg) from None
        connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        connection.sendall(self._encode(method, path, body, headers or {}))
        try:
            return Reply(connection, self._plugin, cancel=cancel)
        except Canceled:
            raise QueryError(where + "context canceled") from None
        except (CutError, ConnectionError):
            raise QueryError(where + "EOF") from None

    def _encode(self, method: str, path: str, body: Any, headers: dict[str, str]) -> bytes:
        prefix = f"/{self._prefix}" if self._prefix else ""
        data = b"" if body is None else dumps(body).encode()
        lines = [
            f"{method} {prefix}{path.replace(' ', '%20')} HTTP/1.1",
            f"Host: {self.address}",
            *(f"{name}: {value}" for name, value in {**self._headers, **headers}.items()),
        ]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + data
