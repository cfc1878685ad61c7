"""Steps of a script that concern the program and not the model: exit, noise, signals.

They come in the stream as comments, `: simulated {"do": "exit", "code": 3}`, which any other
client passes over; and before anything else, in the answer to the program's first message.
"""

from __future__ import annotations

import os
from _signal import SIG_IGN, SIGHUP, SIGINT, SIGKILL, SIGTERM, signal  # type: ignore[import-not-found]

from .gojson import loads
from .texts import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .process import Plugin

MARK = b": simulated "


def play_comment(line: bytes, plugin: Plugin) -> None:
    """Do what a comment of the stream says, if it is one of ours."""
    if line.startswith(MARK):
        play(loads(line[len(MARK) :].decode()), plugin)


def play(step: dict[str, Any], plugin: Plugin) -> None:
    """Do one step; `exit` and `kill` do not return."""
    match step["do"]:
        case "exit":
            os._exit(step["code"])
        case "kill":
            plugin.kill_docker()
            os.kill(os.getpid(), SIGKILL)
        case "write":
            write(step["to"], step["data"].encode("latin-1"))
        case "close stdout":
            plugin.close_stdout()
        case "ignore signals":
            for number in (SIGTERM, SIGINT, SIGHUP):
                signal(number, SIG_IGN)
            plugin.deaf = True
        case "grandchild":
            _grandchild(step, plugin)
        case "sleep":
            plugin.wait(seconds=step["seconds"])
        case "hang":
            plugin.hang()


def _grandchild(step: dict[str, Any], plugin: Plugin) -> None:
    """Leave a process behind that holds the pipes until it is ended or the test's process is."""
    if os.fork():
        return
    if step["detached"]:
        os.setsid()
    plugin.hang()
