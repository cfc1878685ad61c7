"""`python -m docker_model`: is everything there, what is there, one answer, one download."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

from docker_model import management
from docker_model._console.check import Check
from docker_model._console.screen import Screen, screen
from docker_model._version import __version__
from docker_model.client import DockerModel
from docker_model.errors import DockerModelError, InvalidRequestError
from docker_model.types import ReasoningDelta, TextDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.types import ModelInfo

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells say
_BROKEN_PIPE = 141  # 128 + SIGPIPE

# The columns of `list` that a terminal too narrow for all of them can do without, in this order.
_LESS_WANTED = ("CREATED", "QUANTIZATION", "PARAMETERS", "CONTEXT", "SIZE")

_EPILOG = """\
DOCKER_MODEL_COMMAND is the command to run instead of `docker model`; MODEL_RUNNER_HOST and the
other variables of Docker Model Runner are passed on to it.
Exit codes: 0 well, 1 something failed, 2 bad arguments, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character it lacks is no failure
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        from docker_model._console.completion import complete  # noqa: PLC0415  argcomplete's

        complete(parser)
    options = parser.parse_args(arguments)
    out = screen(sys.stdout)
    try:
        code: int = options.run(options, out)
        sys.stdout.flush()
    except DockerModelError as error:
        out.end_line()
        screen(sys.stderr).line(str(error), "red")
        return _FAILED
    except KeyboardInterrupt:
        if out.terminal:
            out.line()  # what is there is `^C`, and the shell's prompt is next
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted. Nothing may be written when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        # Python 3.11 would call a module `__main__.py`; the installed script has a name.
        prog="python -m docker_model" if sys.argv[0] == __file__ else None,
        description="Docker Model Runner from the console, through `docker model`.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"docker-model-llm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="is everything there, from Docker to an answer?",
        description="Look at Docker, its plugin, the runner and its models, then ask for one "
        "answer and one stream. A line each, with the next step where something fails.",
    )
    check.add_argument("model", nargs="?", metavar="MODEL", help="default: the first one there is")
    check.set_defaults(run=_check)

    listing = commands.add_parser(
        "list", help="the models that are here", description="List the models that are here."
    )
    listing.add_argument("--json", action="store_true", help="everything known of them, as JSON")
    listing.set_defaults(run=_list)

    ask = commands.add_parser(
        "ask",
        help="one answer, as it comes",
        description="Give a model's answer, as it comes. On a terminal its reasoning comes first, "
        "dimmed; elsewhere only the answer.",
    )
    ask.add_argument("model", metavar="MODEL")
    ask.add_argument("prompt", nargs="?", metavar="PROMPT", help="default: standard input")
    ask.set_defaults(run=_ask)

    pull = commands.add_parser("pull", help="download a model", description="Download a model.")
    pull.add_argument("model", metavar="MODEL")
    pull.set_defaults(run=_pull)
    return parser


def _check(options: argparse.Namespace, out: Screen) -> int:
    return 0 if Check(options.model).run(out) else _FAILED


def _list(options: argparse.Namespace, out: Screen) -> int:
    found = management.list_models()
    if options.json:
        out.line(json.dumps([_plain(model) for model in found], indent=2))
    elif found:
        _table(found, out)
    else:
        screen(sys.stderr).line("no models yet; next: `docker model pull ai/smollm2`")
    return 0


def _plain(model: ModelInfo) -> dict[str, object]:
    created = model.created.isoformat() if model.created else None
    return {**dataclasses.asdict(model), "created": created}


def _table(found: list[ModelInfo], out: Screen) -> None:
    columns = {
        "NAME": [model.name for model in found],
        "PARAMETERS": [model.parameters or "" for model in found],
        "QUANTIZATION": [model.quantization or "" for model in found],
        "SIZE": [model.size or "" for model in found],
        "CONTEXT": [str(model.context_size or "") for model in found],
        "CREATED": [f"{one.created:%Y-%m-%d}" if one.created else "" for one in found],
    }
    widths = {head: max(map(len, (head, *cells))) for head, cells in columns.items()}
    # Those in which nothing stands go first.
    for head in sorted(_LESS_WANTED, key=lambda one: any(columns[one])) if out.terminal else ():
        if sum(widths.values()) + 2 * len(widths) - 2 <= shutil.get_terminal_size().columns:
            break
        del widths[head], columns[head]
    for number, row in enumerate((columns, *zip(*columns.values(), strict=True))):
        cells = (cell.ljust(width) for cell, width in zip(row, widths.values(), strict=True))
        out.line("  ".join(cells).rstrip(), "" if number else "bold")


def _ask(options: argparse.Namespace, out: Screen) -> int:
    prompt = _read_prompt() if options.prompt is None else options.prompt
    thinking = False
    with DockerModel(options.model).stream(prompt) as stream:
        for event in stream.events():
            if isinstance(event, ReasoningDelta) and out.terminal:
                out.write(event.text, "dim")
                thinking = True
            elif isinstance(event, TextDelta):
                if thinking:
                    out.write("\n\n")
                out.write(event.text)
                thinking = False
    out.end_line()
    return 0


def _read_prompt() -> str:
    if sys.stdin.isatty():
        screen(sys.stderr).line("Prompt, ended by Ctrl-D:", "dim")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        msg = "the prompt on standard input is not UTF-8"
        raise InvalidRequestError(msg, hint="convert it, as by `iconv -t UTF-8`") from None


def _pull(options: argparse.Namespace, out: Screen) -> int:
    with screen(sys.stderr).progress() as show:
        model = management.pull_model(options.model, on_progress=show)
    out.line(f"{model.name} is here" + (f": {model.size}" if model.size else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
