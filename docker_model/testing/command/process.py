"""The other end of `docker_model.testing.program`: orders to a command's processes."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from docker_model.testing.records import Call

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


PIECE = 1 << 14
AHEAD = 1 << 16  # bytes that may wait in the connection: the end of it must get past them


class Ended(Exception):
    """No process of the command is left, or it was told to exit."""


class Canceled(Exception):
    """`docker` got a signal or died: the plugin gives up its request."""


class CommandError(Exception):
    """The command ends with exit code 1 and this text on stderr."""


class CommandProcess:
    """The processes of one call.

    Attributes:
        call: What is on record of it.
        device: Whether its stdin is a character device, such as `/dev/null`.
        canceled: Whether `docker` got a signal or died.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Hear how the command was called."""
        self._socket = connection
        self._reader = connection.makefile("rb")
        told = self._reader.read(int(self._reader.readline() or b"0"))
        if not told:
            raise ConnectionResetError
        pid, device, cwd, count, *rest = told.decode("utf-8", "surrogateescape").split("\0")
        argv, env = rest[: int(count)], rest[int(count) :]
        # A name may begin with "=" on Windows.
        pairs = (pair[:1] + pair[1:].partition("=")[0] for pair in env)
        self.device = device == "1"
        names = dict(zip(pairs, env, strict=True))
        variables = {name: pair[len(name) + 1 :] for name, pair in names.items()}
        self.call = Call(tuple(argv), cwd, variables, int(pid))
        self.canceled = False
        self._ended = False
        self._stdin = bytearray()
        self._stdin_ended = False
        self._ahead = 0
        self._changed = threading.Condition()
        self._open: list[tuple[socket.socket, bool]] = []

    def listen(self) -> Iterator[int]:
        """Hear what the command says, until its last process has ended; yields the plugin's pid."""
        while line := self._line():
            word, _, number = line.decode().strip().partition(" ")
            if word == "pid":
                yield int(number)
                continue
            with self._changed:
                if word == "cancel":
                    self.canceled = True
                elif word == "done":
                    self._ahead -= int(number)
                elif data := self._reader.read(int(number)):
                    self._stdin += data
                else:
                    self._stdin_ended = True
                self._changed.notify_all()
            if word == "cancel":
                self._hang_up(canceled=True)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._hang_up(canceled=False)
        self._reader.close()

    def _line(self) -> bytes:
        try:
            return self._reader.readline()
        except OSError:
            return b""

    def _hang_up(self, *, canceled: bool) -> None:
        """Wake the thread that waits for a reply."""
        with self._changed:
            for connection, cancel in self._open:
                if canceled and not cancel:
                    continue
                with contextlib.suppress(OSError):
                    connection.shutdown(2)

    @contextlib.contextmanager
    def interrupting(self, connection: socket.socket, *, cancel: bool) -> Iterator[None]:
        """Shut a connection when the command ends, or is canceled."""
        with self._changed:
            self._open.append((connection, cancel))
        try:
            self.check(cancel=cancel)
            yield
        except Exception:
            self.check(cancel=cancel)
            raise
        finally:
            with self._changed:
                self._open.remove((connection, cancel))

    def check(self, *, cancel: bool) -> None:
        """Raise what has happened meanwhile."""
        if self._ended:
            raise Ended
        if cancel and self.canceled:
            raise Canceled

    def order(self, verb: str, data: bytes = b"") -> None:
        """Have the program do something."""
        try:
            self._socket.sendall(b"%b %d\n%b" % (verb.encode(), len(data), data))
        except OSError:
            raise Ended from None

    def out(self, text: str) -> None:
        """Write to stdout."""
        self._write("out", text)

    def err(self, text: str) -> None:
        """Write to stderr."""
        self._write("err", text)

    def _write(self, verb: str, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
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
        self.check(cancel=False)
        return bytes(self._stdin)

    def sleep(self, seconds: float | None) -> None:
        """Do nothing for so long, `None` for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)
        self.check(cancel=False)


def play(step: dict[str, Any], process: CommandProcess) -> None:
    """Do a step of a script that concerns the command and not the model."""
    match step:
        case {"do": "sleep", "seconds": seconds}:
            process.sleep(seconds)
        case {"do": "exit", "data": data}:
            process.exit(int(data))
        case {"do": verb, "data": data}:
            process.order(verb, data.encode("latin-1"))
            if verb == "kill":
                process.sleep(None)
