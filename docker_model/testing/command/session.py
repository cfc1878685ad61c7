"""One call of `docker model`: its process, its version, and the runner that it asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from docker_model.testing.command.process import Canceled, CommandError, CommandProcess
from docker_model.testing.records import Request
from docker_model.testing.server import phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from docker_model.testing.steps import ProcessStep

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


def refuse(text: str) -> NoReturn:
    """End the command with this text on stderr."""
    raise CommandError(text)


def rank(version: str) -> tuple[int, ...]:
    """Return a key that puts versions in the order of their release.

    Until February 2026 the plugin had numbers of its own (`p1.0.7`, or `cli-v1.0.7`), which
    the runner's `v1.0.18` follows although both begin with 1.0.
    """
    own = version.startswith(("p", "cli-"))
    numbers = [int(part) for part in version.removeprefix("cli-").lstrip("pv").split(".")]
    return (*numbers[:2], int(not own and numbers[0] > 0), *numbers[2:])


def show_json(value: Any, indent: int | None = None) -> str:
    """Return JSON with Go's spacing."""
    separators = None if indent else (",", ":")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators) + "\n"


class Reply:
    """What the runner answers to a request of the command, taken at once as it comes.

    Attributes:
        status: The HTTP status.
        text: The body, as far as nobody else took it.
        close_connection: Set by the runner: the connection broke before the end.
    """

    def __init__(
        self, process: CommandProcess, take: Callable[[bytes], object] | None, *, cancel: bool
    ) -> None:
        self.status = 0
        self.text = ""
        self.close_connection = False
        self._process, self._take, self._cancel = process, take, cancel

    @property
    def reason(self) -> str:
        """The status and its words, such as `500 Internal Server Error`."""
        return f"{self.status} {phrase(self.status)}"

    def reply(self, status: int, _content_type: str, body: bytes) -> None:
        """Take a whole reply."""
        self.status = status
        self.piece(body)

    def begin(self, _content_type: str) -> None:
        """Take the head of a reply whose body comes in pieces."""
        self.status = OK

    def piece(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.wait(0)
        if self._take and self.status == OK:
            self._take(data)
        else:
            self.text += data.decode("utf-8", "replace")

    def wait(self, seconds: float | None) -> None:
        """Do nothing for so long, `None` for ever."""
        self._process.sleep(seconds, cancel=self._cancel)

    def play(self, step: ProcessStep) -> None:
        """Do a step that concerns the command."""
        self._process.play(step)


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
        self,
        process: CommandProcess,
        answer: Callable[[Reply, Request], None],
        *,
        version: str,
        address: str,
        retry_wait: float,
    ) -> None:
        """Find the runner, by the same variables as the real CLI."""
        self.process, self.retry_wait = process, retry_wait
        self.env = process.call.env
        self.version = version.removeprefix("cli-").replace("p", "v", 1)
        self.old = rank(version) < rank("v0.1.45")
        host = self.env.get("MODEL_RUNNER_HOST", "")
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        host = host if "://" in host else f"http://{host}" if host else ENGINE
        self.base = host.rstrip("/")
        socket = self.env.get("DOCKER_HOST", "").removeprefix("unix://")
        is_default = self.base == ENGINE
        self._engine_gone = is_default and socket.startswith("/") and not Path(socket).exists()
        self._found = (is_default and not self._engine_gone) or urlsplit(host).netloc == address
        self._answer = answer

    def need_engine(self, *, always: bool = False) -> None:
        """Look for the Docker daemon, where a command does; `always` also without an install."""
        install = not self.env.get("MODEL_RUNNER_NO_AUTO_INSTALL")
        if self._engine_gone and (install or (always and not self.old)):
            address = self.env["DOCKER_HOST"]
            reason = f"failed to connect to the docker API at {address}; check if the daemon is"
            reason += " running: connect: no such file or directory"
            if self.old:
                reason = f"Cannot connect to the Docker daemon at {address}. "
                reason += "Is the docker daemon running?"
            refuse(f"unable to identify existing standalone model runner: {reason}")

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        take: Callable[[bytes], object] | None = None,
        cancel: bool = False,
    ) -> Reply:
        """Ask the runner.

        Args:
            method: `GET`, …
            path: With its query.
            body: Sent as JSON; `None` for none.
            headers: Sent beside the command's own, names in lower case.
            take: Called with each piece of the body of a reply that has the status 200.
            cancel: Whether the request ends when `docker` is going.

        Raises:
            QueryError: If the runner cannot be reached.
        """
        url = f"{self.base}{path}"
        where = f'error querying {path}: {method.capitalize()} "{url}": '
        host = urlsplit(url).netloc
        if not self._found:
            name, _, port = (
                host.rpartition("@")[2].replace("localhost", "127.0.0.1").rpartition(":")
            )
            numeric = name.replace(".", "").isdecimal()
            refused = f"dial tcp {name}:{port}: connect: connection refused"
            missing = f"dial tcp: lookup {name or port}: no such host"
            raise QueryError(where + (refused if numeric else missing))
        sent = {"user-agent": f"docker-model-cli/{self.version}", **(headers or {})}
        target = urlsplit(self.base).path + path
        size = len(json.dumps(body)) if body is not None else 0
        reply = Reply(self.process, take, cancel=cancel)
        try:
            reply.wait(0)
            self._answer(reply, Request(method, target, sent, body, size, self.process.call))
        except Canceled:
            if reply.status:
                raise
            msg = f"{where}context canceled"
            raise QueryError(msg) from None
        return reply

    def ask(self, method: str, path: str, failed: str, body: Any = None) -> Reply:
        """Ask the runner for a reply in one piece; errors begin with `failed`."""
        try:
            reply = self.request(method, path, body)
        except QueryError as error:
            refuse(f"{failed}: {error}")
        if reply.status == UNAVAILABLE:
            msg = f"{NOT_RUNNING}\n{ENABLE}"
            raise UnavailableError(msg)
        return reply

    def fetch(self, path: str, failed: str) -> Any:
        """Return a JSON value of the runner's; `None` for what is not found."""
        reply = self.ask("GET", path, failed)
        if reply.status == NOT_FOUND:
            return None
        if reply.status != OK:
            refuse(f"{failed}: failed to list models: {reply.reason}")
        return parse_json(reply.text, f"{failed}: failed to unmarshal response body")


def parse_json(text: str, failed: str) -> Any:
    """Return the value of a text; an error begins with `failed`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].lstrip()
        why = f"invalid character {rest[0]!r}" if rest else "unexpected end of JSON input"
        refuse(f"{failed}: {why}")
