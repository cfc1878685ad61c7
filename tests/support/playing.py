"""Child processes with scripted behavior, and a socket that shows when they are dead."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

from docker_model._runtime import Child

CONNECT_TIMEOUT = 60  # seconds until a started process must have connected
PLAYER = Path(__file__).with_name("player.py")


def player(*steps):
    return [sys.executable, "-S", "-E", str(PLAYER), ascii(steps)]


async def run(argv, *, env, stdin=None, on_stdout=None, seconds=None):
    """Run a child from start to end, on the I/O thread."""
    output = bytearray()
    child = await Child.start(
        argv, env=env, on_stdout=on_stdout or output.extend, stdin=stdin is not None
    )
    try:
        if stdin is not None:
            child.write(stdin)
        async with asyncio.timeout(seconds):
            end = await asyncio.shield(child.ended)
    finally:
        child.end()
    return SimpleNamespace(
        exit_code=end.code, signal=end.signal, stdout=bytes(output), stderr=end.stderr
    )


class Liveness:
    """A socket to which every process of a test connects; the kernel closes it when one dies."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(CONNECT_TIMEOUT)
        self._connections = []
        host, port = self._server.getsockname()
        self.env = {**os.environ, "LIVENESS": f"{host}:{port}"}

    def accept(self):
        connection, _ = self._server.accept()
        connection.settimeout(CONNECT_TIMEOUT)
        self._connections.append(connection)
        return connection

    def wait_all_dead(self, count):
        """Wait until `count` children have connected, and they and all their forks are dead."""
        for _ in range(count):
            connection = self.accept()
            while connection.recv(16):
                pass

    def close(self):
        for connection in self._connections:
            connection.close()
        self._server.close()
