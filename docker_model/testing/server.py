"""Connections on loopback, a thread each; nothing in here knows of models.

Threads and not an event loop: a script is a plain function that may block, and nothing here
shares a loop with the code under test.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0
PLAIN = "text/plain; charset=utf-8"
JSON = "application/json"


class Gone(Exception):  # noqa: N818 - an event, not an error
    """The other end hung up, or the server is closing."""


class Connection:
    """One accepted connection.

    Attributes:
        lasting: The other end closes it, also when the server is closing.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.lasting = False
        self._socket = sock
        self._reader = sock.makefile("rb")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def line(self) -> bytes:
        """The next line with its end; empty when the other end has hung up."""
        try:
            return self._reader.readline()
        except OSError:
            return b""

    def exactly(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            Gone: There are less.
        """
        try:
            data = self._reader.read(size)
        except OSError:
            raise Gone from None
        if len(data) < size:
            raise Gone
        return data

    def send(self, data: bytes) -> None:
        """Send all of it; blocks while the other end does not read.

        Raises:
            Gone: It cannot be delivered.
        """
        try:
            self._socket.sendall(data)
        except OSError:
            raise Gone from None

    def wait(self, seconds: float | None) -> None:
        """Do nothing for so long, `None` for ever.

        Raises:
            Gone: The other end hung up meanwhile.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        # A client sends nothing while it waits for the reply: what can be read is its end.
        if poll.poll(None if seconds is None else seconds * 1000):
            raise Gone

    def shut(self) -> None:
        """End whatever a thread is doing with it; from any thread."""
        # With `lasting`, the other end is told and its own end awaited.
        how = socket.SHUT_WR if self.lasting else socket.SHUT_RDWR
        with contextlib.suppress(OSError):
            self._socket.shutdown(how)

    def close(self) -> None:
        """Give the descriptor back."""
        self._reader.close()
        self._socket.close()


class Server:
    """Accepts connections until it is closed.

    Attributes:
        address: `127.0.0.1:PORT`.
    """

    def __init__(self, serve: Callable[[Connection], None]) -> None:
        """Listen and start the first thread.

        Args:
            serve: Called in a thread for each connection, which is closed afterwards.
        """
        self._serve = serve
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, Connection] = {}
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="simulated runner", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing:
                sock.close()
                return
            connection = Connection(sock)
            thread = threading.Thread(
                target=self._run, args=(connection,), name="simulated reply", daemon=True
            )
            with self._lock:
                self._connections[thread] = connection
            thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(Gone):
                self._serve(connection)
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
            connection.close()

    def close(self) -> None:
        """Hang up on everybody and end all threads.

        Raises:
            RuntimeError: A script does not come back, or a command does not end.
        """
        self._closing = True
        # The portable way to wake a thread out of accept().
        host, _, port = self.address.partition(":")
        socket.create_connection((host, int(port))).close()
        self._thread.join()
        self._listener.close()
        with self._lock:
            running = dict(self._connections)
            for connection in running.values():
                connection.shut()
        for thread in running:
            thread.join(PATIENCE)
            if thread.is_alive():
                msg = "a script or a command of the simulated docker does not end"
                raise RuntimeError(msg)


def read_request(
    first: bytes, connection: Connection
) -> tuple[str, str, dict[str, str], bytes] | None:
    """Read a request whose first line is `first`.

    Returns:
        Method, path, headers (names in lower case) and body; `None` if it is no HTTP.

    Raises:
        Gone: It breaks off.
    """
    parts = first.decode("latin-1").split()
    if len(parts) != 3:  # noqa: PLR2004 - method, path, version
        return None
    headers = {}
    while (line := connection.line()) not in (b"\r\n", b"\n"):
        if not line:
            raise Gone
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    data = connection.exactly(int(headers.get("content-length", "0")))
    if headers.get("transfer-encoding") == "chunked":
        while size := int(connection.line() or b"0", 16):
            data += connection.exactly(size)
            connection.line()
    return parts[0], parts[1], headers, data


# The runner's words, which are Go's, and which `docker model` prints: Python 3.13 has others.
_PHRASES = {
    **{status.value: status.phrase for status in HTTPStatus},
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
}


def head(status: int, content_type: str, *more: str) -> bytes:
    """The head of a reply, after which the connection is closed."""
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}",
        f"Content-Type: {content_type}",
        "Connection: close",
        *more,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def whole(status: int, content_type: str, body: bytes) -> bytes:
    """A complete reply."""
    return head(status, content_type, f"Content-Length: {len(body)}") + body


def chunk(data: bytes) -> bytes:
    """A piece of a streamed reply; the empty one is its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)
