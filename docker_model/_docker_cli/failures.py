"""Convert failures of the CLI to errors, based on its exit code, signal and stderr.

`failure_table.CAUSES` contains the patterns. Error messages describe the cause without the full
output of the CLI, which can contain the prompt or an address. It is in `stderr` and `detail`.
"""

from __future__ import annotations

import errno
import os
import signal as signals
from typing import TYPE_CHECKING

from docker_model._docker_cli.command import INSTALL_HINT
from docker_model._transport.failure_table import CAUSES, LOGS_HINT, PLUGIN_HINT, START_HINT
from docker_model._transport.failures import Failure
from docker_model.errors import (
    DockerModelError,
    DockerNotFoundError,
    EmptyAnswerError,
    InvalidRequestError,
    ResourceError,
    RunnerUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# A signal killed the plugin: `docker` exits with -1, which is an unsigned number on Windows.
SIGNALED_PLUGIN_EXITS = frozenset({255, 0xFFFFFFFF})
_PANIC_EXIT = 2

_TRY_AGAIN = "find out which other process sent the signal, then try again"


def is_unknown_flag(stderr: str, flag: str) -> bool:
    """Whether the plugin rejected `flag`. Without a plugin, `docker` itself rejects all flags."""
    return f"unknown flag: {flag}\n" in stderr and "docker model" in stderr


def not_running() -> RunnerUnavailableError:
    """Return the error for a runner that is not running."""
    return RunnerUnavailableError("Docker Model Runner is not running", hint=START_HINT)


def name_failure(
    *,
    command: str,
    model: str = "",
    exit_code: int | None,
    signal: int | None = None,
    stderr: str,
    partial: str = "",
) -> DockerModelError:
    """Return the error for a failed command.

    Args:
        command: The subcommand, such as `run` or `pull`.
        model: The model name that the caller passed.
        exit_code: The exit code; `None` if a signal killed the command. 0 is for a run without
            output.
        signal: The number of the signal that killed the command.
        stderr: The standard error output of the command.
        partial: The text of the answer so far.
    """
    failure = Failure(command, model, stderr, partial, exit_code, signal)
    error = failure.match(CAUSES) if signal is None else None
    return error or _unexplained(failure)


def _unexplained(failure: Failure) -> DockerModelError:
    name = f"`docker model {failure.command}`"
    if failure.signal is not None:
        message = f"{name} was killed by {_signal_name(failure.signal)}"
        return failure.error(failure.default_class, message, _signal_hint(failure.signal))
    if failure.exit_code is None:
        message = f"the exit status of {name} is unknown: other code reaped the process"
        hint = "do not ignore SIGCHLD, and do not wait for processes that you did not start"
        return failure.error(failure.default_class, message, hint)
    if failure.exit_code == 0:
        message = (
            f"{name} exited with code 0 but produced no output, which usually means that "
            "the engine failed"
        )
        return failure.error(EmptyAnswerError, message, f"{LOGS_HINT}; then try again")
    if failure.exit_code in SIGNALED_PLUGIN_EXITS and not failure.text:
        message = f"the plugin of {name} was killed by a signal"
        return failure.error(failure.default_class, message, _TRY_AGAIN)
    if failure.exit_code == _PANIC_EXIT and "goroutine " in failure.text:
        return failure.error(
            failure.default_class, f"{name} crashed", f"update the plugin: {PLUGIN_HINT}"
        )
    message = f"{name} failed with exit code {failure.exit_code}"
    return failure.error(failure.default_class, message, LOGS_HINT)


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def _signal_hint(number: int) -> str:
    name = _signal_name(number)
    if name == "SIGKILL":
        return "check whether the system ran out of memory, then try again"
    if name in {"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"}:
        return f"update the plugin: {PLUGIN_HINT}"
    return _TRY_AGAIN


_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})


def name_start_failure(error: OSError, argv: Sequence[str]) -> DockerModelError:
    """Return the error for a process that could not be started.

    Args:
        error: The operating system's error.
        argv: The command.
    """
    program = argv[0]
    named: DockerModelError
    if error.errno in _NO_RESOURCES:
        named = ResourceError(
            f"cannot start a process: {error.strerror}",
            hint="lower max_concurrency or standby, close files, or raise `ulimit -n` and `-u`",
        )
    elif error.errno == errno.E2BIG:
        return InvalidRequestError(
            f"{program!r} cannot be started: arguments and environment are too long",
            hint="pass a smaller env; the prompt is not an argument",
        )
    elif error.errno == errno.ENOENT and error.filename not in (None, program):
        named = DockerNotFoundError(
            "the working directory no longer exists", hint="change to another directory"
        )
    elif error.errno == errno.ENOENT and os.path.exists(program):
        named = DockerNotFoundError(
            f"the interpreter of {program!r} does not exist", hint="check the file's first line"
        )
    elif error.errno == errno.ENOEXEC:
        named = DockerNotFoundError(
            f"{program!r} is not a program for this machine",
            hint="use an .exe file for this architecture"
            if os.name == "nt"
            else "add a first line such as #!/bin/sh, or use a binary for this architecture",
        )
    else:
        named = DockerNotFoundError(
            f"{program!r} cannot be started: {error.strerror}", hint=INSTALL_HINT
        )
    named.errno = error.errno
    return named
