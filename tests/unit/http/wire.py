"""A server that sends the bytes of a test, over TCP, TLS or a Unix socket.

Tests use it where `SimulatedDocker` has no script: for invalid headers, missing replies, the
number of connections, connections closed between requests, reused ports, and other sockets.
"""

import contextlib
import json
import socket
import threading

MODELS = {"object": "list", "data": []}
CUT = "hang up"  # a reply: none at all


def reply(status=200, body="", headers=()):
    """Return the bytes of a whole reply; a value that is not text is sent as JSON."""
    kind = "text/plain" if isinstance(body, str) else "application/json"
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {kind}",
        f"Content-Length: {len(data)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def events(*chunks, done=True):
    """Return the bytes of a streamed reply; text is a piece of the answer, an object an event."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    pieces = [
        chunk
        if isinstance(chunk, bytes)
        else b"data: " + json.dumps(event(chunk)).encode() + b"\n\n"
        for chunk in (*chunks, *([b"data: [DONE]\n\n"] if done else []))
    ]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def event(chunk):
    if isinstance(chunk, str):
        return {"choices": [{"index": 0, "delta": {"content": chunk}}]}
    return chunk


STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Wire:
    """Answers `GET …/models` like a runner, and any other request with the next reply.

    Attributes:
        url: The address of the server.
        requests: All requests as (method, path, headers in lower case, body).
        connections: The number of connections so far.
    """

    def __init__(self, *replies, path=None, port=0, prefix="/engines/v1", tls=None):
        self.replies = list(replies)
        self.prefix = prefix
        self._tls = tls
        self.requests = []
        self.connections = 0
        self.gone = threading.Event()
        self._open = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", port))
            self.port = self._listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.url = f"unix://{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # shutdown wakes accept; close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self):
        """Close every connection."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def posts(self):
        return [request for request in self.requests if request[0] == "POST"]

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:  # the client does not trust it
                return
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while first := reader.readline():
                method, path, _ = first.decode().split()
                headers = {}
                while line := reader.readline().decode().strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = json.loads(reader.read(int(headers.get("content-length", 0))) or "null")
                self.requests.append((method, path, headers, body))
                answer = self._answer(method, path)
                if answer == CUT:
                    return
                if callable(answer):
                    answer = answer(connection)
                connection.sendall(answer)
            self.gone.set()

    def _answer(self, method, path):
        if method == "GET":
            is_search = path == f"{self.prefix}/models"
            return reply(200, MODELS) if is_search else reply(404, "404 page not found")
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
