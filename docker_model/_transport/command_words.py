"""The setting `command=`: split and validate a command, without file access."""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from docker_model._transport.environment import Environment, can_be_passed
from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_COMMAND = ("docker", "model")

_PLUGIN_NAMES = frozenset({"docker-model", "docker-model.exe"})
_WINDOWS = os.name == "nt"
# A quotation mark with the preceding backslashes, white space, or other text.
_WINDOWS_TOKEN = re.compile(r'(\\*)"|(\s+)|(\\+|[^\s"\\]+)')


def check_runner_settings(
    command: str | Sequence[str] | None, env: Mapping[str, str] | None
) -> tuple[str | tuple[str, ...] | None, Environment | None]:
    """Validate the settings `command=` and `env=`, and return them as hashable values.

    Raises:
        InvalidRequestError: If a setting is invalid.
    """
    if command is not None:
        words = split_command(command, {})
        command = command if isinstance(command, str) else words
    return command, None if env is None else Environment.of(env)


def is_default(command: str | Sequence[str] | None, env: Mapping[str, str]) -> bool:
    """Whether neither `command=` nor the environment sets a command."""
    return command is None and not env.get("DOCKER_MODEL_COMMAND", "").strip()


def split_command(
    command: str | Sequence[str] | None, env: Mapping[str, str], *, windows: bool = _WINDOWS
) -> tuple[str, ...]:
    """Split a `command=` setting; `None` is `$DOCKER_MODEL_COMMAND` or `docker model`.

    Args:
        command: The setting.
        env: The environment.
        windows: Split a string by the rules of Windows, where a backslash does not escape.

    Raises:
        InvalidRequestError: If the setting is not a command.
    """
    source = "command"
    if command is None:
        if is_default(command, env):
            return DEFAULT_COMMAND
        source, command = "DOCKER_MODEL_COMMAND", env["DOCKER_MODEL_COMMAND"]
    if not isinstance(command, Iterable):
        msg = f"{source} must be a string or a sequence of strings, not {type(command).__name__}"
        raise InvalidRequestError(msg, hint='the default is "docker model"')
    split = _split_as_windows if windows else shlex.split
    try:
        words = tuple(split(command) if isinstance(command, str) else command)
    except ValueError as error:  # an open quotation
        msg = f"{source} cannot be split into words: {error}"
        hint = f'quote it as in a shell: {source}="docker model"'
        raise InvalidRequestError(msg, hint=hint) from None
    if not words or not words[0] or not all(map(can_be_passed, words)):
        msg = (
            f"{source} must be a program and its arguments, strings without NUL or lone surrogates"
        )
        raise InvalidRequestError(msg, hint='the default is "docker model"')
    if is_plugin_file(words[0], windows=windows) and len(words) == 1:
        return (words[0], "model")  # as `docker` runs the plugin: `model` is its only subcommand
    return words


def _split_as_windows(command: str) -> list[str]:
    """Split a command line as Windows programs do: the inverse of `subprocess.list2cmdline`."""
    words: list[str] = []
    word: str | None = None
    quoted = False
    for match in _WINDOWS_TOKEN.finditer(command):
        backslashes, space, other = match.groups()
        if backslashes is not None:
            word = (word or "") + "\\" * (len(backslashes) // 2)
            if len(backslashes) % 2:
                word += '"'
            else:
                quoted = not quoted
        elif space is None or quoted:
            word = (word or "") + (other or space)
        elif word is not None:
            words.append(word)
            word = None
    if quoted:
        msg = "No closing quotation"
        raise ValueError(msg)
    return words if word is None else [*words, word]


def is_plugin_file(program: str, *, windows: bool = _WINDOWS) -> bool:
    """Whether the name of a program is that of the plugin's executable."""
    name = ntpath.basename(program).lower() if windows else posixpath.basename(program)
    return name in _PLUGIN_NAMES
