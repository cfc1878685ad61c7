"""Child processes with scripted behavior, and a socket that shows when they are dead."""

import asyncio
import contextlib
import os
import signal
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


def kill_runs(docker):
    """Kill the simulated commands that still run, each with its process group."""
    for call in docker.calls:
        if call.alive:
            os.killpg(call.pid, signal.SIGKILL)


def wait_for_end(connection):
    while connection.recv(16):
        pass


async def interrupt(liveness, *steps):
    """Run a child until its step `here`, and cancel; return the child's connection."""
    running = asyncio.ensure_future(run(player(*steps), env=liveness.env))
    connection = await liveness.here()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return connection


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

    async def here(self):
        """Wait until a child has done the step `here`; return its connection."""
        loop = asyncio.get_running_loop()
        self._server.setblocking(False)
        connection, _ = await loop.sock_accept(self._server)
        self._connections.append(connection)
        connection.setblocking(False)
        assert await loop.sock_recv(connection, 1)
        connection.settimeout(CONNECT_TIMEOUT)
        self._server.settimeout(CONNECT_TIMEOUT)
        return connection

    def wait_all_dead(self, count):
        """Wait until `count` children have connected, and they and all their forks are dead."""
        for _ in range(count):
            wait_for_end(self.accept())

    def connected(self):
        """Return the connections of the children that have connected.

        A child that was killed soon after its start may not have connected. If all children have
        ended, none connects later.
        """
        self._server.setblocking(False)
        connections = []
        with contextlib.suppress(BlockingIOError):
            while True:
                connections.append(self.accept())
        self._server.settimeout(CONNECT_TIMEOUT)
        return connections

    def close(self):
        for connection in self._connections:
            connection.close()
        self._server.close()
