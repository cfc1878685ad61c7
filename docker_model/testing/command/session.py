"""One call of `docker model`: its process, its version, and the runner that it asks."""

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
    """The runner replied with HTTP 503, which the CLI takes for "not running"."""


def refuse(text: str) -> NoReturn:
    """End the command with this text on stderr."""
    raise CommandError(text)


def rank(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, such as `v1.2.6`."""
    return tuple(int(part) for part in version.lstrip("cli-pv").split("."))


def parse_json(text: str, failed: str) -> Any:
    """Return the value of a text; the text of an error begins with `failed`."""
    try:
        return json.loads(text)
    except ValueError:
        refuse(f"{failed}: invalid character")


class RunnerReply:
    """The runner's reply to a request of the command: a client in the place of HTTP's.

    Attributes:
        status: The HTTP status.
        text: The body, as far as `take` was not called with it.
        close_connection: Set by the runner if the connection broke before the end.
    """

    def __init__(
        self, process: CommandProcess, take: Callable[[bytes], object] | None, *, cancel: bool
    ) -> None:
        self.status = 0
        self.text = ""
        self.close_connection = False
        self._process, self._take, self._cancel = process, take, cancel

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
        """Wait for this time, or without an end for `None`."""
        self._process.sleep(seconds, cancel=self._cancel)

    def play(self, step: ProcessStep) -> None:
        """Do a step that concerns the command."""
        self._process.play(step)

    def check(self, failed: str) -> None:
        """Refuse the status of an error; the text begins with `failed`."""
        if self.status >= ERRORS:
            reason = f"{self.status} {responses.get(self.status, '')}"
            refuse(f"{failed} with status {reason}: {self.text}")


class Session:
    """What every command works with.

    Attributes:
        process: The command's processes.
        env: The environment of the processes.
        version: The plugin's version.
        old: Whether the version behaves as v0.1.40.
        retry_wait: Seconds before the first retry of a pull.
        base: The runner's address, without a slash at the end.
        kind: The engine's kind, which depends on MODEL_RUNNER_HOST.
    """

    def __init__(
        self,
        process: CommandProcess,
        answer: Callable[[RunnerReply, Request], None],
        address: str,
        scenario: Scenario,
    ) -> None:
        """Find the runner, by the same variables as the real CLI."""
        self.process, self.retry_wait = process, scenario.retry_wait
        self.env = process.call.env
        self.version = scenario.version.removeprefix("cli-").replace("p", "v", 1)
        self.old = rank(self.version) < rank("v0.1.45")
        host = self.env.get("MODEL_RUNNER_HOST", "")
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        url = host if "://" in host else f"http://{host}"
        self.base = url.rstrip("/") if host else ENGINE
        socket = self.env.get("DOCKER_HOST", "").removeprefix("unix://")
        self._no_engine = not host and socket.startswith("/") and not Path(socket).exists()
        self._found = urlsplit(self.base).netloc == address or not (host or self._no_engine)
        self._answer = answer

    def need_engine(self, *, always: bool = False) -> None:
        """Refuse where the Docker daemon is needed and missing; `always` also if none installs."""
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
            method: `GET`, …
            path: The path with its query.
            body: Sent as JSON; `None` for no body.
            preload: Whether to mark the request as one that only loads the model.
            take: Called with each piece of the body of a reply that has the status 200.
            cancel: Whether a signal to `docker` ends the request.

        Raises:
            QueryError: If the runner cannot be reached.
        """
        where = f'error querying {path}: {method.capitalize()} "{self.base}{path}"'
        if not self._found:
            msg = f"{where}: dial tcp {urlsplit(self.base).netloc}: connect: connection refused"
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
            msg = f"{where}: context canceled"
            raise QueryError(msg) from None
        return reply

    def ask(self, method: str, path: str, failed: str, body: Any = None) -> str:
        """Return the body of a reply to a request; the text of an error begins with `failed`.

        Raises:
            NotFoundError: If the runner knows no such model.
            UnavailableError: If the runner is off.
            CommandError: If it refuses the request.
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
