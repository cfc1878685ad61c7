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
from docker_model.testing.command.process import CommandError, Ended, play
from docker_model.testing.command.run import run
from docker_model.testing.command.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from docker_model.testing.command.process import CommandProcess

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
        before_dashes: How many of the words stood before `--`; `None` without it.
    """

    values: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    before_dashes: int | None = None

    def text(self, name: str, default: str = "") -> str:
        """Return the flag's value."""
        return self.values.get(name, default)

    def on(self, name: str) -> bool:
        """Return whether the switch is on."""
        return self.values.get(name) == "true"


Command: TypeAlias = Callable[[Session, Flags], None]
# Name to function, usage line, and flags as `parse` takes them.
COMMANDS: dict[str, tuple[Command, str, str]] = {
    "configure": (manage.configure, manage.CONFIGURE_LINE, manage.CONFIGURE_FLAGS),
    "df": (manage.df, "df", ""),
    "inspect": (manage.inspect, "inspect MODEL", ""),
    "list": (manage.list_models, "list [OPTIONS] [MODEL]", "json"),
    "ps": (manage.ps, "ps", ""),
    "pull": (manage.pull_command, "pull MODEL", ""),
    "rm": (manage.remove, "rm [MODEL...]", "f:force"),
    "run": (run, "run MODEL [PROMPT]", "color= d:detach"),
    "search": (manage.search, "search [OPTIONS] [TERM]", "n:limit=int source= json"),
    "status": (manage.status, "status", "json"),
    "tag": (manage.tag, "tag SOURCE TARGET", ""),
    "unload": (manage.unload, "unload (MODEL [MODEL ...] [--backend BACKEND] | --all)", "all"),
    "version": (manage.version, "version", ""),
}


def parse(args: list[str], known: str) -> Flags:
    """Read a command line as Go's pflag does: flags and words mixed, `--` ends the flags.

    Args:
        args: The words after the command's name.
        known: The flags: `all` for a switch, `color=` with a value, `limit=int` with a number,
            and `q:quiet` for one that has a letter.
    """
    names = dict(each.rpartition(":")[::2] for each in known.split() if ":" in each)
    names = {letter: flag.partition("=")[0] for letter, flag in names.items()}
    kinds = dict(each.rpartition(":")[2].partition("=")[::2] for each in known.split())
    valued = {each.rpartition(":")[2].partition("=")[0] for each in known.split() if "=" in each}
    found = Flags()
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.before_dashes = len(found.words)
            found.words += rest
            break
        if not word.startswith("-") or word == "-":
            found.words.append(word)
            continue
        long = word.startswith("--")
        name, equals, value = word[2:].partition("=") if long else (word[1], word[2:], word[2:])
        name = name if long else names.get(name, name * 2)
        if name not in kinds:
            shown = f"shorthand flag: {word[1]!r} in {word}"
            msg = f"unknown {f'flag: --{name}' if long else shown}"
            raise FlagError(msg)
        if not equals and name in valued and not rest:
            msg = f"flag needs an argument: {word if long else f'{word[1]!r} in {word}'}"
            raise FlagError(msg)
        if not equals:
            value = rest.pop(0) if name in valued else "true"
        if kinds[name] == "int" and not value.lstrip("-").isdecimal():
            reason = f'strconv.ParseInt: parsing "{value}": invalid syntax'
            msg = f'invalid argument "{value}" for "--{name}" flag: {reason}'
            raise FlagError(msg)
        found.values[name] = value
    return found


def run_command(
    process: CommandProcess,
    *,
    version: str,
    address: str,
    key: str,
    startup: Sequence[dict[str, Any]],
    plugin: bool,
    retry_wait: float,
) -> None:
    """Do what a command does, from its start to its exit code."""
    words = list(process.call.argv)
    try:
        if not plugin:
            process.exit(_without_plugin(process, words))
        session = Session(process, version, address, key, retry_wait)
        process.order("pair", b"deaf" if session.old else b"")
        for step in startup:
            play(step, process)
        process.exit(_dispatch(session, words[1:]))
    except Ended:
        pass


def _dispatch(session: Session, words: list[str]) -> int:
    """Run a command line of the plugin; returns the exit code."""
    process = session.process
    name = words[0] if words else ""
    run_it, line, known = COMMANDS.get(name, (None, "", ""))
    if session.old:
        known = {"run": "", "configure": "context-size=int"}.get(name, known)
    try:
        flags = parse(words[1:] if run_it else words, known)
        if run_it:
            run_it(session, flags)
        else:
            # Not an error for the CLI: it prints its help.
            process.out("Usage:  docker model COMMAND\n\nDocker Model Runner\n")
    except FlagError as error:
        process.err(
            f"{error}\n\nUsage:  docker model{line and f' {line}'}\n\n"
            f"Run 'docker model{line and f' {name}'} --help' for more information\n"
        )
        return 1
    except CommandError as error:
        process.err(f"{error}\n")
        return 1
    return 0


def _without_plugin(process: CommandProcess, words: list[str]) -> int:
    """Do what `docker` itself makes of the call; returns the exit code."""
    before = words[: words.index("--")] if "--" in words else words
    flag = next((word for word in before if word.startswith("-")), None)
    if flag is None:
        process.err(f"docker: unknown command: docker model\n{DOCKER_HELP}")
        return 1
    name = flag.partition("=")[0]
    unknown = f"flag: {name}" if flag[:2] == "--" else f"shorthand flag: {flag[1]!r} in {flag}"
    process.err(f"unknown {unknown}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n{DOCKER_HELP}")
    return NO_PLUGIN
