"""Connections of the HTTP client: resets, large requests, and TLS."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from docker_model import InvalidRequestError, RunnerUnavailableError
from docker_model.http import Client, connections
from docker_model.http.addresses import Tls, parse
from docker_model.http.connections import CONNECT, ConnectionKey, Connections
from tests.unit.http.chatting import MESSAGES, text
from tests.unit.http.wire import STOP, Wire, events, reply

BIG = [{"role": "user", "content": "x" * 20_000_000}]


def listening(answer):
    """Start a server that answers a search, and passes any other connection to `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                answer(listener.accept()[0])

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_a_server_that_closes_the_connection_on_a_large_request_reports_it_as_too_large():
    """The runner does so with a request that is larger than its limit."""

    def refuse(connection):
        head = connection.recv(1 << 16)
        if head.startswith(b"GET"):
            connection.sendall(reply(200, {"object": "list"}, ["Connection: close"]))
        else:
            connection.sendall(reply(413, "request too large", ["Connection: close"]))
            # Closing with unread data turns the end of the connection into a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
        connection.close()

    with listening(refuse) as listener:
        client = Client(base_url=f"127.0.0.1:{listener.getsockname()[1]}", max_retries=0)
        with pytest.raises(InvalidRequestError, match="10 MiB"):
            client.chat("m", BIG)


def test_a_large_request_waits_for_a_slow_server():
    with Wire(events("ok", STOP)) as wire:
        assert text(Client(base_url=wire.url).stream_chat("m", BIG)) == "ok"
        assert wire.posts[0][3]["messages"] == BIG


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", path]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return path


@pytest.fixture
def https(certificate):
    """A runner behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with Wire(events("ok", STOP), tls=context) as wire:
        yield f"https://localhost:{wire.port}"


def test_tls_accepts_a_certificate_given_by_the_user(https, certificate):
    client = Client(base_url=https, env={"MODEL_RUNNER_TLS_CA_CERT": str(certificate)})
    for _ in range(2):
        assert text(client.stream_chat("m", MESSAGES)) == "ok"
    plain = https.replace("https://", "")
    env = {"MODEL_RUNNER_HOST": plain, "MODEL_RUNNER_TLS": "true"}
    env["MODEL_RUNNER_TLS_SKIP_VERIFY"] = "true"
    assert text(Client(env=env).stream_chat("m", MESSAGES)) == "ok"


def test_an_untrusted_certificate_is_named_in_the_error(https):
    with pytest.raises(RunnerUnavailableError, match="certificate"):
        Client(base_url=https).chat("m", MESSAGES)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cancelling_a_request_while_it_connects_leaves_no_socket_open(scheme):
    """Cancel after each step of the loop: a socket left to the collector causes a warning."""
    left = []

    def leave(connection):
        while connection.recv(1 << 16):  # never answer
            pass
        connection.close()
        left.append(connection)

    async def cancel_at_every_turn(port):
        connections = Connections()
        link = ConnectionKey(
            parse(f"{scheme}://127.0.0.1:{port}", "test"), Tls(verify=False), named=True
        )

        async def ask():
            async with connections.send(link, "GET", f"{scheme}://127.0.0.1:{port}/models"):
                raise AssertionError

        for turns in range(40):
            request = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            request.cancel()
            await asyncio.wait([request], timeout=CONNECT)
            assert request.cancelled()
        gc.collect()

    with listening(leave) as listener:
        asyncio.run(cancel_at_every_turn(listener.getsockname()[1]))
    gc.collect()
    assert left


def test_a_connection_that_was_idle_for_too_long_is_not_reused(monkeypatch):
    def connections_for_three_requests():
        with Wire(events("ok", STOP)) as wire:
            client = Client(base_url=wire.url)
            for _ in range(3):
                assert text(client.stream_chat("m", MESSAGES)) == "ok"
            return wire.connections

    kept = connections_for_three_requests()
    monkeypatch.setattr(connections, "_KEPT", 0.0)
    assert connections_for_three_requests() >= kept + 2
