"""The two processes, `docker` and its plugin, and what passes between them.

`docker` starts the plugin in its own process group and waits. Each of its signals closes the
socket between the two, the third kills the plugin. Here the plugin is a fork, so that the
pair starts as fast as one process. Both hold the connection to the test: it ends when the
last of them has ended, whatever ended them, and they end when the test's process does.
"""

from __future__ import annotations

import os
import select
from _signal import (  # type: ignore[import-not-found]  # typeshed does not know it
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_UNBLOCK,
    SIGINT,
    SIGKILL,
    SIGPIPE,
    SIGTERM,
    SIGUSR1,
    getsignal,
    pthread_sigmask,
    signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STDOUT = 1
CAUGHT = (SIGTERM, SIGINT, SIGUSR1)


class Canceled(Exception):  # noqa: N818 - Go's own word for it, and no error of this program
    """`docker` got a signal or died: the plugin's request is to be given up."""


class Plugin:
    """The plugin's side.

    Attributes:
        test: The descriptor of the connection to the test's process.
        docker: The descriptor whose end of file says that `docker` is going.
        deaf: It does not look at `docker` (old versions, and `IgnoreSignals`).
        retry_wait: Seconds before the first retry of a pull.
    """

    def __init__(self, test: int, docker: int, docker_pid: int, *, deaf: bool) -> None:
        self.test = test
        self.docker = docker
        self.deaf = deaf
        self.retry_wait = 1.0
        self._docker_pid = docker_pid

    def kill_docker(self) -> None:
        """SIGKILL to `docker`, if it is still there."""
        if os.getppid() == self._docker_pid:
            os.kill(self._docker_pid, SIGKILL)

    def close_stdout(self) -> None:
        """Close it in both processes."""
        os.close(STDOUT)
        if os.getppid() == self._docker_pid:
            os.kill(self._docker_pid, SIGUSR1)

    def canceled(self) -> bool:
        """Whether `docker` has got a signal or is gone."""
        if self.deaf:
            return False
        poll = select.poll()
        poll.register(self.docker, select.POLLIN)
        return bool(poll.poll(0))

    def wait(self, descriptor: int = -1, *, seconds: float = -1, cancel: bool = False) -> None:
        """Wait until something can be read, or so many seconds; ends with the test's process.

        Raises:
            Canceled: If `cancel`, when `docker` is going.
        """
        poll = select.poll()
        poll.register(self.test, select.POLLIN)  # its end: nothing more is ever sent there
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
        if cancel and not self.deaf:
            poll.register(self.docker, select.POLLIN)
        ready = dict(poll.poll(None if seconds < 0 else seconds * 1000))
        if self.test in ready:
            os._exit(1)
        if cancel and self.docker in ready:
            raise Canceled

    def hang(self) -> None:
        """Do nothing for ever."""
        while True:
            self.wait()


def start_plugin(test: int, *, plugin_main: Callable[[Plugin], int]) -> None:
    """Be the plugin without a `docker`, which dies of the signals that it gets; never returns."""
    for number in CAUGHT:
        if getsignal(number) != SIG_IGN:
            signal(number, SIG_DFL)
    signal(SIGPIPE, SIG_DFL)
    os._exit(plugin_main(Plugin(test, -1, -1, deaf=True)))


def start_pair(test: int, *, deaf: bool, plugin_main: Callable[[Plugin], int]) -> None:
    """Fork the plugin and be `docker`; never returns."""
    reading, writing = os.pipe()
    docker_pid = os.getpid()
    signals: list[int] = []
    plugin = 0

    def on_signal(number: int, _frame: object) -> None:
        signals.append(number)
        if len(signals) == 1:
            os.close(writing)
        elif len(signals) == 3:  # noqa: PLR2004 - docker's own number
            os.write(2, b"got 3 SIGTERM/SIGINTs, forcefully exiting\n")
            os.kill(plugin, SIGKILL)
            os._exit(1)

    signal(SIGUSR1, lambda _number, _frame: os.close(STDOUT))
    signal(SIGTERM, on_signal)
    signal(SIGINT, on_signal)  # in place of Python's own, and also when it was ignored so far
    # A signal to the group that comes with the fork has to find each side with its own handlers.
    pthread_sigmask(SIG_BLOCK, CAUGHT)
    plugin = os.fork()
    if plugin == 0:
        # What a handler caught is back to its default in a new program, and Go leaves
        # SIGPIPE alone where Python ignores it.
        for number in (*CAUGHT, SIGPIPE):
            signal(number, SIG_DFL)
        pthread_sigmask(SIG_UNBLOCK, CAUGHT)
        os.close(writing)
        os._exit(plugin_main(Plugin(test, reading, docker_pid, deaf=deaf)))
    pthread_sigmask(SIG_UNBLOCK, CAUGHT)
    os.close(reading)
    _, status = os.waitpid(plugin, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 255)
