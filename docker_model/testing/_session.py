"""A started command: the control of its processes, and its requests to the runner."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from docker_model.testing import steps
from docker_model.testing._server import Gone
from docker_model.testing.records import Call, Request

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from docker_model.testing._runner import Runner

PIECE_SIZE = 1 << 14
MAX_UNWRITTEN = 1 << 16  # bytes in the connection, so that the program soon notices its end
ENGINE = "http://localhost:12434"
NOT_RUNNING = "Docker Model Runner is not running. Please start it and try again."
FIRST_NEW = (0, 1, 45)  # the first version that does not behave like v0.1.40


class Ended(Gone):
    """All processes of the command have ended, or were ordered to exit."""


class Canceled(Gone):
    """`docker` got a signal or died, so the plugin cancels its request."""


class CommandError(Gone):
    """A failure: exit code 1, with the message on stderr. `status` is the runner's, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def refuse(text: str, status: int = 0) -> NoReturn:
    raise CommandError(text, status)


def version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


class CommandProcess:
    """The processes of one call, which run `docker_model.testing._program`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb")
        facts = self._reader.read(int(self._reader.readline() or b"0"))
        if not facts:
            raise Gone
        pid, cwd, count, *words = facts.decode("utf-8", "surrogateescape").split("\0")
        argv, env = words[: int(count)], {}
        for variable in words[int(count) :]:
            end = variable.index("=", 1)  # on Windows, a name can begin with "="
            env[variable[:end]] = variable[end + 1 :]
        self.call = Call(tuple(argv), cwd, env, int(pid))
        self._canceled = self._ended = self._stdin_ended = False
        self._stdin = bytearray()
        self._unwritten = 0
        self._changed = threading.Condition()

    def listen(self, on_start: Callable[[int], object]) -> None:
        """Read reports until the last process has ended; `on_start` gets the plugin's pid."""
        with contextlib.suppress(OSError):
            while line := self._reader.readline():
                word, _, number = line.decode().strip().partition(" ")
                if word == "pid":
                    on_start(int(number))
                data = self._reader.read(int(number)) if word == "in" else b""
                with self._changed:
                    self._canceled |= word == "cancel"
                    self._unwritten -= int(number) if word == "done" else 0
                    self._stdin += data
                    self._stdin_ended |= word == "in" and not data
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._reader.close()

    def sleep(self, seconds: float | None, *, cancel: bool = False) -> None:
        """Wait for some seconds, or for ever. With `cancel`, a signal to `docker` ends the wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (cancel and self._canceled), seconds)
            if self._ended:
                raise Ended
            if cancel and self._canceled:
                raise Canceled

    def order(self, verb: str, data: bytes = b"") -> None:
        try:
            self._socket.sendall(b"%b %d\n%b" % (verb.encode(), len(data), data))
        except OSError:
            raise Ended from None

    def out(self, text: str) -> None:
        self._write("out", text.encode("utf-8", "surrogateescape"))

    def err(self, text: str) -> None:
        self._write("err", text.encode("utf-8", "surrogateescape"))

    def _write(self, verb: str, data: bytes) -> None:
        for start in range(0, len(data), PIECE_SIZE):
            piece = data[start : start + PIECE_SIZE]
            with self._changed:
                self._unwritten += len(piece)
                self._changed.wait_for(lambda: self._unwritten <= MAX_UNWRITTEN or self._ended)
            self.order(verb, piece)

    def exit(self, code: int) -> NoReturn:
        self.order("exit", b"%d" % code)
        raise Ended

    def read_stdin(self) -> str:
        self.order("read")
        with self._changed:
            self._changed.wait_for(lambda: self._stdin_ended or self._ended)
        self.sleep(0)
        return self._stdin.decode("utf-8", "replace")  # as Go does in JSON

    def play(self, step: steps.ProcessStep) -> None:
        match step:
            case steps.Sleep(seconds):
                self.sleep(seconds)
            case steps.Hang():
                self.sleep(None)
            case steps.Stdout(data):
                self._write("out", data)
            case steps.Stderr(text):
                self.err(text)
            case steps.Exit(code):
                self.exit(code)
            case steps.Grandchild(detached):
                self.order("grandchild", b"detached" if detached else b"")
            case steps.CloseStdout() | steps.IgnoreSignals():
                self.order("close" if isinstance(step, steps.CloseStdout) else "ignore")
            case steps.Kill():
                self.order("kill")
                self.sleep(None)


@dataclass
class RunnerReply:
    """The runner's reply to a request of the command, received without HTTP.

    `take` gets each line of the body of a reply with the status 200. With `cancel`, a signal to
    `docker` cancels the request. The runner sets `close_connection` if the connection breaks.
    """

    process: CommandProcess
    take: Callable[[bytes], object] | None = None
    cancel: bool = False
    status: int = 0
    text: str = ""
    close_connection: bool = False
    _line: bytes = b""  # incomplete

    def reply(self, status: int, _content_type: str, body: bytes) -> None:
        self.status = status
        self.piece(body)
        self.piece(b"")

    def begin(self, _content_type: str) -> None:
        self.status = HTTPStatus.OK

    def piece(self, data: bytes) -> None:
        """Receive a piece of the body; an empty piece ends it."""
        self.wait(0)
        if self.take is None or self.status != HTTPStatus.OK:
            self.text += data.decode("utf-8", "replace")
            return
        lines = (self._line + data).split(b"\n")
        self._line = lines.pop() if data else b""
        for line in lines:
            self.take(line)

    def wait(self, seconds: float | None) -> None:
        self.process.sleep(seconds, cancel=self.cancel)

    def play(self, step: steps.ProcessStep) -> None:
        self.process.play(step)

    def check(self, failed: str) -> None:
        """Refuse the status of an error; the message begins with `failed`."""
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            refuse(NOT_RUNNING, self.status)
        if self.status >= HTTPStatus.BAD_REQUEST:
            reason = f"{self.status} {responses.get(self.status, '')}"
            refuse(f"{failed} with status {reason}: {self.text}", self.status)


class Session:
    """One command: its process, its version, and its requests to the runner."""

    def __init__(self, process: CommandProcess, runner: Runner) -> None:
        """Find the runner from the variables that the real CLI uses."""
        self.process, self._answer = process, runner.answer
        self.env = process.call.env
        self.version = runner.scenario.version
        self.old = version_numbers(self.version) < FIRST_NEW
        self.headers = {"user-agent": f"docker-model-cli/{self.version}"}
        host = self.env.get("MODEL_RUNNER_HOST", "")
        self.kind = "Docker Engine (Manual Install)" if host else "Docker Engine"
        url = host if "://" in host else f"http://{host}"
        self.base = url.rstrip("/") if host else ENGINE
        self._address = urlsplit(self.base).netloc
        socket = self.env.get("DOCKER_HOST", "").removeprefix("unix://").removeprefix("npipe://")
        self.no_engine = not host and socket.startswith("/") and not Path(socket).exists()
        self._found = self._address == runner.address or not (host or self.no_engine)

    def send(self, reply: RunnerReply, method: str, path: str, body: Any = None) -> None:
        """Send a request, and return after the end of the reply."""
        failed = f'error querying {path}: {method.capitalize()} "{self.base}{path}"'
        if not self._found:
            refuse(f"{failed}: dial tcp {self._address}: connect: connection refused")
        target = urlsplit(self.base).path + path
        size = len(json.dumps(body)) if body is not None else 0
        request = Request(method, target, self.headers, body, size, self.process.call)
        try:
            reply.wait(0)
            self._answer(reply, request)
        except Canceled:
            refuse(f"{failed}: context canceled")

    def ask(self, method: str, path: str, failed: str, body: Any = None) -> str:
        """Send a request and return the body of the reply; an error begins with `failed`."""
        reply = RunnerReply(self.process)
        try:
            self.send(reply, method, path, body)
        except CommandError as error:
            refuse(f"{failed}: {error}")
        if reply.status == HTTPStatus.NOT_FOUND:
            refuse(f"{failed}: no such model", HTTPStatus.NOT_FOUND)
        reply.check(failed)
        return reply.text

    def ask_json(self, method: str, path: str, failed: str, body: Any = None) -> Any:
        return parse_json(self.ask(method, path, failed, body), failed)


def parse_json(text: str, failed: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        refuse(f"{failed}: invalid character")
