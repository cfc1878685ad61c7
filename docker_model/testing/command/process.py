"""The other end of `docker_model.testing.program`: orders to a command's processes."""

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

PIECE = 1 << 14
AHEAD = 1 << 16  # bytes that may wait in the connection: the end of it must get past them


class Ended(Gone):
    """No process of the command is left, or it was told to exit."""


class Canceled(Gone):
    """`docker` got a signal or died: the plugin gives up its request."""


class CommandError(Gone):
    """The command ends with exit code 1 and this text on stderr."""


class CommandProcess:
    """The processes of one call.

    Attributes:
        call: What is on record of it.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Hear how the command was called."""
        self._socket = connection
        self._reader = connection.makefile("rb")
        facts = self._reader.read(int(self._reader.readline() or b"0"))
        if not facts:
            raise Gone
        pid, cwd, count, *rest = facts.decode("utf-8", "surrogateescape").split("\0")
        argv, env = rest[: int(count)], rest[int(count) :]
        # A name may begin with "=" on Windows.
        ends = [pair.index("=", 1) for pair in env]
        variables = {pair[:end]: pair[end + 1 :] for pair, end in zip(env, ends, strict=True)}
        self.call = Call(tuple(argv), cwd, variables, int(pid))
        self._canceled = self._ended = self._stdin_ended = False
        self._stdin = bytearray()
        self._ahead = 0
        self._changed = threading.Condition()

    def listen(self) -> Iterator[int]:
        """Hear what the command reports, to the end of its last process; yield the plugin's pid."""
        while line := self._line():
            word, _, number = line.decode().strip().partition(" ")
            if word == "pid":
                yield int(number)
                continue
            with self._changed:
                if word == "cancel":
                    self._canceled = True
                elif word == "done":
                    self._ahead -= int(number)
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
        """Do nothing for so long, `None` for ever.

        Args:
            seconds: How long.
            cancel: Whether a signal to `docker` ends it.

        Raises:
            Gone: If the command ends, or is canceled.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (cancel and self._canceled), seconds)
            if self._ended:
                raise Ended
            if cancel and self._canceled:
                raise Canceled

    def order(self, verb: str, data: bytes = b"") -> None:
        """Have the program do something."""
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
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            with self._changed:
                self._ahead += len(piece)
                self._changed.wait_for(lambda: self._ahead <= AHEAD or self._ended)
            self.order(verb, piece)

    def exit(self, code: int) -> None:
        """End it with this code."""
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
        """Do a step of a script that concerns the command and not the model."""
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
