"""Parse addresses of Docker Model Runner in all usual spellings, without I/O."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

# The path of the API on Docker's own socket, in Docker Desktop.
_ON_DOCKERS_SOCKET = "http://localhost/exp/vDD4.40"
# Pipes of Docker Desktop on Windows: the default of `docker`, and that of Desktop's context.
_DOCKERS_PIPES = ("docker_engine", "dockerDesktopLinuxEngine")
_RUNNERS_PIPE = "dockerInference"  # the API of the runner itself
_PIPE = "\\\\.\\pipe\\"
_WINDOWS = os.name == "nt"

# All runners support the first path. The second is an alias since the runner's v1.0.0, and the
# only path of an engine that runs without the runner.
_APIS = ("/engines/v1", "/v1")
_ENDPOINT = re.compile(r"/(?:chat/completions|completions|embeddings|models)$")
_API = re.compile(r"(?:/engines(?:/(?!v1(?:/|$))[^/]+)?)?(?:/v1)?$")

_KEPT = "/%:@!$&'()*+,;=~"  # characters of a path that are not escaped

# In order of precedence. `OPENAI_*` is not included, because it can be the address of a paid
# service.
_VARIABLES = (
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
)
_TLS = ("MODEL_RUNNER_TLS", "MODEL_RUNNER_TLS_SKIP_VERIFY", "MODEL_RUNNER_TLS_CA_CERT")
# All variables that affect the discovery of the runner.
RELEVANT = (
    *_VARIABLES,
    *_TLS,
    "DOCKER_MODEL_RUNNER_BASE_PATH",
    "DOCKER_MODEL_RUNNER_API_KEY",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "HOME",
)


@dataclass(frozen=True, slots=True)
class Address:
    """A possible address of the API.

    Attributes:
        root: Scheme, host, port, and the path before `/engines` and `/models`.
        apis: Possible paths of the OpenAI-compatible API below `root`, most likely first.
        socket: The Unix socket or the named pipe to connect to; `None` for TCP.
    """

    root: str
    apis: tuple[str, ...] = _APIS
    socket: str | None = None

    def __str__(self) -> str:
        if self.socket is None:
            return self.root
        local = f"unix://{self.socket}"
        if self.socket.startswith(_PIPE):
            local = f"npipe://{self.socket.replace(chr(92), '/')}"
        return f"{local} {urlsplit(self.root).path}".rstrip()

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        url = urlsplit(self.root)
        return f"{url.scheme}://{url.netloc}"

    @property
    def host(self) -> str:
        """Return the host name or IP address."""
        return urlsplit(self.root).hostname or ""


def parse(spelled: str, name: str) -> Address:
    """Parse an address in any of its usual spellings.

    `host:port`, with or without scheme, trailing slash and any path of the API:
    `/engines`, `/engines/v1`, `/engines/llama.cpp/v1`, `/v1`, `/v1/chat/completions`;
    `unix:///path` for a Unix socket, `npipe:////./pipe/name` for a named pipe of Windows.

    Args:
        spelled: The address.
        name: The setting or variable that contains it, for the error.

    Raises:
        InvalidRequestError: If the address is invalid.
    """
    text = spelled.strip()
    if text.startswith(("unix:", "npipe:")):
        path = _pipe(text) or text.removeprefix("unix://").rstrip("/")
        if path.startswith(("/", _PIPE)):
            return Address("http://localhost", socket=path)
        raise _no_address(name)
    if "//" not in text:
        text = f"http://{text}"
    try:
        url = urlsplit(text)
        fit = url.scheme in ("http", "https", "tcp") and url.hostname and url.port != 0
        where = url.netloc if url.netloc.isascii() else _in_ascii(url)
    except ValueError:  # an invalid port, an open bracket, an invalid host name
        fit, where = False, ""
    if not fit or re.search(r"[\s\x00-\x1f]", text):
        raise _no_address(name)
    if url.username is not None or url.password is not None:
        msg = f"{name} contains a user name or a password"
        raise InvalidRequestError(msg, hint="pass credentials as api_key= or headers=")
    if url.query or url.fragment:
        msg = f"{name} contains a query or a fragment, which cannot be sent"
        raise InvalidRequestError(msg, hint="pass credentials as api_key= or headers=")
    scheme = "http" if url.scheme == "tcp" else url.scheme  # the CLI would use `tcp` as a host
    path = _ENDPOINT.sub("", quote(url.path, safe=_KEPT).rstrip("/"))
    api = _API.search(path)
    assert api is not None  # the pattern matches the empty string
    root = f"{scheme}://{where}{path[: api.start()]}"
    if not api[0]:
        return Address(root)
    spelled_api = api[0] if api[0].endswith("/v1") else f"{api[0]}/v1"
    return Address(root, tuple(dict.fromkeys((spelled_api, *_APIS))))


def _pipe(spelled: str) -> str | None:
    """Parse `npipe:////./pipe/name`, with `/` or backslashes; `None` for other text."""
    match = re.fullmatch(r"npipe:(?://)?//\./pipe/([^/]+)", spelled.replace("\\", "/"))
    return match and _PIPE + match[1]


def _in_ascii(url: SplitResult) -> str:
    host = (url.hostname or "").encode("idna").decode()
    return host if url.port is None else f"{host}:{url.port}"


def _no_address(name: str) -> InvalidRequestError:
    msg = f"{name} is not a valid address of Docker Model Runner"
    return InvalidRequestError(msg, hint=f"for example {name}=http://localhost:12434/engines/v1")


@dataclass(frozen=True, slots=True)
class ConfiguredAddress:
    """An address that a setting or a variable sets.

    Attributes:
        source: The setting or the environment variable.
        addresses: The possible interpretations of the address, most likely first.
        api_key: The key from the variable that belongs to this source, if set.
    """

    source: str
    addresses: tuple[Address, ...]
    api_key: str | None = None


def named(base_url: str | None, variables: Mapping[str, str]) -> ConfiguredAddress | None:
    """Return the configured address: `base_url`, or the first variable that is set.

    Args:
        base_url: The setting.
        variables: The environment; a blank variable counts as unset.

    Raises:
        InvalidRequestError: If the address is invalid.
    """
    if base_url is not None:
        return ConfiguredAddress("base_url", _readings(parse(base_url, "base_url")))
    for name in _VARIABLES:
        value = variables.get(name, "").strip()
        if not value:
            continue
        if name == "DOCKER_MODEL_RUNNER_HOST" and "/" not in value.rpartition("//")[2]:
            value += variables.get("DOCKER_MODEL_RUNNER_BASE_PATH", "").strip()
        if name == "MODEL_RUNNER_HOST" and _is_true(variables, "MODEL_RUNNER_TLS"):
            value = re.sub(r"^(?:\w+://)?", "https://", value)
        ours = name.startswith("DOCKER_MODEL_RUNNER_")
        key = variables.get("DOCKER_MODEL_RUNNER_API_KEY", "").strip() if ours else ""
        return ConfiguredAddress(name, _readings(parse(value, name)), key or None)
    return None


def _readings(address: Address) -> tuple[Address, ...]:
    if address.socket is None:
        return (address,)
    return address, Address(_ON_DOCKERS_SOCKET, socket=address.socket)


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS settings for https addresses.

    Attributes:
        verify: Whether the server's certificate is verified.
        ca_cert: A file of trusted certificates; `None` for the system's.
    """

    verify: bool = True
    ca_cert: str | None = None

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Tls:
        """Read the `MODEL_RUNNER_TLS…` variables."""
        return cls(
            verify=not _is_true(variables, "MODEL_RUNNER_TLS_SKIP_VERIFY"),
            ca_cert=variables.get("MODEL_RUNNER_TLS_CA_CERT") or None,
        )


def _is_true(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name) == "true"  # only this spelling, as in the CLI


def docker_sockets(
    variables: Mapping[str, str], *, windows: bool = _WINDOWS
) -> tuple[Address, ...]:
    """Return the possible addresses of Docker Desktop's API on a Unix socket or named pipe.

    Args:
        variables: The environment.
        windows: Use the rules of Windows.
    """
    host = variables.get("DOCKER_HOST", "")
    if windows:
        named = _pipe(host)
        pipes = [_PIPE + name for name in _DOCKERS_PIPES] if not host else [named] if named else []
        sockets = tuple(Address(_ON_DOCKERS_SOCKET, socket=pipe) for pipe in pipes)
        return (
            sockets
            if host
            else (*sockets, Address("http://localhost", socket=_PIPE + _RUNNERS_PIPE))
        )
    paths = ["/var/run/docker.sock", f"{variables.get('HOME', '')}/.docker/run/docker.sock"]
    if host:
        paths = [host.removeprefix("unix://")] if host.startswith("unix://") else []
    return tuple(Address(_ON_DOCKERS_SOCKET, socket=path) for path in paths)


def usual(*, in_container: bool, in_wsl: bool = False) -> tuple[Address, ...]:
    """Return the default addresses of the runner, most likely first.

    Args:
        in_container: Whether this process runs in a container.
        in_wsl: Whether this process runs in the Windows Subsystem for Linux, where the loopback
            address is not always that of Windows.
    """
    near = ("127.0.0.1:12434", "127.0.0.1:12435")  # Docker Engine and Desktop; Docker Cloud
    hosts = (
        (
            "model-runner.docker.internal",
            "model-runner.docker.internal:12434",
            "host.docker.internal:12434",
            "172.17.0.1:12434",
        )
        if in_container
        else (*near, "host.docker.internal:12434")
        if in_wsl
        else near
    )
    return tuple(Address(f"http://{host}") for host in hosts)
