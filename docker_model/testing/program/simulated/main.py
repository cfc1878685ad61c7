"""From the command line to a command."""

from __future__ import annotations

import os
from _signal import SIG_DFL, SIGPIPE, signal  # type: ignore[import-not-found]
from _socket import socket

from . import care, models
from .faults import play
from .flags import FlagError, Flags, parse
from .gojson import dumps, loads
from .process import Plugin, start_pair, start_plugin
from .pull import pull_command
from .run import LINE, known_flags, run
from .session import Session
from .texts import CommandError, err, live_with, out, usage
from .versions import Features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeAlias

    Command: TypeAlias = Callable[[Session, Flags], None]

NO_PLUGIN = 125
METADATA = '{"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "simulated"}\n'
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


def main(address: str, words: list[str], *, front: bool = True) -> NoReturn:
    """Be `docker`, or its plugin alone, for one call; the words begin with `model`."""
    if words == ["docker-cli-plugin-metadata"]:
        out(METADATA)
        os._exit(0)
    for descriptor in range(3):
        # As Go does: one that is closed would else be taken for the next thing to be opened.
        if not _is_open(descriptor):
            os.open(os.devnull, os.O_RDWR)
    host, _, port = address.rpartition(":")
    test = socket()
    try:
        test.connect((host, int(port)))
        orders = _introduce(test, words)
    except OSError:
        err("the simulation that this command belongs to has ended\n")
        os._exit(1)
    live_with(test.fileno())
    if not orders["plugin"]:
        os._exit(_without_plugin(words))
    features = Features(orders["version"])

    def plugin_main(plugin: Plugin) -> int:
        test.sendall(f"{os.getpid()}\n".encode())
        plugin.retry_wait = orders["retry wait"]
        for step in orders["startup"]:
            play(step, plugin)
        return _plugin(
            lambda: Session(plugin, features, address, orders["call"]), features, words[1:]
        )

    if front:
        start_pair(test.fileno(), deaf=not features.canceled_with_docker, plugin_main=plugin_main)
    start_plugin(test.fileno(), plugin_main=plugin_main)
    raise AssertionError


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


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


def _plugin(session: Callable[[], Session], features: Features, words: list[str]) -> int:
    """What the plugin makes of the call; `session` is first looked for after the flags."""
    name = ALIASES.get(words[0], words[0]) if words else ""
    try:
        _dispatch(session, features, name, words)
    except CommandError as error:
        err(f"{error}\n")
        return 1
    except FlagError as error:
        line = COMMANDS[name][3] if name in COMMANDS else ""
        if name == "list" and not features.list_filter_openai:
            line = line.removesuffix(" [MODEL]")
        err(f"{usage(str(error), name if line else '', line)}\n")
        return 1
    return 0


def _dispatch(
    session: Callable[[], Session], features: Features, name: str, words: list[str]
) -> None:
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
    command(session(), flags)
