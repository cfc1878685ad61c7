"""The control of a command's processes, which run `docker_model.testing.program`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from docker_model.testing.records import Call
from docker_model.testing.server import Gone
from docker_model.testing.steps import (
    CloseStdout,
    Exit,
    Grandchild,
    Hang,
    IgnoreSignals,
    Kill,
    Sleep,
    Stderr,
    Stdout,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from docker_model.testing.steps import ProcessStep

PIECE_SIZE = 1 << 14
MAX_UNWRITTEN = 1 << 16  # bytes in the connection, so that the program soon notices its end


class Ended(Gone):
    """All processes of the command have ended, or were ordered to exit."""


class Canceled(Gone):
    """`docker` got a signal or died, so the plugin cancels its request."""


class CommandError(Gone):
    """A failure of the command: exit code 1, with the message on stderr."""


class CommandProcess:
    """The processes of one call.

    Attributes:
        call: The record of the call.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Read the program's report of the call."""
        self._socket = connection
        self._reader = connection.makefile("rb")
        facts = self._reader.read(int(self._reader.readline() or b"0"))
        if not facts:
            raise Gone
        pid, cwd, count, *words = facts.decode("utf-8", "surrogateescape").split("\0")
        argv, env = words[: int(count)], words[int(count) :]
        # On Windows, the name of a variable can begin with "=".
        ends = [pair.index("=", 1) for pair in env]
        variables = {pair[:end]: pair[end + 1 :] for pair, end in zip(env, ends, strict=True)}
        self.call = Call(tuple(argv), cwd, variables, int(pid))
        self._canceled = self._ended = self._stdin_ended = False
        self._stdin = bytearray()
        self._unwritten = 0
        self._changed = threading.Condition()

    def listen(self) -> Iterator[int]:
        """Read reports until the last process has ended. Yield the plugin's pid when it starts."""
        while line := self._line():
            word, _, number = line.decode().strip().partition(" ")
            if word == "pid":
                yield int(number)
                continue
            with self._changed:
                if word == "cancel":
                    self._canceled = True
                elif word == "done":
                    self._unwritten -= int(number)
                elif data := self._reader.read(int(number)):
                    self._stdin += data
                else:
                    self._stdin_ended = True
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._reader.close()

    def _line(self) -> bytes:
        try:
            return self._reader.readline()
        except OSError:
            return b""

    def sleep(self, seconds: float | None, *, cancel: bool = False) -> None:
        """Wait for some seconds, or for ever with `None`.

        Args:
            seconds: The duration.
            cancel: Whether a signal to `docker` ends the wait.

        Raises:
            Gone: If the command ends or is canceled.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (cancel and self._canceled), seconds)
            if self._ended:
                raise Ended
            if cancel and self._canceled:
                raise Canceled

    def order(self, verb: str, data: bytes = b"") -> None:
        """Send an order to the program."""
        try:
            self._socket.sendall(b"%b %d\n%b" % (verb.encode(), len(data), data))
        except OSError:
            raise Ended from None

    def out(self, text: str) -> None:
        """Write to stdout."""
        self._write("out", text.encode("utf-8", "surrogateescape"))

    def err(self, text: str) -> None:
        """Write to stderr."""
        self._write("err", text.encode("utf-8", "surrogateescape"))

    def _write(self, verb: str, data: bytes) -> None:
        for start in range(0, len(data), PIECE_SIZE):
            piece = data[start : start + PIECE_SIZE]
            with self._changed:
                self._unwritten += len(piece)
                self._changed.wait_for(lambda: self._unwritten <= MAX_UNWRITTEN or self._ended)
            self.order(verb, piece)

    def exit(self, code: int) -> None:
        """End the command with this exit code."""
        self.order("exit", b"%d" % code)
        raise Ended

    def read_stdin(self) -> bytes:
        """Read stdin to its end."""
        self.order("read")
        with self._changed:
            self._changed.wait_for(lambda: self._stdin_ended or self._ended)
        self.sleep(0)
        return bytes(self._stdin)

    def play(self, step: ProcessStep | Any) -> None:
        """Play a step that acts on the command instead of the answer."""
        match step:
            case Sleep(seconds):
                self.sleep(seconds)
            case Hang():
                self.sleep(None)
            case Stdout(data):
                self._write("out", data)
            case Stderr(text):
                self.err(text)
            case Exit(code):
                self.exit(code)
            case Grandchild(detached):
                self.order("grandchild", b"detached" if detached else b"")
            case CloseStdout():
                self.order("close")
            case IgnoreSignals():
                self.order("ignore")
            case Kill():
                self.order("kill")
                self.sleep(None)
