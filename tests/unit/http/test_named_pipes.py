"""The API of Docker Desktop on a named pipe of Windows."""

import asyncio
import json
import os
import threading

import pytest

from docker_model import DockerModel, RunnerUnavailableError
from tests.support.platforms import windows

pytestmark = windows
MODELS = {"object": "list", "data": [{"id": "ai/smollm2", "object": "model"}]}

transports = []


class Server(asyncio.Protocol):
    """Answer on the paths of Docker Desktop, one request at a time."""

    seen = []  # noqa: RUF012

    def connection_made(self, transport):
        self._transport = transport
        transports.append(transport)
        self._received = b""

    def data_received(self, data):
        self._received += data
        head, blank_line, body = self._received.partition(b"\r\n\r\n")
        lines = head.decode().lower().splitlines()
        lengths = [int(line.split(":")[1]) for line in lines if line.startswith("content-length")]
        if not blank_line or len(body) < sum(lengths):
            return
        self._received = b""
        method, path, _ = head.split(b"\r\n")[0].decode().split()
        self.seen.append((method, path))
        if not path.startswith("/exp/vDD4.40/"):
            self._answer(404, b"{}")
        elif method == "GET":
            self._answer(200, json.dumps(MODELS).encode())
        else:
            deltas = [{"content": "hello "}, {"content": "x" * 300_000}]
            chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
            chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
            self._answer(200, "".join([*events, "data: [DONE]\n\n"]).encode())

    def _answer(self, status, body):
        kind = "text/event-stream" if body.startswith(b"data") else "application/json"
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


@pytest.fixture
def pipe():
    """Serve as a Docker Desktop; yield the DOCKER_HOST that names it."""
    name = f"docker-model-test-{os.getpid()}"
    begun, loops = threading.Event(), []
    transports.clear()

    async def serve():
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        [server] = await loop.start_serving_pipe(Server, rf"\\.\pipe\{name}")
        loops.append((loop, stop))
        begun.set()
        await stop.wait()
        server.close()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0.1)

    def run():
        with asyncio.Runner(loop_factory=asyncio.ProactorEventLoop) as runner:
            runner.run(serve())

    Server.seen.clear()
    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    yield f"npipe:////./pipe/{name}"
    [(loop, stop)] = loops
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)


@pytest.mark.parametrize("source", ["DOCKER_HOST", "base_url"])
def test_an_answer_is_read_through_the_pipe(source, pipe, monkeypatch):
    settings = {}
    if source == "DOCKER_HOST":
        monkeypatch.setenv("DOCKER_HOST", pipe)
        monkeypatch.setenv("DOCKER_MODEL_COMMAND", "no-such-program")
    else:
        settings["base_url"] = pipe
    model = DockerModel("ai/smollm2", transport="http", **settings)
    assert model.generate("hi").text == "hello " + "x" * 300_000
    assert "".join(model.stream("hi")) == "hello " + "x" * 300_000
    assert ("GET", "/exp/vDD4.40/engines/v1/models") in Server.seen


@pytest.mark.parametrize("address", ["npipe:////./pipe/nothing-here", "unix:///var/run/x.sock"])
def test_a_missing_pipe_is_an_unavailable_runner(address):
    with pytest.raises(RunnerUnavailableError):
        DockerModel("ai/smollm2", transport="http", base_url=address).generate("hi")
