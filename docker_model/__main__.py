"""The command line: `python -m docker_model`, or the command `docker-model-llm`."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from typing import TYPE_CHECKING

from docker_model._console import models
from docker_model._console.arguments import parse, parser
from docker_model._console.ask import ask
from docker_model._console.chat import chat
from docker_model._console.check import check
from docker_model._console.screen import screen
from docker_model.errors import DockerModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WINDOWS = os.name == "nt"
_FAILED = 1
_BAD_ARGUMENTS = 2  # as in argparse
_INTERRUPTED = 130  # 128 + SIGINT, as in shells
_BROKEN_PIPE = 141  # 128 + SIGPIPE

_COMMANDS = {
    "check": check,
    "ask": ask,
    "chat": chat,
    "list": models.list_models,
    "ps": models.ps,
    "pull": models.pull,
    "search": models.search,
    "rm": models.remove,
    "configure": models.configure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            _reconfigure(stream)
    logging.basicConfig(format="%(message)s")  # shows warnings
    top = parser(_COMMANDS)
    if "_ARGCOMPLETE" in os.environ:
        from docker_model._console.completion import complete  # noqa: PLC0415  argcomplete's

        complete(top)
    options = parse(top, arguments)
    if options.run is None:
        top.print_help(sys.stderr)
        return _BAD_ARGUMENTS
    out = screen(sys.stdout)
    try:
        code: int = options.run(options, out)
        sys.stdout.flush()
    except DockerModelError as error:
        out.end_line()
        screen(sys.stderr).paragraph(str(error), "red")
        return _FAILED
    except KeyboardInterrupt:
        if out.terminal:
            out.line()  # so that the shell's prompt does not follow `^C` on the same line
        return _INTERRUPTED
    except OSError as error:
        if not _is_broken_pipe(error):
            raise
        # The reader has closed the pipe. Discard what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code


def _reconfigure(stream: io.TextIOWrapper) -> None:
    """Use UTF-8 for pipes on Windows, where Python defaults to the system's code page."""
    if _WINDOWS and not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
        stream.reconfigure(encoding="utf-8")
    if stream is not sys.stdin:
        stream.reconfigure(errors="replace")  # print `?` for characters the encoding lacks


def _is_broken_pipe(error: OSError) -> bool:
    """Whether the reader has closed the pipe; Windows reports an invalid argument."""
    return isinstance(error, BrokenPipeError) or (_WINDOWS and error.errno == errno.EINVAL)


if __name__ == "__main__":
    sys.exit(main())
