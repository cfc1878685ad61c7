"""Discovery of the runner: the order of the addresses, caching, and which address gets secrets."""

import asyncio
import base64
import contextlib
import socket
import sys

import pytest

from docker_model import DockerModel, InvalidRequestError, RunnerUnavailableError
from docker_model._runtime import io_thread, tasks
from docker_model.http import Client, addresses, discovery
from docker_model.http.addresses import Address
from docker_model.testing import Reply, SimulatedDocker
from tests.support.platforms import needs_unix_sockets
from tests.unit.http.wire import STOP, Wire, events, reply

MESSAGES = [{"role": "user", "content": "hi"}]
ANSWER = events("ok", STOP)


@pytest.fixture
def nowhere(monkeypatch):
    """Make every usual address, every Docker socket and the command unavailable."""
    monkeypatch.setattr(addresses, "usual", lambda **_: ())
    monkeypatch.setattr(addresses, "docker_sockets", lambda _: ())
    monkeypatch.setenv("DOCKER_MODEL_COMMAND", "/nonexistent/docker model")


def at(monkeypatch, *wires):
    """Make these servers the usual addresses."""
    usual_addresses = tuple(Address(wire if isinstance(wire, str) else wire.url) for wire in wires)
    monkeypatch.setattr(addresses, "usual", lambda **_: usual_addresses)


def printing(text):
    """Return a command that prints this text, whatever its arguments are."""
    return [sys.executable, "-S", "-E", "-c", f"print({text!r})"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# -- where ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/v1", "/engines/v1/", "/engines/llama.cpp/v1"])
def test_a_base_url_is_accepted_in_any_spelling(path):
    with Wire(ANSWER) as wire:
        client = Client(base_url=wire.url + path)
        assert client.endpoint().url == f"{wire.url}/engines/v1"
        assert client.chat("m", MESSAGES)["choices"][0]["message"]["content"] == "ok"
        assert wire.posts[0][1] == "/engines/v1/chat/completions"


def test_a_server_that_serves_only_the_alias_path_is_found():
    with Wire(ANSWER, prefix="/v1") as wire:
        assert Client(base_url=wire.url).endpoint().url == f"{wire.url}/v1"


def test_a_variable_takes_precedence_over_the_usual_addresses(nowhere, monkeypatch):
    with Wire(ANSWER) as named, Wire(ANSWER) as usual:
        at(monkeypatch, usual)
        monkeypatch.setenv("LLM_URL", f"{named.url}/engines/v1/")
        assert Client().endpoint().source == "LLM_URL"
        assert Client(env={"DMR_URL": usual.url, "LLM_URL": ""}).endpoint().source == "DMR_URL"
        assert usual.connections == 1


def test_the_variables_of_openai_are_ignored(nowhere, monkeypatch):
    with Wire(ANSWER) as wire:
        monkeypatch.setenv("OPENAI_BASE_URL", wire.url)
        monkeypatch.setenv("OPENAI_API_BASE", wire.url)
        with pytest.raises(RunnerUnavailableError):
            Client().endpoint()
        assert wire.connections == 0


def test_the_address_is_read_from_the_status_command(nowhere):
    docker = SimulatedDocker().open()
    try:
        # MODEL_RUNNER_HOST, which the command needs, would be found first.
        status = f'{{"running": true, "endpointHost": "{docker.url}/v1/"}}'
        endpoint = Client(command=printing(status)).endpoint()
    finally:
        docker.close()
    assert (endpoint.url, endpoint.source) == (f"{docker.url}/v1", "docker model status")
    assert not endpoint.link.named


@needs_unix_sockets
def test_docker_desktop_is_found_through_the_docker_socket(nowhere, monkeypatch, tmp_path):
    status = """{"running": true, "kind": "Docker Desktop",
        "endpointHost": "http://localhost/exp/vDD4.40/v1/"}"""
    path = tmp_path / "docker.sock"
    with Wire(ANSWER, path=path, prefix="/exp/vDD4.40/engines/v1") as wire:
        here = (Address("http://localhost/exp/vDD4.40", socket=str(path)),)
        monkeypatch.setattr(addresses, "docker_sockets", lambda _: here)
        client = Client(command=printing(status))
        assert client.endpoint().source == "Docker's socket"
        assert client.chat("m", MESSAGES)["choices"][0]["message"]["content"] == "ok"
        assert wire.posts[0][1] == "/exp/vDD4.40/engines/v1/chat/completions"
    assert [tried.outcome for tried in client.endpoint().tried] == [
        "it reports no address",
        "answers",
    ]


@needs_unix_sockets
def test_a_base_url_may_name_a_unix_socket(tmp_path):
    path = tmp_path / "docker.sock"
    with Wire(ANSWER, path=path, prefix="/exp/vDD4.40/engines/v1"):
        assert Client(base_url=f"unix://{path}").endpoint().root.endswith("/exp/vDD4.40")


def test_the_first_usual_address_that_answers_is_used(nowhere, monkeypatch):
    with (
        Wire(reply(404), prefix="/other") as stranger,
        Wire(ANSWER) as first,
        Wire(ANSWER) as second,
    ):
        refused = f"http://127.0.0.1:{free_port()}"
        at(monkeypatch, refused, stranger, first, second)
        endpoint = Client().endpoint()
    assert endpoint.root == first.url
    outcomes = [tried.outcome for tried in endpoint.tried]
    assert outcomes[0].startswith("there is no program")
    assert outcomes[1:] == [
        "Connection refused",
        "answers with HTTP 404, not as Docker Model Runner",
        "answers",
    ]


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("/nonexistent/docker model", "install Docker (https://docs.docker.com/get-docker/)"),
        ("no-plugin", "docker-model-plugin"),
        ("no-engine", "start Docker (`docker info`"),
        (printing("{}"), "docker desktop enable model-runner"),
    ],
)
def test_the_hint_is_the_step_that_the_command_knows(nowhere, monkeypatch, command, step):
    with contextlib.ExitStack() as stack:
        if command in ("no-plugin", "no-engine"):
            docker = stack.enter_context(SimulatedDocker.broken(command))
            monkeypatch.setenv("MODEL_RUNNER_HOST", "")
            command = docker.command
        with pytest.raises(RunnerUnavailableError) as caught:
            Client(command=command).endpoint()
    assert step in caught.value.hint


def test_an_address_that_never_answers_is_given_up_quickly(nowhere, monkeypatch):
    monkeypatch.setattr(discovery, "PROBING", 0.5)
    with socket.create_server(("127.0.0.5", 0)) as silent, Wire(ANSWER) as wire:
        at(monkeypatch, f"http://127.0.0.5:{silent.getsockname()[1]}", wire)
        endpoint = Client().endpoint()
    assert endpoint.root == wire.url
    assert endpoint.tried[1].outcome == "no answer within 0.5 s"


@pytest.mark.parametrize("body", ["hello", [], {"models": []}])
def test_a_web_server_that_answers_every_path_is_not_taken_for_a_runner(nowhere, monkeypatch, body):
    with SimulatedDocker(replies={"*": Reply(200, body)}) as docker:
        monkeypatch.delenv("MODEL_RUNNER_HOST")
        monkeypatch.setenv("DOCKER_MODEL_COMMAND", "/nonexistent")
        at(monkeypatch, docker.url)
        with pytest.raises(RunnerUnavailableError, match="not as Docker Model Runner"):
            Client().endpoint()


def test_the_error_lists_the_addresses_that_were_tried(nowhere, monkeypatch):
    at(monkeypatch, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RunnerUnavailableError) as caught:
        Client().chat("m", MESSAGES)
    assert "docker model status: there is no program" in str(caught.value)
    assert "usual address (http://127.0.0.1:" in str(caught.value)
    assert "MODEL_RUNNER_HOST" in caught.value.hint


def test_a_base_url_that_refuses_connections_is_not_replaced_by_a_usual_address(
    nowhere, monkeypatch
):
    with Wire(ANSWER) as usual:
        at(monkeypatch, usual)
        with pytest.raises(RunnerUnavailableError, match="base_url"):
            Client(base_url=f"http://127.0.0.1:{free_port()}").endpoint()
        assert usual.connections == 0


def test_a_variable_that_refuses_connections_is_not_replaced_by_a_usual_address(
    nowhere, monkeypatch
):
    with Wire(ANSWER) as usual:
        at(monkeypatch, usual)
        assert not Client().uses_address_unknown_to_cli
        assert not Client(env={"MODEL_RUNNER_HOST": usual.url}).uses_address_unknown_to_cli
        monkeypatch.setenv("MODEL_RUNNER_URL", f"http://127.0.0.1:{free_port()}/engines/v1")
        assert Client().uses_address_unknown_to_cli
        with pytest.raises(RunnerUnavailableError, match="MODEL_RUNNER_URL"):
            Client().endpoint()
        assert usual.connections == 0


def test_an_invalid_address_names_the_setting_it_came_from(nowhere, monkeypatch):
    monkeypatch.setenv("DMR_URL", "http://")
    with pytest.raises(InvalidRequestError, match="DMR_URL"):
        Client().endpoint()
    with pytest.raises(InvalidRequestError, match="base_url"):
        Client(base_url="http://")


# -- once ----------------------------------------------------------------------------------


def test_concurrent_searches_share_one_request(nowhere, monkeypatch):
    with Wire(ANSWER) as wire:
        at(monkeypatch, wire)

        async def main():
            await asyncio.gather(*(Client().aendpoint() for _ in range(5)))
            return await Client().aendpoint()

        assert asyncio.run(main()) is Client().endpoint()
        assert len(wire.requests) == 1


def test_a_failed_search_is_not_repeated_at_once(nowhere, monkeypatch):
    with Wire(reply(404), prefix="/other") as stranger:
        at(monkeypatch, stranger)
        for _ in range(3):
            with pytest.raises(RunnerUnavailableError, match="not as Docker Model Runner"):
                Client().endpoint()
        assert stranger.connections == 1
        with pytest.raises(RunnerUnavailableError):  # another place, another search
            Client(env={"DOCKER_CONTEXT": "other"}).endpoint()
        monkeypatch.setattr(discovery, "NOT_AGAIN", 0)
        requests = len(stranger.requests)
        for env in ({"DOCKER_CONTEXT": "third"}, {"DOCKER_CONTEXT": "third"}):
            with pytest.raises(RunnerUnavailableError):
                Client(env=env).endpoint()
        assert len(stranger.requests) == 2 * requests


def test_a_base_url_is_requested_again_at_once_after_a_failure():
    port = free_port()
    client = Client(base_url=f"http://127.0.0.1:{port}")
    with pytest.raises(RunnerUnavailableError):
        client.chat("m", MESSAGES)
    with Wire(ANSWER, port=port):
        assert client.chat("m", MESSAGES)["choices"]


def test_a_runner_that_has_gone_is_searched_again(nowhere, monkeypatch):
    with Wire(ANSWER) as first, Wire(ANSWER) as second:
        at(monkeypatch, first, second)
        client = Client()
        client.chat("m", MESSAGES)
        first.__exit__()
        assert client.chat("m", MESSAGES)["choices"]
        assert client.endpoint().root == second.url


def test_an_unverified_endpoint_is_checked_again():
    with SimulatedDocker.broken("runner-off") as docker:
        assert not Client().endpoint().verified
        with pytest.raises(RunnerUnavailableError, match="not running"):
            Client(max_retries=0).chat("ai/smollm2", MESSAGES)
        docker._scenario.replies = {}
        assert Client().chat("ai/smollm2", MESSAGES)


def test_a_search_whose_caller_was_cancelled_does_not_disturb_the_next(nowhere, monkeypatch):
    monkeypatch.setattr(discovery, "PROBING", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")

        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await Client().aendpoint()
            with pytest.raises(RunnerUnavailableError):
                await Client().aendpoint()

        asyncio.run(main())


# -- secrets -------------------------------------------------------------------------------

SECRETS = {"api_key": "hunter2", "headers": {"X-Token": "hunter3"}}


def test_secrets_are_sent_to_a_named_address(monkeypatch):
    with Wire(ANSWER) as wire:
        Client(base_url=wire.url, **SECRETS).chat("m", MESSAGES)
        monkeypatch.setenv("LLM_URL", wire.url)
        Client(**SECRETS).chat("m", MESSAGES)
        for _, _, headers, _ in wire.posts:
            assert (headers["authorization"], headers["x-token"]) == ("Bearer hunter2", "hunter3")


def test_secrets_are_never_sent_to_a_discovered_address(nowhere, monkeypatch):
    with Wire(ANSWER) as wire:
        at(monkeypatch, wire)
        client = Client(**SECRETS)
        client.chat("m", MESSAGES)
        list(client.stream_chat("m", MESSAGES))
        DockerModel("m", api_key="hunter2").generate("hi")
        assert len(wire.posts) == 3
        assert not [request for request in wire.requests if "hunter" in str(request)]


def test_probes_contain_no_secrets():
    with Wire(ANSWER) as wire:
        Client(base_url=wire.url, **SECRETS).endpoint()
        assert "hunter" not in str(wire.requests)


def test_a_server_that_requires_a_key_for_every_path_is_found(monkeypatch):
    with SimulatedDocker(replies={"GET /engines/v1/models": Reply(401)}) as docker:
        client = Client(base_url=docker.url, api_key="k")
        assert client.endpoint().verified
        assert client.chat("ai/smollm2", MESSAGES)


def test_the_key_from_a_variable_is_sent_only_to_the_address_of_that_variable(nowhere, monkeypatch):
    monkeypatch.setenv("DOCKER_MODEL_RUNNER_API_KEY", "hunter2")
    with Wire(ANSWER) as wire:
        monkeypatch.setenv("DOCKER_MODEL_RUNNER_URL", wire.url)
        Client().chat("m", MESSAGES)
        Client(base_url=wire.url).chat("m", MESSAGES)
        assert [post[2].get("authorization") for post in wire.posts] == ["Bearer hunter2", None]


def test_a_redirect_is_not_followed():
    with Wire(ANSWER) as other, Wire(reply(307, headers=[f"Location: {other.url}/x"])) as wire:
        with pytest.raises(RunnerUnavailableError):
            Client(base_url=wire.url, **SECRETS).chat("m", MESSAGES)
        assert other.connections == 0


def test_proxies_are_used_for_remote_addresses_only(monkeypatch):
    with Wire(ANSWER) as wire, Wire(ANSWER) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        Client(base_url=wire.url).chat("m", MESSAGES)
        assert proxy.connections == 0
        Client(base_url="http://runner.invalid:1").chat("m", MESSAGES)
        assert proxy.posts[0][1] == "http://runner.invalid:1/engines/v1/chat/completions"


@pytest.mark.parametrize(
    "proxy", ["socks5://me:hunter2@p:1", "http://p:x", "http://[::1", "http://", "ftp://p"]
)
def test_an_unsupported_proxy_is_an_error(monkeypatch, proxy):
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(InvalidRequestError, match="no_proxy") as caught:
        Client(base_url=f"http://{abs(hash(proxy))}.invalid:1").chat("m", MESSAGES)
    assert "hunter" not in str(caught.value)


def test_a_proxy_gets_its_credentials_and_no_proxy_is_honored(monkeypatch):
    with Wire(ANSWER) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me%40home:pa%3Ass@"))
        monkeypatch.setenv("no_proxy", "near.invalid")
        Client(base_url="http://far.invalid:1").chat("m", MESSAGES)
        login = base64.b64encode(b"me@home:pa:ss").decode()
        assert proxy.posts[0][2]["proxy-authorization"] == f"Basic {login}"
        with pytest.raises(RunnerUnavailableError):
            Client(base_url="http://near.invalid:1").chat("m", MESSAGES)


def test_settings_and_reports_show_no_secrets():
    with Wire(ANSWER) as wire:
        client = Client(base_url=wire.url, env={"A": "hunter1"}, **SECRETS)
        text = repr(client) + repr(client.endpoint()) + str(client.endpoint())
        assert "hunter" not in text
        assert "hunter" not in repr(DockerModel("m", api_key="hunter2"))
        assert "hunter" not in repr(client.transport())


def test_an_unreadable_certificate_file_is_named(monkeypatch):
    monkeypatch.setenv("MODEL_RUNNER_TLS_CA_CERT", "/nonexistent.pem")
    with pytest.raises(InvalidRequestError, match="MODEL_RUNNER_TLS_CA_CERT"):
        Client(base_url="https://127.0.0.1:1").endpoint()


@pytest.fixture(autouse=True)
def forget_discovery():
    """Clear the cache of discovered addresses after each test."""
    yield

    async def forget():
        discovery._found.clear()
        io_thread.current().local(discovery.Endpoints)._in_vain.clear()

    tasks.run_blocking(forget())


@pytest.mark.parametrize("name", ["base_url", "MODEL_RUNNER_HOST"])
def test_a_named_address_that_refuses_connections_is_named_in_the_hint(name, monkeypatch):
    address = "http://127.0.0.1:1"
    if name != "base_url":
        monkeypatch.setenv(name, address)
    with pytest.raises(RunnerUnavailableError) as caught:
        Client(base_url=address if name == "base_url" else None).endpoint()
    assert caught.value.hint.startswith(f"check {name}; ")
