"""The command line of `docker model`: its program, its arguments and its environment."""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from docker_model._transport.environment import Environment, can_be_passed
from docker_model.errors import DockerNotFoundError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_COMMAND = ("docker", "model")
INSTALL_HINT = (
    "install Docker (https://docs.docker.com/get-docker/), or name the program by command= "
    "or DOCKER_MODEL_COMMAND"
)

_DEFAULTS = {
    # No call may install a runner container, or print its progress before `list --json`.
    "MODEL_RUNNER_NO_AUTO_INSTALL": "1",
    # v1.1.25 to v1.1.27 sent the prompt's search terms to a third party unless told not to.
    "DOCKER_MODEL_NO_WEBSEARCH": "1",
    # v0.1.41 to v1.0.0 colored reasoning by default.
    "NO_COLOR": "1",
    # Go's collector takes a fifth of the CLI's 56 ms; `off` gains no more and never frees.
    "GOGC": "400",
}
# Set by `docker` for its plugins. A plugin that is started without it prints the answer to
# stderr, and reads `model` as the name of a command that it does not have.
ORIGINAL_COMMAND = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
_PLUGIN_NAMES = frozenset({"docker-model", "docker-model.exe"})

_WINDOWS = os.name == "nt"
_WINDOWS_PROGRAMS = (".exe", ".com")
_BATCH_FILES = (".bat", ".cmd")  # run by cmd.exe, which reads commands out of the arguments
# A quotation mark with the backslashes before it, white space, or anything else.
_WINDOWS_TOKEN = re.compile(r'(\\*)"|(\s+)|(\\+|[^\s"\\]+)')


def child_environment(
    env: Mapping[str, str] | None = None, command: str | Sequence[str] | None = None
) -> dict[str, str]:
    """Return the whole environment of a child: the caller's, `env` over it, and our defaults.

    Args:
        env: An `env=` setting.
        command: The `command=` setting, which may name the plugin's own file.
    """
    environment = {**_DEFAULTS, **os.environ, **Environment.of(env)}
    if _is_plugin_file(split_command(command, environment)[0]):
        environment.setdefault(ORIGINAL_COMMAND, "docker")
    return environment


def is_default(command: str | Sequence[str] | None, env: Mapping[str, str]) -> bool:
    """Whether neither `command=` nor the environment names a command."""
    return command is None and not env.get("DOCKER_MODEL_COMMAND", "").strip()


def located(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return a command with the absolute path of its program; looks at files.

    A run's working directory is not the caller's, so that a relative path, or a relative
    entry of `PATH`, would mean another file there.

    Args:
        argv: A command.
        env: The child's whole environment.

    Raises:
        DockerNotFoundError: If there is no such program.
    """
    return [_locate(argv[0], env.get("PATH", os.defpath)), *argv[1:]]


def split_command(
    command: str | Sequence[str] | None, env: Mapping[str, str], *, windows: bool = _WINDOWS
) -> tuple[str, ...]:
    """Read a `command=` setting; `None` is the environment's, or `docker model`.

    Args:
        command: The setting.
        env: The environment.
        windows: Split a string as Windows does, where a backslash is no escape.

    Raises:
        InvalidRequestError: If it is not a command.
    """
    source = "command"
    if command is None:
        if is_default(command, env):
            return DEFAULT_COMMAND
        source, command = "DOCKER_MODEL_COMMAND", env["DOCKER_MODEL_COMMAND"]
    if not isinstance(command, Iterable):
        msg = f"{source} must be a string or a sequence of them, not {type(command).__name__}"
        raise InvalidRequestError(msg, hint='the default is "docker model"')
    split = _split_as_windows if windows else shlex.split
    try:
        words = tuple(split(command) if isinstance(command, str) else command)
    except ValueError as error:  # an open quotation
        msg = f"{source} cannot be split into words: {error}"
        hint = f'quote it as for a shell: {source}="docker model"'
        raise InvalidRequestError(msg, hint=hint) from None
    if not words or not words[0] or not all(map(can_be_passed, words)):
        msg = (
            f"{source} must be a program and its arguments, strings without NUL or lone surrogates"
        )
        raise InvalidRequestError(msg, hint='the default is "docker model"')
    if _is_plugin_file(words[0], windows=windows) and len(words) == 1:
        return (words[0], "model")  # as `docker` does: the plugin knows no other subcommand
    return words


def _split_as_windows(command: str) -> list[str]:
    """Split a command line as Windows programs do: the inverse of `subprocess.list2cmdline`."""
    words: list[str] = []
    word: str | None = None
    quoted = False
    for found in _WINDOWS_TOKEN.finditer(command):
        backslashes, space, other = found.groups()
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


def _is_plugin_file(program: str, *, windows: bool = _WINDOWS) -> bool:
    name = ntpath.basename(program).lower() if windows else posixpath.basename(program)
    return name in _PLUGIN_NAMES


def candidates(program: str, path: str, *, windows: bool = _WINDOWS) -> list[str]:
    """Return the files that `program` may mean, in the order in which they are looked for.

    Args:
        program: A name, or a path.
        path: The folders of `PATH`.
        windows: Go by the rules of Windows.
    """
    module = ntpath if windows else posixpath
    is_path = module.basename(program) != program
    folders = [""] if is_path else path.split(module.pathsep)
    suffixes: tuple[str, ...] = (*_WINDOWS_PROGRAMS, *_BATCH_FILES)
    if not windows or program.lower().endswith(suffixes):
        suffixes = ("",)
    return [module.join(folder, program + suffix) for folder in folders for suffix in suffixes]


def _locate(program: str, path: str) -> str:
    unusable = ""
    for candidate in map(os.path.abspath, candidates(program, path)):
        if os.path.isfile(candidate):  # noqa: PTH113  hot path
            if os.access(candidate, os.X_OK) and not _is_batch_file(candidate):
                return candidate
            unusable = unusable or candidate
    if _is_batch_file(unusable):
        msg = f"{unusable!r} is a batch file, which would run commands out of its arguments"
        raise DockerNotFoundError(msg, hint="name the .exe file that it starts by command=")
    if unusable:
        msg = f"{unusable!r} is not executable"
        raise DockerNotFoundError(msg, hint=f"chmod +x {shlex.quote(unusable)}")
    where = "" if os.path.basename(program) != program else " on PATH"  # noqa: PTH119  hot path
    msg = f"there is no program {program!r}{where}"
    raise DockerNotFoundError(msg, hint=INSTALL_HINT)


def _is_batch_file(path: str) -> bool:
    return _WINDOWS and path.lower().endswith(_BATCH_FILES)


# Names are checked before they come here (`check_model_name`): none begins with a
# dash. `--` guards the name in `run` all the same; in `configure` it would turn the name
# into a flag for the backend, and the other commands do without.


def run_arguments(model: str, *, color: bool = True) -> list[str]:
    """Answer what comes through stdin.

    Args:
        model: A checked name.
        color: Pass `--color no`: v0.1.41 and later know it, v0.1.40 and older fail on it.
    """
    return ["run", *(("--color", "no") if color else ()), "--", model]


def preload_arguments(model: str) -> list[str]:
    """Load a model and wait until it is loaded; v0.1.45 and later."""
    return ["run", "--detach", "--", model]


def list_arguments() -> list[str]:
    """List all models. The CLI's own filter misses `docker.io/` tags, so it is not used."""
    return ["list", "--json"]


def inspect_arguments(model: str) -> list[str]:
    """Describe one model; always JSON, and `--json` is an unknown flag here."""
    return ["inspect", model]


def status_arguments() -> list[str]:
    """Tell the runner's state and address; `--json` is known from v0.1.31 on."""
    return ["status", "--json"]


def version_arguments() -> list[str]:
    """Tell the plugin's version and the kind of engine; works while the runner is down."""
    return ["version"]


def ps_arguments() -> list[str]:
    """List the loaded models: a table, there is no JSON form."""
    return ["ps"]


def pull_arguments(model: str) -> list[str]:
    """Download a model."""
    return ["pull", model]


def unload_arguments(model: str) -> list[str]:
    """Unload one model."""
    return ["unload", model]


def configure_arguments(
    model: str, *, context_size: int | None = None, mode: str | None = None
) -> list[str]:
    """Set the context size, in tokens, and what the model is for; both for what it is for."""
    size = () if context_size is None else ("--context-size", str(context_size))
    if mode is None:
        return ["configure", *size, model]
    # llama.cpp gives a vector for each token unless it is told how to make one of them.
    return ["configure", *size, "--mode", mode, model, "--", "--pooling", "mean"]
