"""The command line parser: subcommands, options and help texts."""

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
MAX_CHARS = 16_000  # of an answer, because a small model may not stop by itself

_EXAMPLES = """\
examples:
  docker-model-llm check
  docker-model-llm pull ai/smollm2
  docker-model-llm ask ai/smollm2 What is a container?
  docker-model-llm chat ai/smollm2

environment:
  DOCKER_MODEL_COMMAND sets the command to run instead of `docker model`. MODEL_RUNNER_HOST and
  the other variables of Docker Model Runner are passed to that command.

exit codes: 0 success, 1 failure, 2 invalid arguments, 130 interrupted.
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions and examples."""


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        commands: The function of each subcommand.
    """
    top = argparse.ArgumentParser(
        # Without `prog`, Python 3.11 would show `__main__.py` for a module.
        prog="python -m docker_model" if sys.argv[0].endswith("__main__.py") else None,
        description="Docker Model Runner from the command line.",
        epilog=f"{_EXAMPLES}\nDocumentation: {LINK}",
        formatter_class=_Formatter,
    )
    top.add_argument("--version", action="version", version=f"docker-model-llm {__version__}")
    top.set_defaults(run=None)
    subcommands = top.add_subparsers(metavar="COMMAND")

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
        runner = command.add_argument_group("runner")
        runner.add_argument(
            "--transport",
            choices=("cli", "http"),
            help="use `docker model` or the HTTP API; default: the command if it is installed",
        )
        runner.add_argument("--base-url", metavar="URL", help="the address of the HTTP API")
        return command

    _add_check(add("check", "check every step from Docker to an answer", _CHECK, "", "ai/smollm2"))
    _add_ask(add("ask", "print one answer while it is generated", _ASK, *_ASK_EXAMPLES))
    _add_chat(add("chat", "hold a conversation", _CHAT, "ai/smollm2"))
    listing = add("list", "list the local models", _LIST, "", "--json")
    listing.add_argument("--json", action="store_true", help="print all fields as JSON")
    add("ps", "list the loaded models", "List the loaded models.", "")
    pull = add("pull", "download a model", "Download a model.", "ai/smollm2")
    pull.add_argument("model", metavar="MODEL")
    search = add("search", "search for models to pull", _SEARCH, "qwen", "--limit 5 embed")
    search.add_argument("term", nargs="?", default="", metavar="TERM")
    search.add_argument("--limit", type=int, default=25, metavar="N", help="default: 25")
    remove = add("rm", "remove models", "Remove models from the local store.", "ai/smollm2")
    remove.add_argument("models", nargs="+", metavar="MODEL")
    remove.add_argument("-f", "--force", action="store_true", help="remove all tags of the model")
    _add_configure(
        add("configure", "change how a model is started", _CONFIGURE, *_CONFIGURE_EXAMPLES)
    )
    return top


def parse(top: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments, with options allowed between the words of a prompt.

    argparse collects the words of a positional only up to the next option, and returns the words
    after it as unknown arguments. This function adds them to the positional.
    """
    options, extra = top.parse_known_args(arguments)
    separator = extra.index("--") if "--" in extra else len(extra)
    unknown = [word for word in extra[:separator] if word.startswith("-") and word != "-"]
    if unknown or (extra and not hasattr(options, "words")):
        top.error(f"unrecognized arguments: {' '.join(unknown or extra)}")
    if extra:
        getattr(options, options.words).extend(extra[:separator] + extra[separator + 1 :])
    return options


_CHECK = """\
Check Docker, the plugin, the runner and its models, then generate an answer and a stream. Print
a line for each step. If a step fails, print what to do next."""


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", nargs="?", metavar="MODEL", help="default: the first local chat model"
    )
    command.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="also print skipped steps and the search for the HTTP API",
    )


_ASK = """\
Print a model's answer while it is generated. On a terminal, the model's reasoning is printed
first, dimmed. In a pipe or a file, only the answer is printed."""
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
        help="words of the prompt; `-` inserts standard input; default: only standard input",
    )
    command.set_defaults(words="prompt")
    command.add_argument("--json", action="store_true", help="print all fields as JSON")
    command.add_argument("--system", metavar="TEXT", help="the system message")
    command.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="a file or a URL; repeatable"
    )
    add_limits(command)


_CHAT = """\
Hold a conversation with a model. Ctrl-C ends an answer, Ctrl-D ends the conversation, and /help
lists the commands. On a terminal, the lines that you type are saved for the next conversation.
The variable DOCKER_MODEL_HISTORY sets the file; an empty value turns it off."""


def _add_chat(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument("--system", metavar="TEXT", help="the system message")
    add_limits(command)


def add_limits(command: argparse.ArgumentParser) -> None:
    """Add the sampling parameters and the limits of an answer."""
    limits = command.add_argument_group("the answer")
    limits.add_argument(
        "--temperature", type=float, metavar="T", help="0 always chooses the likeliest token"
    )
    limits.add_argument("--seed", type=int, metavar="N")
    limits.add_argument("--max-tokens", type=int, metavar="N", help="the limit in tokens")
    limits.add_argument(
        "--max-chars",
        type=int,
        default=MAX_CHARS,
        metavar="N",
        help=f"the limit in characters; default: {MAX_CHARS}, 0 for no limit",
    )
    limits.add_argument("--timeout", type=float, metavar="SECONDS", help="for the whole answer")


_LIST = "List the local models with their size, effective context size and capabilities."
_SEARCH = "Search Docker Hub and Hugging Face for models. This needs internet access."
_CONFIGURE = """\
Change how the runner starts a model. The change applies to all users of the runner, until it
restarts or `docker model unload --all` runs. Other settings keep their values. Without options,
print the current configuration."""
_CONFIGURE_EXAMPLES = (
    "ai/smollm2 --context-size 8192",
    "ai/smollm2 --keep-alive 1h",
    "ai/smollm2 --mode embedding -- --pooling mean",
)


def _add_configure(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument("flags", nargs="*", metavar="FLAG", help="flags of the engine, after `--`")
    command.set_defaults(words="flags")
    command.add_argument("--context-size", type=int, metavar="TOKENS", help="-1 for the maximum")
    command.add_argument("--keep-alive", metavar="TIME", help="such as 5m or 0; -1 for ever")
    command.add_argument(
        "--think", action=argparse.BooleanOptionalAction, help="turn reasoning on or off"
    )
    command.add_argument("--mode", choices=get_args(Mode))
    command.add_argument("--draft-model", metavar="MODEL", help="for speculative decoding")
    command.add_argument("--draft-tokens", type=int, metavar="N")
    command.add_argument("--draft-min-acceptance", type=float, metavar="RATE")
