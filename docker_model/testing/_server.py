"""A server on loopback with one thread per connection. It contains nothing about models.

It has no event loop: a script can block, and the code under test must not share a loop with it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import threading
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

END_TIMEOUT = 10.0
PLAIN = "text/plain; charset=utf-8"
JSON = "application/json"


class Gone(BaseException):
    """The client closed the connection, or the server is closing.

    This is no `Exception`, because it is no error of a script.
    """


_used_ports: set[int] = set()


def _listener() -> socket.socket:
    """Listen on a port that no earlier server had: the library remembers facts by address."""
    with contextlib.ExitStack() as rejected:  # a port is not offered again while it is open
        while True:
            listener = socket.create_server(("127.0.0.1", 0), backlog=256)
            port = listener.getsockname()[1]
            if port not in _used_ports:
                _used_ports.add(port)
                return listener
            rejected.enter_context(listener)


class Server:
    """Accepts connections until it is closed. It calls `serve` with each, in its own thread.

    `close_how` is the argument of `socket.shutdown` for connections when the server closes.
    """

    def __init__(self, serve: Callable[[socket.socket], object], close_how: int) -> None:
        self._serve, self._close_how = serve, close_how
        # Only the accepting thread changes this list. close() reads it after that thread ended.
        self._connections: list[tuple[threading.Thread, socket.socket]] = []
        self._closing = False
        self._listener = _listener()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="simulated runner", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing:
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            self._connections = [entry for entry in self._connections if entry[0].is_alive()]
            thread.start()
            self._connections.append((thread, connection))

    def _run(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(Gone, OSError):
            self._serve(connection)

    def close(self) -> None:
        self._closing = True
        # A connection is the portable way to wake a thread that waits in accept().
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()
        for _, connection in self._connections:
            with contextlib.suppress(OSError):  # the connection can be closed already
                if sys.platform == "win32" and self._close_how == socket.SHUT_RDWR:
                    # A shutdown does not wake a thread that waits in recv() or select() there.
                    socket.close(connection.detach())
                else:
                    connection.shutdown(self._close_how)
        for thread, _ in self._connections:
            thread.join(END_TIMEOUT)
            if thread.is_alive():
                msg = f"a script or command of the simulation still runs after {END_TIMEOUT} s"
                raise RuntimeError(msg)


class Exchange(BaseHTTPRequestHandler):
    """The requests of one connection, and their replies."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, answer: Callable[[Exchange], None]) -> None:
        """Serve a connection to its end. Call `answer` for each request."""
        self._answer = answer
        super().__init__(connection, None, None)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", "0"))
        self.target = unquote(self.path)
        self.text: bytes = self.rfile.read(size)
        if len(self.text) == size:  # otherwise the client closed the connection
            self._answer(self)

    do_POST = do_DELETE = do_PUT = do_GET  # noqa: N815 - as above

    def reply(self, status: int, content_type: str, body: bytes) -> None:
        self._send(status, content_type, f"Content-Length: {len(body)}", body)

    def begin(self, content_type: str) -> None:
        self._send(200, content_type, "Transfer-Encoding: chunked")

    def _send(self, status: int, content_type: str, field: str, body: bytes = b"") -> None:
        reason = responses.get(status, "")
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\n{field}\r\n\r\n"
        self.send(head.encode() + body)

    def piece(self, data: bytes) -> None:
        """Send a piece of the body; an empty piece ends it."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def send(self, data: bytes) -> None:
        """Send bytes. Block while the client does not read."""
        try:
            self.connection.sendall(data)
        except OSError:
            raise Gone from None

    def play(self, step: object) -> None:
        """Do nothing, because the step is for a command and this client is not a command."""

    def wait(self, seconds: float | None) -> None:
        # A client sends nothing while it waits for the reply, so any input is its end.
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self.connection, selectors.EVENT_READ)
                is_gone = bool(selector.select(seconds))
        except (OSError, ValueError):  # on Windows, Server.close() closed the connection
            is_gone = True
        if is_gone:
            raise Gone
