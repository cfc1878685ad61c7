"""The command line: its subcommands, options, and what their help says."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from docker_model._version import __version__
from docker_model.types import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from docker_model._console.screen import Screen

    Command = Callable[[argparse.Namespace, Screen], int]

LINK = "https://docker-model-llm.github.io/docker-model-llm/"
MAX_CHARS = 16_000  # of an answer: a small model may ramble for minutes

_EXAMPLES = """\
examples:
  docker-model-llm check
  docker-model-llm pull ai/smollm2
  docker-model-llm ask ai/smollm2 What is a container?
  docker-model-llm chat ai/smollm2

environment:
  DOCKER_MODEL_COMMAND is the command to run instead of `docker model`; MODEL_RUNNER_HOST and
  the other variables of Docker Model Runner are passed on to it.

exit codes: 0 well, 1 something failed, 2 bad arguments, 130 interrupted.
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps examples as they are written."""


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        commands: What each subcommand runs.
    """
    top = argparse.ArgumentParser(
        # Python 3.11 would call a module `__main__.py`; the installed script has a name.
        prog="python -m docker_model" if sys.argv[0].endswith("__main__.py") else None,
        description="Docker Model Runner from the command line.",
        epilog=f"{_EXAMPLES}\nDocumentation: {LINK}",
        formatter_class=_Formatter,
    )
    top.add_argument("--version", action="version", version=f"docker-model-llm {__version__}")
    subcommands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, summary: str, details: str, *examples: str) -> argparse.ArgumentParser:
        lines = "".join(
            f"  docker-model-llm {name}{f' {example}' if example else ''}\n" for example in examples
        )
        command = subcommands.add_parser(
            name,
            help=summary,
            description=details,
            epilog=f"examples:\n{lines}\nDocumentation: {LINK}console/",
            formatter_class=_Formatter,
        )
        command.set_defaults(run=commands[name])
        runner = command.add_argument_group("which runner")
        runner.add_argument(
            "--transport",
            choices=("cli", "http"),
            help="ask `docker model` or the HTTP API; default: the command, if there is one",
        )
        runner.add_argument("--base-url", metavar="URL", help="the address of the HTTP API")
        return command

    _add_check(add("check", "check everything, from Docker to an answer", _CHECK, "", "ai/smollm2"))
    _add_ask(add("ask", "print one answer, as it comes", _ASK, *_ASK_EXAMPLES))
    _add_chat(add("chat", "hold a conversation", _CHAT, "ai/smollm2"))
    listing = add("list", "list the models that are here", _LIST, "", "--json")
    listing.add_argument("--json", action="store_true", help="everything known of them, as JSON")
    add("ps", "list the models that are loaded", "List the models that are loaded.", "")
    pull = add("pull", "download a model", "Download a model.", "ai/smollm2")
    pull.add_argument("model", metavar="MODEL")
    search = add("search", "search for models to pull", _SEARCH, "qwen", "--limit 5 embed")
    search.add_argument("term", nargs="?", default="", metavar="TERM")
    search.add_argument("--limit", type=int, default=25, metavar="N", help="default: 25")
    remove = add("rm", "remove models", "Remove models from the local store.", "ai/smollm2")
    remove.add_argument("models", nargs="+", metavar="MODEL")
    remove.add_argument("-f", "--force", action="store_true", help="with all its tags")
    _add_configure(
        add("configure", "change how a model is started", _CONFIGURE, *_CONFIGURE_EXAMPLES)
    )
    return top


def parse(top: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments.

    argparse gives a positional of any number of words only those before the next option. The
    rest comes back as unknown, and is added here.
    """
    options, rest = top.parse_known_args(arguments)
    literal = rest.index("--") if "--" in rest else len(rest)
    unknown = [word for word in rest[:literal] if word.startswith("-") and word != "-"]
    if unknown or (rest and not hasattr(options, "words")):
        top.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if rest:
        getattr(options, options.words).extend(rest[:literal] + rest[literal + 1 :])
    return options


_CHECK = """\
Check Docker, its plugin, the runner and its models, then ask for an answer and a stream. Prints
a line for each step, with what to do next where one fails."""


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", nargs="?", metavar="MODEL", help="default: the first chat model there is"
    )
    command.add_argument(
        "-v", "--verbose", action="store_true", help="also what was skipped, and where was looked"
    )


_ASK = """\
Print a model's answer, as it comes. On a terminal the model's reasoning comes first, dimmed;
elsewhere only the answer is printed."""
_ASK_EXAMPLES = (
    "ai/smollm2 What is a container?",
    "ai/smollm2 --system 'Answer in French.' 'What is a container?'",
    "ai/gemma3 --image cat.png What is this?",
    "ai/smollm2 'Summarize this:' - < notes.txt",
)


def _add_ask(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument(
        "prompt",
        nargs="*",
        metavar="PROMPT",
        help="words of the prompt; `-` stands for standard input; default: standard input alone",
    )
    command.set_defaults(words="prompt")
    command.add_argument("--json", action="store_true", help="print everything, as JSON")
    command.add_argument("--system", metavar="TEXT", help="what the model is to be")
    command.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="a file or a URL; repeatable"
    )
    add_limits(command)


_CHAT = """\
Hold a conversation with a model. Ctrl-C ends an answer, Ctrl-D the conversation; /help lists
what else can be typed. On a terminal, what you type is kept for the next conversation; the
variable DOCKER_MODEL_HISTORY names the file, and an empty one keeps nothing."""


def _add_chat(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument("--system", metavar="TEXT", help="what the model is to be")
    add_limits(command)


def add_limits(command: argparse.ArgumentParser) -> None:
    """Add the options that bound an answer."""
    limits = command.add_argument_group("the answer")
    limits.add_argument("--temperature", type=float, metavar="T", help="0 is the likeliest answer")
    limits.add_argument("--seed", type=int, metavar="N")
    limits.add_argument("--max-tokens", type=int, metavar="N", help="end the answer there")
    limits.add_argument(
        "--max-chars",
        type=int,
        default=MAX_CHARS,
        metavar="N",
        help=f"end the answer there; default: {MAX_CHARS}, 0 for no limit",
    )
    limits.add_argument("--timeout", type=float, metavar="SECONDS", help="for the whole answer")


_LIST = "List the models that are here: their size, context size in force, and abilities."
_SEARCH = "Search Docker Hub and Hugging Face for models. Needs the internet."
_CONFIGURE = """\
Change how the runner starts a model, for all of its users, until the runner restarts. What is
not named stays as it is; without options, the present configuration is shown."""
_CONFIGURE_EXAMPLES = (
    "ai/smollm2 --context-size 8192",
    "ai/smollm2 --keep-alive 1h",
    "ai/smollm2 --mode embedding -- --pooling mean",
)


def _add_configure(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument("flags", nargs="*", metavar="FLAG", help="of the engine, after `--`")
    command.set_defaults(words="flags")
    command.add_argument("--context-size", type=int, metavar="TOKENS", help="-1 for the maximum")
    command.add_argument("--keep-alive", metavar="TIME", help="such as 5m; 0, or -1 for ever")
    command.add_argument(
        "--think", action=argparse.BooleanOptionalAction, help="whether the model may think"
    )
    command.add_argument("--mode", choices=get_args(Mode))
    command.add_argument("--draft-model", metavar="MODEL", help="for speculative decoding")
    command.add_argument("--draft-tokens", type=int, metavar="N")
    command.add_argument("--draft-min-acceptance", type=float, metavar="RATE")
