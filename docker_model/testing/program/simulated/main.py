"""From the command line to a command."""

from __future__ import annotations

import os
from _signal import SIG_DFL, SIGPIPE, signal
from _socket import socket

from . import care, models
from .faults import play
from .flags import FlagError, Flags, parse
from .gojson import dumps, loads
from .place import Place
from .process import Plugin, start_pair
from .pull import pull_command
from .run import LINE, known_flags, run
from .texts import CommandError, err, out, usage
from .versions import Features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeAlias

    Command: TypeAlias = Callable[[Plugin, Features, Place, Flags], None]

NO_PLUGIN = 125
HELP = "\nRun 'docker --help' for more information\n"
# Name to function, flags, short flags, and what stands after `docker model` in its usage line.
COMMANDS: dict[str, tuple[Command, dict[str, str], dict[str, str], str]] = {
    "configure": (care.configure, care.CONFIGURE_FLAGS, {}, care.CONFIGURE_LINE),
    "inspect": (
        models.inspect,
        {"openai": "bool", "remote": "bool"},
        {"r": "remote"},
        " inspect MODEL",
    ),
    "list": (
        models.list_models,
        {"json": "bool", "openai": "bool", "quiet": "bool"},
        {"q": "quiet"},
        " list [OPTIONS] [MODEL]",
    ),
    "ps": (care.ps, {}, {}, " ps"),
    "pull": (pull_command, {}, {}, " pull MODEL"),
    "run": (run, {}, {}, LINE),
    "status": (care.status, {"json": "bool"}, {}, " status"),
    "unload": (
        care.unload,
        {"all": "bool", "backend": "string"},
        {},
        " unload (MODEL [MODEL ...] [--backend BACKEND] | --all)",
    ),
    "version": (care.version, {}, {}, " version"),
}
ALIASES = {"ls": "list", "stop": "unload", "config": "configure"}


def main(address: str, words: list[str]) -> NoReturn:
    """Be `docker` for one call; the words begin with `model`."""
    host, _, port = address.rpartition(":")
    test = socket()
    try:
        test.connect((host, int(port)))
        orders = _introduce(test, words)
    except OSError:
        err("the simulation that this command belongs to has ended\n")
        os._exit(1)
    if not orders["plugin"]:
        os._exit(_without_plugin(words))
    features = Features(orders["version"])

    def plugin_main(plugin: Plugin) -> int:
        test.sendall(f"{os.getpid()}\n".encode())
        for step in orders["startup"]:
            play(step, plugin)
        return _plugin(plugin, features, address, orders["call"], words[1:])

    start_pair(test.fileno(), deaf=not features.canceled_with_docker, plugin_main=plugin_main)
    raise AssertionError


def _introduce(test: socket, words: list[str]) -> Any:
    """Tell the test what was started, and get its orders."""
    call = {"argv": words, "pid": os.getpid(), "cwd": os.getcwd(), "env": dict(os.environ)}  # noqa: PTH109 - pathlib costs 10 ms
    test.sendall(dumps(call).encode("utf-8", "surrogatepass") + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        data = test.recv(65536)
        if not data:
            raise ConnectionResetError
        answer += data
    return loads(answer.decode())


def _without_plugin(words: list[str]) -> int:
    """What `docker` itself makes of the call."""
    signal(SIGPIPE, SIG_DFL)
    for word in words:
        if word == "--":
            break
        if word in ("--help", "-h"):
            out("Usage:  docker [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n")
            return 0
        if word.startswith("-"):
            name = word.partition("=")[0]
            unknown = (
                f"flag: {name}"
                if word.startswith("--")
                else f"shorthand flag: {word[1]!r} in {word}"
            )
            err(f"unknown {unknown}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n{HELP}")
            return NO_PLUGIN
    err(f"docker: unknown command: docker model\n{HELP}")
    return 1


def _plugin(plugin: Plugin, features: Features, address: str, call: str, words: list[str]) -> int:
    try:
        _dispatch(plugin, features, address, call, words)
    except CommandError as error:
        err(f"{error}\n")
        return 1
    except FlagError as error:
        name = ALIASES.get(words[0], words[0])
        line = COMMANDS[name][3] if name in COMMANDS else ""
        err(f"{usage(str(error), name if line else '', line)}\n")
        return 1
    return 0


def _dispatch(
    plugin: Plugin, features: Features, address: str, call: str, words: list[str]
) -> None:
    name = ALIASES.get(words[0], words[0]) if words else ""
    if name not in COMMANDS:
        # Not an error for the CLI: it prints its help, unless there is a flag.
        parse(words, {}, {})
        out("Usage:  docker model COMMAND\n\nDocker Model Runner\n")
        return
    command, known, shorts, line = COMMANDS[name]
    if name == "run":
        known, shorts = known_flags(features)
    flags = parse(words[1:], known, shorts)
    if flags.help:
        out(f"Usage:  docker model{line}\n")
        return
    command(plugin, features, Place(plugin, features, address, call), flags)
