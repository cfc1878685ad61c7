"""The simulated `docker`: a program that the test's process controls.

`python -I -S _start.py ADDRESS model …` connects to `ADDRESS`, reports its arguments and
environment, and then executes orders from `docker_model.testing._command`. It imports very few
modules, so that it starts in about 10 ms. With `--plugin` before `ADDRESS`, it is only the plugin.

Like the real command, it has two processes, except on Windows: `docker` starts its plugin, here a
fork, in its own process group and waits. A signal to `docker` closes the pipe between the two. All
processes hold the connection, which therefore ends when the last process has ended, for whatever
reason; and the processes end when the test's process ends.

An order is a line with a verb and a size, followed by that number of bytes. The program sends the
size of the call and the call with parts separated by NUL; then lines: `pid N`; `cancel` (`docker`
got a signal or died); `in SIZE` with bytes of stdin; and `done N` (`N` more bytes were written).
"""

from __future__ import annotations

import os
import select
from _signal import SIG_DFL, SIG_IGN, SIGINT, SIGTERM, getsignal, signal  # type: ignore[import-not-found]
from _socket import socket
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FORKS = hasattr(os, "fork")
STDIN, STDOUT, STDERR = 0, 1, 2
REPORTED_AFTER = 1 << 14  # bytes of output

if FORKS:
    from _signal import SIG_BLOCK, SIG_UNBLOCK, SIGHUP, SIGKILL, SIGPIPE, pthread_sigmask

    CAUGHT = (SIGTERM, SIGINT)
    HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class Connection:
    """The connection to the test's process."""

    def __init__(self, address: str, *, alone: bool) -> None:
        self.alone = alone  # whether this is the plugin without `docker`
        host, _, port = address.rpartition(":")
        self.socket = socket()
        self.socket.connect((host, int(port)))
        self.docker = -1  # the pipe that closes when `docker` gets a signal or dies
        self.docker_pid = 0
        self.reading = False  # whether stdin is being read
        self._buffer = b""
        self._written = 0

    def order(self) -> tuple[str, bytes]:
        """Return the next verb and its bytes. Report stdin and signals while waiting."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                verb, size = line.split()
                if len(rest) >= int(size):
                    self._buffer = rest[int(size) :]
                    return verb.decode(), rest[: int(size)]
            self._listen()

    def _listen(self) -> None:
        for descriptor in self._ready():
            if descriptor == self.docker:
                self.docker = -1
                self.socket.sendall(b"cancel\n")
            elif descriptor == STDIN and self.reading:
                self._forward()
            else:
                data = self.socket.recv(1 << 16)
                if not data:
                    os._exit(1)
                self._buffer += data

    def read_stdin(self) -> None:
        self.reading = True
        if not FORKS:  # Windows cannot poll a pipe
            start_new_thread(self._forward_stdin, ())

    def _forward_stdin(self) -> None:
        while self.reading:
            self._forward()

    def _forward(self) -> None:
        data = os.read(STDIN, 1 << 20)
        self.reading = bool(data)
        self.socket.sendall(b"in %d\n" % len(data) + data)

    def _ready(self) -> list[int]:
        if not FORKS:
            return [self.socket.fileno()]
        poll = select.poll()
        for descriptor in (self.socket.fileno(), self.docker, STDIN if self.reading else -1):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll()]

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all bytes. Wait for a slow reader while the test's process is alive."""
        self._written += len(data)
        if FORKS:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.register(self.socket.fileno(), HUNG_UP)
        while data:
            if FORKS and any(ready != descriptor for ready, _ in poll.poll()):
                os._exit(1)
            try:
                # A writable pipe has room for at least PIPE_BUF bytes.
                data = data[os.write(descriptor, data[: getattr(select, "PIPE_BUF", 512)]) :]
            except OSError:
                if not FORKS:
                    os._exit(1)  # like SIGPIPE on other systems
                break  # the script closed the descriptor
        if self._written >= REPORTED_AFTER:
            self.socket.sendall(b"done %d\n" % self._written)
            self._written = 0


def main(words: list[str]) -> NoReturn:
    """Report the call, and execute orders until one of them exits."""
    alone = words[0] == "--plugin"
    address, *words = words[alone:]
    try:
        connection = Connection(address, alone=alone)
        facts = [str(os.getpid()), os.getcwd(), str(len(words)), *words]
        facts += [f"{name}={value}" for name, value in os.environ.items()]
        call = "\0".join(facts).encode("utf-8", "surrogateescape")
        connection.socket.sendall(b"%d\n%b" % (len(call), call))
    except OSError:
        os.write(STDERR, b"the simulation of this command has ended\n")
        os._exit(1)
    while True:
        verb, data = connection.order()
        ORDERS[verb](connection, data)


def kill(connection: Connection, _data: bytes) -> None:
    """Kill both processes, as the system does when memory runs out."""
    if not FORKS:
        os._exit(1)
    if os.getppid() == connection.docker_pid:
        os.kill(connection.docker_pid, SIGKILL)
    os.kill(os.getpid(), SIGKILL)


def ignore_signals(connection: Connection, _data: bytes) -> None:
    """Ignore the signals that a program can ignore."""
    for number in (SIGTERM, SIGINT, *((SIGHUP,) if FORKS else ())):
        signal(number, SIG_IGN)
    connection.docker = -1


def grandchild(connection: Connection, data: bytes) -> None:
    """Start a process that keeps the pipes open until the test's process ends."""
    if FORKS and not os.fork():
        if data:
            os.setsid()
        poll = select.poll()
        poll.register(connection.socket.fileno(), HUNG_UP)
        poll.poll()
        os._exit(1)


def begin(connection: Connection, data: bytes) -> None:
    """Start the plugin, which ignores signals to `docker` if there are data."""
    if FORKS and not connection.alone:
        become_pair(connection, deaf=bool(data))
    if FORKS:
        signal(SIGPIPE, SIG_DFL)  # Go does not ignore it like Python
    connection.socket.sendall(b"pid %d\n" % os.getpid())


def become_pair(connection: Connection, *, deaf: bool) -> None:
    """Fork: the child continues as the plugin, and the parent waits as `docker`."""
    reading, writing = os.pipe()

    def on_signal(_number: int, _frame: object) -> None:
        for number in CAUGHT:
            signal(number, SIG_IGN)
        os.close(writing)

    for number in CAUGHT:  # even if the signal was ignored before
        signal(number, on_signal)
    # Block signals during the fork, so that each process handles them with its own handlers.
    pthread_sigmask(SIG_BLOCK, CAUGHT)
    connection.docker_pid = os.getpid()
    plugin = os.fork()
    if plugin == 0:
        for number in CAUGHT:  # a new program starts with default handlers
            signal(number, SIG_DFL)
        pthread_sigmask(SIG_UNBLOCK, CAUGHT)
        os.close(writing)
        connection.docker = -1 if deaf else reading
        return
    pthread_sigmask(SIG_UNBLOCK, CAUGHT)
    os.close(reading)
    os.close(STDOUT)  # so that it ends when the plugin closes it
    _, status = os.waitpid(plugin, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 255)


ORDERS: dict[str, Callable[[Connection, bytes], None]] = {
    "pair": begin,
    "out": lambda connection, data: connection.write(STDOUT, data),
    "err": lambda connection, data: connection.write(STDERR, data),
    "read": lambda connection, _data: connection.read_stdin(),
    "exit": lambda _link, data: os._exit(int(data)),
    "kill": kill,
    "close": lambda _link, _data: os.close(STDOUT),
    "ignore": ignore_signals,
    "grandchild": grandchild,
}

if getsignal(SIGINT) != SIG_IGN:
    # Python's own handler would print a traceback during the start of this program.
    signal(SIGINT, SIG_DFL)
