"""The session of one `docker model` command: its process, its version and its runner."""

from __future__ import annotations

import json
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from docker_model.testing.command.process import Canceled, CommandError, CommandProcess
from docker_model.testing.records import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.testing.runner import Scenario
    from docker_model.testing.steps import ProcessStep

OK, ERRORS, NOT_FOUND, UNAVAILABLE = 200, 400, 404, 503
ENGINE = "http://localhost:12434"
NOT_RUNNING = "Docker Model Runner is not running. Please start it and try again."
NO_ENGINE = "failed to connect to the docker API at {}; check if the daemon is running"


class QueryError(CommandError):
    """A request did not reach the runner."""


class NotFoundError(CommandError):
    """The runner replied with HTTP 404."""


class UnavailableError(CommandError):
    """The runner replied with HTTP 503, which means "not running" to the CLI."""


def refuse(text: str) -> NoReturn:
    """Raise a `CommandError`, which ends the command with this text on stderr."""
    raise CommandError(text)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as `v1.2.6`."""
    return tuple(int(part) for part in version.lstrip("cli-pv").split("."))


def parse_json(text: str, failed: str) -> Any:
    """Return the JSON value of a text; an error message begins with `failed`."""
    try:
        return json.loads(text)
    except ValueError:
        refuse(f"{failed}: invalid character")


class RunnerReply:
    """The runner's reply to a request of the command, received without HTTP.

    Attributes:
        status: The HTTP status.
        text: The body, except the pieces that were passed to `take`.
        close_connection: Set by the runner if the connection breaks before the end.
    """

    def __init__(
        self, process: CommandProcess, take: Callable[[bytes], object] | None, *, cancel: bool
    ) -> None:
        self.status = 0
        self.text = ""
        self.close_connection = False
        self._process, self._take, self._cancel = process, take, cancel

    def reply(self, status: int, _content_type: str, body: bytes) -> None:
        """Receive a complete reply."""
        self.status = status
        self.piece(body)

    def begin(self, _content_type: str) -> None:
        """Receive the head of a streamed reply."""
        self.status = OK

    def piece(self, data: bytes) -> None:
        """Receive a piece of the body."""
        self.wait(0)
        if self._take and self.status == OK:
            self._take(data)
        else:
            self.text += data.decode("utf-8", "replace")

    def wait(self, seconds: float | None) -> None:
        """Wait for some seconds, or for ever with `None`."""
        self._process.sleep(seconds, cancel=self._cancel)

    def play(self, step: ProcessStep) -> None:
        """Play a step that acts on the command."""
        self._process.play(step)

    def check(self, failed: str) -> None:
        """Raise a `CommandError` for the status of an error; its message begins with `failed`."""
        if self.status >= ERRORS:
            reason = f"{self.status} {responses.get(self.status, '')}"
            refuse(f"{failed} with status {reason}: {self.text}")


class Session:
    """The process, settings and runner of one command.

    Attributes:
        process: The command's processes.
        env: The environment of the processes.
        version: The version of the plugin.
        old: Whether the version behaves like v0.1.40.
        retry_wait: Seconds before the first retry of a pull.
        base: The runner's address, without a trailing slash.
        kind: The kind of the engine, which depends on MODEL_RUNNER_HOST.
    """

    def __init__(
        self,
        process: CommandProcess,
        answer: Callable[[RunnerReply, Request], None],
        address: str,
        scenario: Scenario,
    ) -> None:
        """Find the runner from the variables that the real CLI uses."""
        self.process, self.retry_wait = process, scenario.retry_wait
        self.env = process.call.env
        self.version = scenario.version.removeprefix("cli-").replace("p", "v", 1)
        self.old = version_numbers(self.version) < version_numbers("v0.1.45")
        host = self.env.get("MODEL_RUNNER_HOST", "")
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        url = host if "://" in host else f"http://{host}"
        self.base = url.rstrip("/") if host else ENGINE
        socket = self.env.get("DOCKER_HOST", "").removeprefix("unix://").removeprefix("npipe://")
        self._no_engine = not host and socket.startswith("/") and not Path(socket).exists()
        self._found = urlsplit(self.base).netloc == address or not (host or self._no_engine)
        self._answer = answer

    def need_engine(self, *, always: bool = False) -> None:
        """Refuse if the daemon is missing and needed, `always` or to install a runner."""
        if self._no_engine and (always or not self.env.get("MODEL_RUNNER_NO_AUTO_INSTALL")):
            refuse(NO_ENGINE.format(self.env["DOCKER_HOST"]))

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        preload: bool = False,
        take: Callable[[bytes], object] | None = None,
        cancel: bool = False,
    ) -> RunnerReply:
        """Send a request to the runner.

        Args:
            method: The HTTP method.
            path: The path with its query.
            body: The body, sent as JSON; `None` for no body.
            preload: Whether the request only loads the model.
            take: Called with each piece of the body of a reply with the status 200.
            cancel: Whether a signal to `docker` cancels the request.

        Raises:
            QueryError: If the runner cannot be reached.
        """
        failed = f'error querying {path}: {method.capitalize()} "{self.base}{path}"'
        if not self._found:
            msg = f"{failed}: dial tcp {urlsplit(self.base).netloc}: connect: connection refused"
            raise QueryError(msg)
        headers = {"user-agent": f"docker-model-cli/{self.version}"}
        if preload:
            headers["x-preload-only"] = "true"
        target = urlsplit(self.base).path + path
        size = len(json.dumps(body)) if body is not None else 0
        reply = RunnerReply(self.process, take, cancel=cancel)
        try:
            reply.wait(0)
            self._answer(reply, Request(method, target, headers, body, size, self.process.call))
        except Canceled:
            msg = f"{failed}: context canceled"
            raise QueryError(msg) from None
        return reply

    def ask(self, method: str, path: str, failed: str, body: Any = None) -> str:
        """Send a request and return the body of the reply; an error message begins with `failed`.

        Raises:
            NotFoundError: If the runner does not have the model.
            UnavailableError: If the runner is off.
            CommandError: If the request fails for another reason.
        """
        try:
            reply = self.request(method, path, body)
        except QueryError as error:
            refuse(f"{failed}: {error}")
        if reply.status == NOT_FOUND:
            msg = f"{failed}: no such model"
            raise NotFoundError(msg)
        if reply.status == UNAVAILABLE:
            raise UnavailableError(NOT_RUNNING)
        reply.check(failed)
        return reply.text
