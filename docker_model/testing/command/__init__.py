"""What `docker` and its plugin `docker model` do, as far as a calling program can see.

It runs in the test's process. The program that is started there,
`docker_model.testing.program`, does nothing but what is ordered from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from docker_model.testing.command import manage
from docker_model.testing.command.cli import Command, Session, dispatch, is_old, without_plugin
from docker_model.testing.command.process import Ended, play
from docker_model.testing.command.run import FLAGS, LINE, OLD_FLAGS, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from docker_model.testing.command.process import CommandProcess

COMMANDS = {
    "configure": Command(manage.configure, manage.CONFIGURE_LINE, manage.CONFIGURE_FLAGS),
    "df": Command(manage.df, "df"),
    "inspect": Command(manage.inspect, "inspect MODEL", "openai r:remote"),
    "list": Command(manage.list_models, "list [OPTIONS] [MODEL]", "json openai q:quiet"),
    "ps": Command(manage.ps, "ps"),
    "pull": Command(manage.pull_command, "pull MODEL"),
    "rm": Command(manage.remove, "rm [MODEL...]", "f:force"),
    "run": Command(run, LINE, FLAGS),
    "search": Command(manage.search, "search [OPTIONS] [TERM]", "n:limit=int source= json"),
    "status": Command(manage.status, "status", "json"),
    "tag": Command(manage.tag, "tag SOURCE TARGET"),
    "unload": Command(
        manage.unload,
        "unload (MODEL [MODEL ...] [--backend BACKEND] | --all)",
        "all backend=",
    ),
    "version": Command(manage.version, "version"),
}
OLD_COMMANDS = {
    **{name: command for name, command in COMMANDS.items() if name != "search"},
    "run": Command(run, LINE, OLD_FLAGS),
    "list": Command(manage.list_models, "list [OPTIONS]", "json openai q:quiet"),
}
ALIASES = {"ls": "list", "stop": "unload", "config": "configure"}


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
    """Do what a command does, from its start to its exit code.

    Args:
        process: The command's processes.
        version: The plugin's version.
        address: Where the simulated engine's runner listens.
        key: Tells the runner which call its requests come from.
        startup: Steps before it reads its stdin.
        plugin: Whether there is a plugin.
        retry_wait: Seconds before the first retry of a pull.
    """
    words = list(process.call.argv)
    try:
        if not plugin:
            process.exit(without_plugin(process, words))
        old = is_old(version)
        process.order("pair", b"deaf" if old else b"")
        for step in startup:
            play(step, process)
        session = Session(process, version, address, key, retry_wait)
        commands = OLD_COMMANDS if old else COMMANDS
        process.exit(dispatch(session, commands, ALIASES, words[1:]))
    except Ended:
        pass
