"""What `docker` and its plugin `docker model` do, as far as this library calls them.

It runs in the test's process. The program that is started there,
`docker_model.testing.program`, does nothing but what is ordered from here. Two versions are
simulated, the newest one and v0.1.40: a version before v0.1.45 behaves as v0.1.40.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from docker_model.testing.command import manage
from docker_model.testing.command.process import CommandError, Ended
from docker_model.testing.command.run import run
from docker_model.testing.command.session import Session, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.testing.command.process import CommandProcess
    from docker_model.testing.steps import ProcessStep

NO_PLUGIN = 125
DOCKER_HELP = "\nRun 'docker --help' for more information\n"


class FlagError(CommandError):
    """A flag that is unknown or wrong."""


@dataclass(slots=True)
class Flags:
    """What a command line came to.

    Attributes:
        values: Flag name to its text; `"true"` for a switch.
        words: Everything that is no flag, in order.
    """

    values: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        """Return the flag's value."""
        return self.values.get(name, default)

    def on(self, name: str) -> bool:
        """Return whether the switch is on."""
        return self.values.get(name) == "true"


Command: TypeAlias = Callable[[Session, Flags], None]
CONFIGURE = (
    "context-size= speculative-draft-model= speculative-num-tokens= "
    "speculative-min-acceptance-rate= hf_overrides= gpu-memory-utilization= mode= think keep-alive="
)
# Name to function, how many words it needs, flags as `parse` takes them, and those of v0.1.40.
COMMANDS: dict[str, tuple[Command, int, str, str]] = {
    "configure": (manage.configure, 1, CONFIGURE, "context-size="),
    "df": (manage.df, 0, "", ""),
    "inspect": (manage.inspect, 1, "", ""),
    "list": (manage.list_models, 0, "json", "json"),
    "ps": (manage.ps, 0, "", ""),
    "pull": (manage.pull_command, 1, "", ""),
    "rm": (manage.remove, 1, "force", "force"),
    "run": (run, 1, "color= detach", ""),
    "search": (manage.search, 0, "limit= source= json", ""),
    "status": (manage.status, 0, "json", "json"),
    "tag": (manage.tag, 2, "", ""),
    "unload": (manage.unload, 0, "all", "all"),
    "version": (manage.version, 0, "", ""),
}


def parse(args: Sequence[str], known: str) -> Flags:
    """Read a command line as Go's pflag does: flags and words mixed, `--` ends the flags.

    Args:
        args: The words after the command's name.
        known: The flags: `all` for a switch, `color=` with a value.
    """
    valued = {each.rstrip("="): each.endswith("=") for each in known.split()}
    found = Flags()
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.words += rest
            break
        if not word.startswith("-") or word == "-":
            found.words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not word.startswith("--"):
            msg = f"unknown shorthand flag: {word[1]!r} in {word}"
            raise FlagError(msg)
        if name not in valued:
            msg = f"unknown flag: --{name}"
            raise FlagError(msg)
        if not equals and valued[name] and not rest:
            msg = f"flag needs an argument: {word}"
            raise FlagError(msg)
        if not equals:
            value = rest.pop(0) if valued[name] else "true"
        found.values[name] = value
    return found


def run_command(
    process: CommandProcess, session: Session, startup: Sequence[ProcessStep], *, plugin: bool
) -> None:
    """Do what a command does, from its start to its exit code."""
    words = list(process.call.argv)
    try:
        if not plugin:
            process.exit(_without_plugin(process, words))
        process.order("pair", b"deaf" if session.old else b"")
        for step in startup:
            process.play(step)
        process.exit(_dispatch(session, words[1:]))
    except Ended:
        pass


def _dispatch(session: Session, words: list[str]) -> int:
    """Run a command line of the plugin; return the exit code."""
    process = session.process
    name, *args = words or [""]
    if name not in COMMANDS:
        # Not an error for the CLI: it prints its help.
        process.out("Usage:  docker model COMMAND\n\nDocker Model Runner\n")
        return 0
    run_it, least, known, known_to_old = COMMANDS[name]
    try:
        flags = parse(args, known_to_old if session.old else known)
        if len(flags.words) < least:
            refuse(f"'docker model {name}' requires at least {least} argument(s).")
        run_it(session, flags)
    except FlagError as error:
        usage = f"Usage:  docker model {name}\n\nRun 'docker model {name} --help'"
        process.err(f"{error}\n\n{usage} for more information\n")
        return 1
    except CommandError as error:
        process.err(f"{error}\n")
        return 1
    return 0


def _without_plugin(process: CommandProcess, words: list[str]) -> int:
    """Do what `docker` itself makes of the call; return the exit code."""
    before = words[: words.index("--")] if "--" in words else words
    flag = next((word for word in before if word.startswith("-")), None)
    if flag is None:
        process.err(f"docker: unknown command: docker model\n{DOCKER_HELP}")
        return 1
    name = flag.partition("=")[0]
    process.err(f"unknown flag: {name}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n{DOCKER_HELP}")
    return NO_PLUGIN
