"""One call of `docker model`: its process, its version, and the runner that it talks to."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from docker_model.testing.command.process import Canceled, CommandError, CommandProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OK, NOT_FOUND, UNAVAILABLE = 200, 404, 503
ENGINE = "http://localhost:12434"
BOLD_NEXT = "\033[1m\nWhat's next:\033[0m\n"
NOT_RUNNING = "Docker Model Runner is not running. Please start it and try again.\n"
ENABLE = (
    f"{BOLD_NEXT}    Enable Docker Model Runner via the CLI → docker desktop enable model-runner\n"
    "    Enable Docker Model Runner via the GUI → Go to Settings->AI->Enable Docker Model Runner"
)


class QueryError(CommandError):
    """A request did not get through; the text is Go's own."""


class UnavailableError(CommandError):
    """HTTP 503, which the CLI takes for "not running" whichever program sends it."""


class CutError(Exception):
    """The connection ended before the reply was complete."""


def rank(version: str) -> tuple[int, ...]:
    """Return a key that puts versions in the order of their release.

    Until February 2026 the plugin had numbers of its own (`p1.0.7`, or `cli-v1.0.7`), which
    the runner's `v1.0.18` follows although both begin with 1.0.
    """
    own = version.startswith(("p", "cli-"))
    numbers = [int(part) for part in version.removeprefix("cli-").lstrip("pv").split(".")]
    return (*numbers[:2], int(not own and numbers[0] > 0), *numbers[2:])


def go_json(value: Any, indent: int | None = None) -> str:
    """Return JSON with Go's spacing and its escapes."""
    separators = None if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def parse_json(text: str, failed: str) -> Any:
    """Return the value of a text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].lstrip()
        context = " looking for beginning of value"
        if error.msg == "Extra data":
            context = " after top-level value"
        elif error.msg.startswith("Expecting property name"):
            context = " looking for beginning of object key string"
        why = f"invalid character {rest[0]!r}{context}" if rest else "unexpected end of JSON input"
        msg = f"{failed}: {why}"
        raise CommandError(msg) from None


class Reply:
    """A reply whose body is still to be read.

    Attributes:
        status: The number.
        reason: The number and its words, such as `500 Internal Server Error`.
        content_type: Its header, empty without one.
    """

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connection: http.client.HTTPConnection,
        process: CommandProcess,
        *,
        cancel: bool,
    ) -> None:
        self.status = response.status
        self.reason = f"{response.status} {response.reason}"
        self.content_type = response.getheader("Content-Type", "")
        self._response, self._connection = response, connection
        self._process, self._cancel = process, cancel

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the body as they arrive, and hang up."""
        response, process = self._response, self._process
        with (
            contextlib.closing(self._connection),
            contextlib.closing(response),
            process.interrupting(self._connection.sock, cancel=self._cancel),
        ):
            while True:
                try:
                    data = response.read1(1 << 16)
                except (OSError, http.client.HTTPException, ValueError):
                    raise CutError from None
                process.check(cancel=self._cancel)
                if not data:
                    return
                yield data

    def read(self) -> str:
        """Return the whole body, and hang up."""
        return b"".join(self.chunks()).decode("utf-8", "replace")


class Session:
    """What every command works with.

    Attributes:
        process: The command's processes.
        env: Their environment.
        version: The plugin's version.
        old: Whether the version behaves as v0.1.40.
        retry_wait: Seconds before the first retry of a pull.
        base: The runner's address, without a slash at the end.
        kind: `Docker Engine`, or `Docker Engine (Manual Install)` with MODEL_RUNNER_HOST.
    """

    def __init__(
        self, process: CommandProcess, version: str, address: str, key: str, retry_wait: float
    ) -> None:
        """Find the runner, by the same variables as the real CLI."""
        self.process, self.retry_wait = process, retry_wait
        self.env = process.call.env
        self.version = version.removeprefix("cli-").replace("p", "v", 1)
        self.old = rank(version) < rank("v0.1.45")
        agent = f"docker-model-cli/{self.version}"
        self._headers = {"User-Agent": agent, "X-Simulated-Call": key, "Connection": "close"}
        host = self.env.get("MODEL_RUNNER_HOST", "")
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        host = host if "://" in host else f"http://{host}" if host else ENGINE
        self.base = host.rstrip("/")
        path = self.env.get("DOCKER_HOST", "").removeprefix("unix://")
        no_daemon = path.startswith("/") and not Path(path).exists()
        self._engine_gone = self.base == ENGINE and no_daemon
        self._peer = urlsplit(self.base).netloc
        if self.base == ENGINE:  # which is the simulation's own
            self._peer = "127.0.0.1:1" if no_daemon else address

    def need_engine(self, *, always: bool = False) -> None:
        """Look for the Docker daemon, where a command does; `always` also without an install."""
        install = not self.env.get("MODEL_RUNNER_NO_AUTO_INSTALL")
        if self._engine_gone and (install or (always and not self.old)):
            address = self.env["DOCKER_HOST"]
            reason = (
                f"Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
                if self.old
                else f"failed to connect to the docker API at {address}; check if the path is "
                "correct and if the daemon is running: connect: no such file or directory"
            )
            msg = f"unable to identify existing standalone model runner: {reason}"
            raise CommandError(msg)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        cancel: bool = False,
    ) -> Reply:
        """Send a request and read the reply's head.

        Args:
            method: `GET`, …
            path: With its query.
            body: Sent as JSON; `None` for none.
            headers: Sent beside those of every request.
            cancel: Whether the request ends when `docker` is going.
        """
        where = f'error querying {path}: {method.capitalize()} "{self.base}{path}": '
        sent = {**self._headers, **(headers or {})}
        data = None
        if body is not None:
            data = go_json(body).encode()
            sent["Content-Type"] = "application/json"
        target = urlsplit(self.base).path + quote(path, "/?=&:@%")
        connection = http.client.HTTPConnection(self._peer)
        try:
            self.process.check(cancel=cancel)
            connection.connect()
            with self.process.interrupting(connection.sock, cancel=cancel):
                connection.request(method, target, data, sent)
                response = connection.getresponse()
        except (Canceled, OSError, http.client.HTTPException) as error:
            connection.close()
            raise QueryError(where + self._reason(error)) from None
        except BaseException:
            connection.close()
            raise
        return Reply(response, connection, self.process, cancel=cancel)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, Canceled):
            return "context canceled"
        host = urlsplit(self.base).netloc.replace("localhost", "127.0.0.1")
        if isinstance(error, ConnectionRefusedError):
            return f"dial tcp {host}: connect: connection refused"
        if isinstance(error, http.client.HTTPException | ConnectionError):
            return "EOF"
        return f"dial tcp: lookup {host.partition(':')[0]}: no such host"

    def ask(self, method: str, path: str, failed: str, body: Any = None) -> tuple[Reply, str]:
        """Send a request, and return its reply with the whole body."""
        try:
            reply = self.request(method, path, body)
        except QueryError as error:
            msg = f"{failed}: {error}"
            raise CommandError(msg) from None
        text = reply.read()
        if reply.status == UNAVAILABLE:
            msg = f"{NOT_RUNNING}\n{ENABLE}"
            raise UnavailableError(msg)
        return reply, text

    def fetch(self, path: str, failed: str, what: str = "models") -> Any:
        """GET a JSON value.

        Args:
            path: Of the URL.
            failed: How the text of an error begins.
            what: What the CLI says that it failed to list, when the runner refuses.
        """
        reply, text = self.ask("GET", path, failed)
        if reply.status == NOT_FOUND:
            return None
        if reply.status != OK:
            msg = f"{failed}: failed to list {what}: {reply.reason}"
            raise CommandError(msg)
        return parse_json(text, f"{failed}: failed to unmarshal response body")
