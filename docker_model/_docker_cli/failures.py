"""Errors of the CLI, named by its exit code, signal and stderr: it tells nothing else.

`failure_table.CAUSES` is the table. Messages describe the cause in our words. The CLI's own, which
may quote the prompt or an address, stay in `stderr` and `detail`.
"""

from __future__ import annotations

import errno
import os
import re
import signal as signals
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docker_model._docker_cli.command import INSTALL_HINT
from docker_model._transport.failure_table import CAUSES, LOGS_HINT, PLUGIN_HINT, START_HINT, Cause
from docker_model.errors import (
    ContextLengthError,
    DockerModelError,
    DockerNotFoundError,
    EmptyAnswerError,
    GenerationError,
    InvalidRequestError,
    ModelNotFoundError,
    PullError,
    ResourceError,
    RunnerUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# The plugin died of a signal: `docker` exits with -1, which Windows has as an unsigned number.
SIGNALED_PLUGIN_EXITS = frozenset({255, 0xFFFFFFFF})
_PANIC_EXIT = 2

_TRY_AGAIN = "something outside of this program ended it: find out what, then try again"

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROMPT_TOKENS = re.compile(
    r'"n_prompt_tokens":\s*(\d+)|(?:request|input) \((\d+) tokens\)|\((\d+) in the messages'
    r"|contains (?:at least )?(\d+) input tokens|prompt \(length (\d+)\)"
)
_CONTEXT_SIZE = re.compile(
    r'"n_ctx":\s*(\d+)|available context size \((\d+) tokens\)|context length is (\d+)'
    r"|maximum model length of (\d+)"
)


def is_unknown_flag(stderr: str, flag: str) -> bool:
    """Whether the plugin does not know `flag`; `docker` without a plugin knows no flag at all."""
    return f"unknown flag: {flag}\n" in stderr and "docker model" in stderr


def model_not_found(model: str) -> ModelNotFoundError:
    """Return the error for a model that is not in the local store."""
    return ModelNotFoundError(
        f"the model {model!r} is not pulled", hint=f"`docker model pull {model}`", model=model
    )


def not_running() -> RunnerUnavailableError:
    """Return the error for a runner that is off."""
    return RunnerUnavailableError("Docker Model Runner is not running", hint=START_HINT)


def name_failure(
    *,
    command: str,
    model: str = "",
    exit_code: int | None,
    signal: int | None = None,
    stderr: str,
    partial: str = "",
    causes: Sequence[Cause] = CAUSES,
) -> DockerModelError:
    """Return the error that the end of a command stands for.

    Args:
        command: The subcommand, such as `run` or `pull`.
        model: The name as the caller gave it.
        exit_code: `None` when it did not exit by itself. 0 is for a run without output.
        signal: The number of the signal that ended it.
        stderr: Its standard error.
        partial: The answer's text so far.
        causes: The table; its first row that matches counts.
    """
    text = _ANSI.sub("", stderr).strip()
    ending = _Ending(command, model, exit_code, signal, text, partial)
    if signal is None:
        for cause in causes:
            found = cause.pattern.search(text)
            if found:
                return ending.because(cause, found)
    return ending.unexplained()


@dataclass(frozen=True, slots=True)
class _Ending:
    command: str
    model: str
    exit_code: int | None
    signal: int | None
    stderr: str
    partial: str

    def because(self, cause: Cause, found: re.Match[str]) -> DockerModelError:
        words = {"model": self.model or "MODEL", "enough": _room_for(self.stderr)}
        words |= found.groupdict()
        kind = self.other if cause.error is GenerationError else cause.error
        return self.error(kind, cause.message.format(**words), cause.hint.format(**words))

    def unexplained(self) -> DockerModelError:
        name = f"`docker model {self.command}`"
        if self.signal is not None:
            message = f"{name} was ended by {_signal_name(self.signal)}"
            return self.error(self.other, message, _signal_hint(self.signal))
        if self.exit_code is None:
            message = f"it is unknown how {name} ended: something else reaped the process"
            hint = "do not ignore SIGCHLD, and wait for no processes but your own"
            return self.error(self.other, message, hint)
        if self.exit_code == 0:
            message = (
                f"{name} exited with code 0 but produced no output, which usually means that "
                "the engine failed"
            )
            return self.error(EmptyAnswerError, message, f"{LOGS_HINT}; then try again")
        if self.exit_code in SIGNALED_PLUGIN_EXITS and not self.stderr:
            return self.error(self.other, f"the plugin of {name} was ended by a signal", _TRY_AGAIN)
        if self.exit_code == _PANIC_EXIT and "goroutine " in self.stderr:
            hint = "update the plugin: " + PLUGIN_HINT
            return self.error(self.other, f"{name} crashed", hint)
        return self.error(self.other, f"{name} failed with exit code {self.exit_code}", LOGS_HINT)

    @property
    def other(self) -> type[DockerModelError]:
        """The class of errors that have no class of their own."""
        if self.command == "pull" or self.stderr.startswith("Failed to pull model"):
            return PullError
        return GenerationError

    def error(self, kind: type[DockerModelError], message: str, hint: str) -> DockerModelError:
        """Return an error with the attributes of its class."""
        if issubclass(kind, GenerationError):
            return kind(
                message,
                hint=hint,
                exit_code=self.exit_code,
                signal=self.signal,
                stderr=self.stderr,
                partial=self.partial,
            )
        if issubclass(kind, ModelNotFoundError):
            return kind(message, hint=hint, detail=self.stderr, model=self.model)
        if issubclass(kind, ContextLengthError):
            return kind(
                message,
                hint=hint,
                detail=self.stderr,
                prompt_tokens=_number(_PROMPT_TOKENS, self.stderr),
                context_size=_number(_CONTEXT_SIZE, self.stderr),
            )
        return kind(message, hint=hint, detail=self.stderr)


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return int(next(filter(None, found.groups()))) if found else None


def _room_for(text: str) -> str:
    """Return a context size with room for the prompt and an answer: a power of two."""
    tokens = _number(_PROMPT_TOKENS, text)
    return "N" if tokens is None else str(1 << (tokens * 5 // 4).bit_length())


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
            f"no process can be started: {error.strerror}",
            hint="lower max_concurrency or standby, close files, or raise `ulimit -n` and `-u`",
        )
    elif error.errno == errno.E2BIG:
        return InvalidRequestError(
            f"{program!r} cannot be started: arguments and environment are too long",
            hint="pass a smaller env; the prompt is not among them",
        )
    elif error.errno == errno.ENOENT and error.filename not in (None, program):
        named = DockerNotFoundError(
            "the working directory does not exist any more", hint="change to another one"
        )
    elif error.errno == errno.ENOENT and os.path.exists(program):  # noqa: PTH110  a string
        named = DockerNotFoundError(
            f"{program!r} exists, its interpreter does not", hint="see the file's first line"
        )
    elif error.errno == errno.ENOEXEC:
        named = DockerNotFoundError(
            f"{program!r} is not a program for this machine",
            hint="a script needs a first line such as #!/bin/sh; a binary, this architecture",
        )
    else:
        named = DockerNotFoundError(
            f"{program!r} cannot be started: {error.strerror}", hint=INSTALL_HINT
        )
    named.errno = error.errno
    return named
