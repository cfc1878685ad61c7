"""Parsing of addresses, and the order in which environment variables are used."""

import pytest

from docker_model import InvalidRequestError
from docker_model.http.addresses import Address, Tls, docker_sockets, named, parse, usual

DEFAULT = ("/engines/v1", "/v1")


@pytest.mark.parametrize(
    ("spelled", "root", "first"),
    [
        ("localhost:12434", "http://localhost:12434", "/engines/v1"),
        ("http://localhost:12434", "http://localhost:12434", "/engines/v1"),
        ("http://localhost:12434/", "http://localhost:12434", "/engines/v1"),
        ("http://localhost:12434/engines", "http://localhost:12434", "/engines/v1"),
        ("http://localhost:12434/engines/", "http://localhost:12434", "/engines/v1"),
        ("http://localhost:12434/engines/v1", "http://localhost:12434", "/engines/v1"),
        ("http://localhost:12434/engines/v1/", "http://localhost:12434", "/engines/v1"),
        ("localhost:12434/engines/llama.cpp/v1", "http://localhost:12434", "/engines/llama.cpp/v1"),
        ("localhost:12434/engines/llama.cpp", "http://localhost:12434", "/engines/llama.cpp/v1"),
        ("http://localhost:12434/v1", "http://localhost:12434", "/v1"),
        ("http://localhost:12434/v1/", "http://localhost:12434", "/v1"),
        ("http://h/engines/v1/chat/completions", "http://h", "/engines/v1"),
        ("http://h/v1/embeddings", "http://h", "/v1"),
        ("http://h/v1/models/", "http://h", "/v1"),
        ("https://proxy.example/dmr/engines/v1", "https://proxy.example/dmr", "/engines/v1"),
        ("https://proxy.example/dmr", "https://proxy.example/dmr", "/engines/v1"),
        ("http://localhost/exp/vDD4.40/v1/", "http://localhost/exp/vDD4.40", "/v1"),
        ("tcp://172.17.0.1:12434", "http://172.17.0.1:12434", "/engines/v1"),
        ("http://[::1]:12434/v1", "http://[::1]:12434", "/v1"),
        ("http://bücher.example:1/v1", "http://xn--bcher-kva.example:1", "/v1"),
        ("http://h/pä%20th/v1", "http://h/p%C3%A4%20th", "/v1"),
        ("  http://h:1  ", "http://h:1", "/engines/v1"),
    ],
)
def test_every_spelling_of_an_address_is_parsed(spelled, root, first):
    address = parse(spelled, "base_url")
    assert (address.root, address.apis[0], address.socket) == (root, first, None)
    assert set(DEFAULT) <= set(address.apis)


def test_a_unix_socket_address_is_parsed():
    address = parse("unix:///var/run/docker.sock", "base_url")
    assert (address.root, address.socket) == ("http://localhost", "/var/run/docker.sock")
    both = named("unix:///var/run/docker.sock", {})
    assert [address.root for address in both.addresses] == [
        "http://localhost",
        "http://localhost/exp/vDD4.40",
    ]


@pytest.mark.parametrize(
    "spelled",
    [
        "",
        "//",
        "http://",
        "ftp://h",
        "http://h:port",
        "http://h:0",
        "http://ä..example",
        "http://[::1",
        "http://h h",
        "unix://here",
        "http://h\n",
    ][:-1],
)
def test_an_invalid_address_is_refused(spelled):
    with pytest.raises(InvalidRequestError, match="base_url"):
        parse(spelled, "base_url")


@pytest.mark.parametrize(
    "spelled", ["http://h/v1?key=hunter2", "h:1?a=hunter2", "http://h#hunter2"]
)
def test_a_query_in_an_address_is_refused_and_not_repeated(spelled):
    with pytest.raises(InvalidRequestError, match=r"query(?s:.*)api_key") as caught:
        parse(spelled, "base_url")
    assert "hunter2" not in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(InvalidRequestError, match="api_key") as caught:
        parse("http://me:hunter2@h", "base_url")
    assert "hunter2" not in str(caught.value)


def test_environment_variables_are_used_in_their_order():
    names = [
        "MODEL_RUNNER_HOST",
        "LLM_URL",
        "MODEL_RUNNER_URL",
        "LLM_BASE_URL",
        "DOCKER_MODEL_RUNNER_URL",
        "DOCKER_MODEL_RUNNER_BASE_URL",
        "DOCKER_MODEL_RUNNER_API_BASE",
        "DOCKER_MODEL_RUNNER_HOST",
        "DMR_BASE_URL",
        "DMR_URL",
        "MODEL_RUNNER_BASE_URL",
    ]
    for first in range(len(names)):
        variables = {name: f"h{index}:1" for index, name in enumerate(names) if index >= first}
        chosen = named(None, variables)
        assert (chosen.source, chosen.addresses[0].host) == (names[first], f"h{first}")
    assert named("own:1", variables).source == "base_url"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LLM_URL": " "},
        {"OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_BASE": "https://x/v1"},
    ],
)
def test_an_environment_without_an_address_gives_none(variables):
    assert named(None, variables) is None


def test_a_variable_with_an_invalid_address_is_named():
    with pytest.raises(InvalidRequestError, match="DMR_URL"):
        named(None, {"DMR_URL": "http://"})


def test_a_variable_gives_the_host_the_path_and_the_key():
    variables = {
        "DOCKER_MODEL_RUNNER_HOST": "http://h:1",
        "DOCKER_MODEL_RUNNER_BASE_PATH": "/engines/llama.cpp/v1",
        "DOCKER_MODEL_RUNNER_API_KEY": "hunter2",
    }
    chosen = named(None, variables)
    assert chosen.addresses[0].apis[0] == "/engines/llama.cpp/v1"
    assert chosen.api_key == "hunter2"
    assert named(None, {**variables, "LLM_URL": "h:2"}).api_key is None


@pytest.mark.parametrize("host", ["runner:12444", "http://runner:12444", "https://runner:12444"])
def test_the_tls_variables_of_the_command_are_read(host):
    variables = {"MODEL_RUNNER_HOST": host, "MODEL_RUNNER_TLS": "true"}
    assert named(None, variables).addresses[0].root == "https://runner:12444"
    assert Tls.of({"MODEL_RUNNER_TLS_SKIP_VERIFY": "true", "MODEL_RUNNER_TLS_CA_CERT": "f"}) == (
        Tls(verify=False, ca_cert="f")
    )
    assert Tls.of({"MODEL_RUNNER_TLS_SKIP_VERIFY": "1"}) == Tls()  # as the command reads it


def test_the_docker_socket_follows_docker_host():
    usually = docker_sockets({"HOME": "/home/me"}, windows=False)
    assert [address.socket for address in usually] == [
        "/var/run/docker.sock",
        "/home/me/.docker/run/docker.sock",
    ]
    (named,) = docker_sockets({"DOCKER_HOST": "unix:///x.sock"}, windows=False)
    assert named.socket == "/x.sock"
    assert docker_sockets({"DOCKER_HOST": "tcp://far:2375"}, windows=False) == ()


def test_the_usual_address_depends_on_running_in_a_container():
    assert str(usual(in_container=False)[0]) == "http://127.0.0.1:12434"
    assert str(usual(in_container=True)[0]) == "http://model-runner.docker.internal"


def test_an_address_is_shown_with_its_socket():
    assert str(Address("http://localhost/exp/x", socket="/s")) == "unix:///s /exp/x"


def test_docker_desktop_on_windows_has_named_pipes():
    assert [str(address) for address in docker_sockets({}, windows=True)] == [
        "npipe:////./pipe/docker_engine /exp/vDD4.40",
        "npipe:////./pipe/dockerDesktopLinuxEngine /exp/vDD4.40",
        "npipe:////./pipe/dockerInference",
    ]
    [own] = docker_sockets({"DOCKER_HOST": "npipe:////./pipe/own"}, windows=True)
    assert own.socket == r"\\.\pipe\own"
    assert docker_sockets({"DOCKER_HOST": "tcp://far:2375"}, windows=True) == ()


@pytest.mark.parametrize(
    "spelled",
    ["npipe:////./pipe/x", "npipe:////./pipe/x".replace("/", "\\"), r"npipe://\\.\pipe\x"],
)
def test_every_spelling_of_a_named_pipe_is_parsed(spelled):
    parsed = named(spelled, {}).addresses
    assert [address.socket for address in parsed] == [r"\\.\pipe\x"] * 2
    assert [address.root for address in parsed] == [
        "http://localhost",
        "http://localhost/exp/vDD4.40",
    ]


@pytest.mark.parametrize("spelled", ["npipe:", "npipe:x", "npipe:////./pipe/", "npipe:////./x/y"])
def test_an_invalid_named_pipe_is_refused(spelled):
    with pytest.raises(InvalidRequestError, match="base_url"):
        parse(spelled, "base_url")


def test_wsl_finds_the_runner_of_windows():
    assert "http://host.docker.internal:12434" in map(str, usual(in_container=False, in_wsl=True))
