"""What the CLI says; one name for each text that more than one place needs."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_NEXT = "\033[1m\nWhat's next:\033[0m\n"
ENABLE = (
    f"{_NEXT}    Enable Docker Model Runner via the CLI → docker desktop enable model-runner\n"
    "    Enable Docker Model Runner via the GUI → "
    "Go to Settings->AI->Enable Docker Model Runner\n"
)


GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_NOT_UTF_8 = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


# The connection to the test's process.
_lifeline = [-1]


class CommandError(Exception):
    """The command ends with exit code 1 and this text on stderr."""


def go_text(text: str) -> str:
    """The text as Go sends it: each byte that is not UTF-8 becomes U+FFFD."""
    return text.translate(_NOT_UTF_8)


def live_with(test: int) -> None:
    """From now on, output is given up when this connection ends."""
    _lifeline[0] = test


def out(text: str) -> None:
    """Write to stdout, at once."""
    write(1, text.encode("utf-8", "surrogateescape"))


def err(text: str) -> None:
    """Write to stderr, at once."""
    write(2, text.encode("utf-8", "surrogateescape"))


def write(descriptor: int, data: bytes) -> None:
    """Write all of it; waits for a slow reader, but no longer than the test's process lives.

    A reader that is gone ends the process, as it does in Go.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.register(_lifeline[0], select.POLLIN)
    while data:
        if any(ready != descriptor for ready, _ in poll.poll()):
            os._exit(1)
        try:
            # So much fits into a pipe that has any room.
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
        except OSError:
            # Closed by the script; nobody looks at what print says of it in Go.
            return


def next_steps(*steps: str) -> str:
    """The block "What's next" without its last newline."""
    return _NEXT + "\n".join(f"    {step}" for step in steps)


def not_running(*, hint: bool = True) -> CommandError:
    """What HTTP 503 becomes."""
    text = "Docker Model Runner is not running. Please start it and try again.\n"
    return CommandError(f"{text}\n{ENABLE.rstrip()}" if hint else text)


def usage(text: str, command: str, line: str) -> CommandError:
    """A flag that is not known, or a bad value of one."""
    return CommandError(
        f"{text}\n\nUsage:  docker model{line}\n\n"
        f"Run 'docker model{command and ' ' + command} --help' for more information"
    )


def refuse_arguments(command: str, line: str, need: str, end: str = "") -> NoReturn:
    """Raise what the CLI says of too few words, or too many."""
    msg = (
        f"'docker model {command}' requires {need}\n\nUsage:  docker model{line}\n\n"
        f"See 'docker model {command} --help' for more information{end}"
    )
    raise CommandError(msg)


def no_engine(what: str, *, new: bool) -> CommandError:
    """The Docker daemon cannot be reached; `what` was to be done with it."""
    address = os.environ.get("DOCKER_HOST", "")
    path = address.removeprefix("unix://")
    reason = (
        f"failed to connect to the docker API at {address}; check if the path is correct "
        f"and if the daemon is running: dial unix {path}: connect: no such file or directory"
        if new
        else f"Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
    )
    return CommandError(
        f"{what}: unable to prune stopped model runner containers: "
        f"unable to identify model runner containers: {reason}"
    )
