"""The behavior of `docker` and its plugin `docker model`, for all commands of this library.

This code runs in the test's process and controls the started program,
`docker_model.testing.program`. It simulates two versions, the newest one and v0.1.40. Versions
before v0.1.45 behave like v0.1.40.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from docker_model.testing.command import manage
from docker_model.testing.command.process import CommandError, Ended
from docker_model.testing.command.run import run
from docker_model.testing.command.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker_model.testing.command.process import CommandProcess
    from docker_model.testing.steps import ProcessStep

NO_PLUGIN = 125


@dataclass(slots=True)
class Flags:
    """A parsed command line.

    Attributes:
        values: The texts of the flags by their names; `"true"` for a switch.
        words: The other arguments, in order.
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
# Each command's function, its flags in the form of `parse`, and its flags in v0.1.40.
COMMANDS: dict[str, tuple[Command, str, str]] = {
    "configure": (manage.configure, CONFIGURE, "context-size="),
    "df": (manage.query("/engines/df", manage.print_usage), "", ""),
    "inspect": (manage.query("/models/{0}", manage.print_json), "", ""),
    "list": (manage.query("/models", manage.print_json), "json", "json"),
    "ps": (manage.query("/engines/ps", manage.print_running), "", ""),
    "pull": (manage.pull_command, "", ""),
    "rm": (manage.remove, "force", "force"),
    "run": (run, "color= detach", ""),
    "search": (manage.query("/simulated/search?q={0}", manage.print_search), "limit= json", ""),
    "status": (manage.status, "json", "json"),
    "tag": (manage.tag, "", ""),
    "unload": (manage.unload, "all", "all"),
    "version": (manage.version, "", ""),
}
WITHOUT_ENGINE = ("search", "version")


def parse(args: Sequence[str], known: str) -> Flags:
    """Parse a command line with flags and words in any order; `--` ends the flags.

    Args:
        args: The arguments after the command's name.
        known: The known flags, such as `all` for a switch and `color=` for a flag with a value.

    Raises:
        CommandError: If a flag is unknown.
    """
    valued = {flag.rstrip("="): flag.endswith("=") for flag in known.split()}
    flags = Flags()
    words = iter(args)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word == "--":
            flags.words += words
        elif not word.startswith("-"):
            flags.words.append(word)
        elif name not in valued:
            msg = f"unknown flag: --{name}\n\nUsage:  docker model COMMAND"
            raise CommandError(msg)
        elif valued[name] and not equals:
            flags.values[name] = next(words, "")
        else:
            flags.values[name] = value or "true"
    return flags


def run_command(
    process: CommandProcess, session: Session, startup: Sequence[ProcessStep], *, plugin: bool
) -> None:
    """Run a command from its start to its exit."""
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
    name, *args = words or [""]
    if name not in COMMANDS:
        # The CLI prints its help and exits with code 0.
        session.process.out("Usage:  docker model COMMAND\n")
        return 0
    run_it, known, known_to_old = COMMANDS[name]
    try:
        if name not in WITHOUT_ENGINE:
            session.need_engine(always=name == "status")
        run_it(session, parse(args, known_to_old if session.old else known))
    except CommandError as error:
        session.process.err(f"{error}\n")
        return 1
    return 0


def _without_plugin(process: CommandProcess, words: list[str]) -> int:
    """Run the call like a `docker` without the plugin; return the exit code."""
    before = words[: words.index("--")] if "--" in words else words
    flag = next((word for word in before if word.startswith("-")), None)
    if flag is None:
        process.err("docker: unknown command: docker model\n")
        return 1
    process.err(f"unknown flag: {flag}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n")
    return NO_PLUGIN
