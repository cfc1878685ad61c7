"""Connections to a runner: one httpx client for each address, on the I/O thread.

That thread outlives every caller's event loop, so there is no "Event loop is closed"; a
forked process has a thread of its own, and with it connections of its own.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import httpx

from docker_model._version import __version__
from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from docker_model.http.addresses import Address, Tls

CONNECT = 10.0  # seconds; whatever takes longer is not there
# How many there may be at once is `max_concurrency`'s business.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60)
_HEADERS = {
    "User-Agent": f"docker-model-llm/{__version__}",
    "Accept-Encoding": "identity",  # compression would hold back a stream's pieces
}


@dataclass(frozen=True, slots=True)
class Link:
    """What connections are shared by.

    Attributes:
        address: Where to.
        tls: How an https server is trusted.
        named: The user has named this address, so that the proxies of the environment hold.
    """

    address: Address
    tls: Tls
    named: bool


class Connections:
    """The clients of this process; on the I/O thread alone."""

    def __init__(self) -> None:
        self._clients: dict[Link, httpx.AsyncClient] = {}
        self._end: AsyncGenerator[None] | None = None

    async def client(self, link: Link) -> httpx.AsyncClient:
        """The client for an address.

        Raises:
            InvalidRequestError: The certificates to trust cannot be read.
        """
        if self._end is None:
            self._end = self._until_the_end()
            await anext(self._end)
        client = self._clients.get(link)
        if client is None:
            self._clients[link] = client = _make(link)
        return client

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """Close what is open when the thread ends, which no finalizer does without a warning.

        A generator, because a loop that ends closes those that it has begun, after its tasks.
        """
        try:
            yield
        finally:
            for client in self._clients.values():
                await client.aclose()


def _make(link: Link) -> httpx.AsyncClient:
    address = link.address
    over_socket = address.socket and httpx.AsyncHTTPTransport(uds=address.socket, limits=_LIMITS)
    return httpx.AsyncClient(
        headers=_HEADERS,
        timeout=httpx.Timeout(None, connect=CONNECT),  # the rest is for `Timeouts`
        limits=_LIMITS,
        transport=over_socket or None,
        trust_env=link.named and not _is_near(address),
        verify=_context(link.tls) if address.root.startswith("https:") else False,
    )


def _is_near(address: Address) -> bool:
    """Whether no proxy can be meant: it would look for this address in another place."""
    host = address.host
    if address.socket is not None or host == "localhost" or host.endswith(".docker.internal"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_cert)
    except OSError as error:  # ssl.SSLError is one
        msg = f"MODEL_RUNNER_TLS_CA_CERT cannot be used: {error.strerror or error}"
        raise InvalidRequestError(msg, hint="it is the name of a PEM file") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
