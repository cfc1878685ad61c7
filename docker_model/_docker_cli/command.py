"""The command line of `docker model`: its program, its arguments and its environment."""

from __future__ import annotations

import json
import ntpath
import os
import posixpath
import shlex
import sys
from typing import TYPE_CHECKING

from docker_model._transport.command_words import is_plugin_file, split_command
from docker_model._transport.configuration import DEFAULT_MODE, duration, reasoning_budget
from docker_model._transport.environment import Environment
from docker_model.errors import (
    DockerNotFoundError,
    UnsupportedParameterError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker_model.types import ModelConfiguration

INSTALL_HINT = (
    "install Docker (https://docs.docker.com/get-docker/), or name the program by command= "
    "or DOCKER_MODEL_COMMAND"
)

_DEFAULTS = {
    # No call may install a runner container, or print its progress before `list --json`.
    "MODEL_RUNNER_NO_AUTO_INSTALL": "1",
    # v1.1.25 to v1.1.27 sent the prompt's search terms to a third party unless this is set.
    "DOCKER_MODEL_NO_WEBSEARCH": "1",
    # v0.1.41 to v1.0.0 colored reasoning by default.
    "NO_COLOR": "1",
    # Go's collector takes a fifth of the CLI's 56 ms; `off` gains no more and never frees.
    "GOGC": "400",
}
# Set by `docker` for its plugins. A plugin that is started without it prints the answer to
# stderr, and reads `model` as the name of a command that it does not have.
ORIGINAL_COMMAND = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"

_SYSTEM = sys.platform
_WINDOWS = os.name == "nt"
_WINDOWS_PROGRAMS = (".exe", ".com")
# Docker Desktop's script for Linux distributions in WSL; it says that the integration is off.
_WSL_PLACEHOLDER = "/Docker/Docker/resources/bin/docker"
_BATCH_FILES = (".bat", ".cmd")  # run by cmd.exe, which reads commands out of the arguments


def child_environment(
    env: Mapping[str, str] | None = None, command: str | Sequence[str] | None = None
) -> dict[str, str]:
    """Return the whole environment of a child: the caller's, `env` over it, and our defaults.

    Args:
        env: An `env=` setting.
        command: The `command=` setting, which may name the plugin's own file.
    """
    environment = {**_DEFAULTS, **os.environ, **Environment.of(env)}
    if is_plugin_file(split_command(command, environment)[0]):
        environment.setdefault(ORIGINAL_COMMAND, "docker")
    return environment


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
    path = env.get("PATH", os.defpath)
    if argv[0] == "docker":
        path = os.pathsep.join([path, *desktop_folders(env, _SYSTEM)])
    return [_locate(argv[0], path), *argv[1:]]


def desktop_folders(env: Mapping[str, str], system: str) -> list[str]:
    """Return the folders in which Docker Desktop has `docker`.

    A service on Windows, or a program that macOS starts from the Dock, has none of them on `PATH`.

    Args:
        env: The child's whole environment.
        system: As `sys.platform` names it.
    """
    if system == "win32":
        programs = env.get("PROGRAMFILES")
        return [ntpath.join(programs, "Docker", "Docker", "resources", "bin")] if programs else []
    if system == "darwin":
        home = env.get("HOME")
        return [
            "/usr/local/bin",
            *([posixpath.join(home, ".docker", "bin")] if home else []),
            "/opt/homebrew/bin",
            "/Applications/Docker.app/Contents/Resources/bin",
        ]
    return []


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
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK) and not (
                _is_batch_file(candidate) or candidate.endswith(_WSL_PLACEHOLDER)
            ):
                return candidate
            unusable = unusable or candidate
    if _is_batch_file(unusable):
        msg = f"{unusable!r} is a batch file, which would run commands out of its arguments"
        raise DockerNotFoundError(msg, hint="name the .exe file that it starts by command=")
    if unusable.endswith(_WSL_PLACEHOLDER):
        msg = "Docker Desktop's integration is off in this distribution of WSL"
        hint = "turn it on in Docker Desktop: Settings > Resources > WSL integration"
        raise DockerNotFoundError(msg, hint=hint)
    if unusable:
        msg = f"{unusable!r} is not executable"
        raise DockerNotFoundError(msg, hint=f"chmod +x {shlex.quote(unusable)}")
    where = "" if os.path.basename(program) != program else " on PATH"
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


def color_help_arguments() -> list[str]:
    """Show the help of `run`; fails where `--color` is unknown, and asks the engine nothing."""
    return ["run", "--color", "no", "--help"]


def list_arguments() -> list[str]:
    """List all models. The CLI's own filter misses `docker.io/` tags, so it is not used."""
    return ["list", "--json"]


def inspect_arguments(model: str) -> list[str]:
    """Describe one model; always JSON, and `--json` is an unknown flag here."""
    return ["inspect", model]


def status_arguments() -> list[str]:
    """Show the state and the address of the runner; `--json` since v0.1.31."""
    return ["status", "--json"]


def version_arguments() -> list[str]:
    """Show the version of the plugin and the kind of engine, also while the runner is off."""
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


def configure_arguments(model: str, configuration: ModelConfiguration) -> list[str]:
    """Replace a model's configuration for one mode.

    Raises:
        UnsupportedParameterError: If the command has no flag for a value.
    """
    budget = reasoning_budget(configuration.think)
    if budget not in (None, 0, -1):
        msg = "`docker model configure` has no way to honor think with a number of tokens"
        raise UnsupportedParameterError(msg, hint='pass True or False, or transport="http"')
    overrides = configuration.hf_overrides
    flags = {
        "--context-size": configuration.context_size,
        "--keep-alive": duration(configuration.keep_alive),
        "--speculative-draft-model": configuration.draft_model,
        "--speculative-num-tokens": configuration.draft_tokens,
        "--speculative-min-acceptance-rate": configuration.draft_min_acceptance,
        "--hf_overrides": None if overrides is None else json.dumps(overrides),
        "--gpu-memory-utilization": configuration.gpu_memory_utilization,
        "--think": None if budget is None else str(budget != 0).lower(),
        "--mode": None if configuration.mode == DEFAULT_MODE else configuration.mode,
    }
    given = [f"{flag}={value}" for flag, value in flags.items() if value is not None]
    own = configuration.runtime_flags
    return ["configure", *given, model, *(("--", *own) if own else ())]


def configurations_arguments(model: str = "") -> list[str]:
    """Show the configurations of one model, or with an empty name of all.

    The name is never left out: before v1.0.6 `configure show` configures a model called `show`,
    and refuses two names.
    """
    return ["configure", "show", model]


def remove_arguments(model: str, *, force: bool) -> list[str]:
    """Remove a model, or one of its tags."""
    return ["rm", *(("--force",) if force else ()), model]


def tag_arguments(model: str, tag: str) -> list[str]:
    """Give a model another name."""
    return ["tag", model, tag]


def disk_usage_arguments() -> list[str]:
    """Show the disk space in use: a table, there is no JSON form."""
    return ["df"]


def search_arguments(term: str, limit: int) -> list[str]:
    """Search the registries; v1.0.7 and later."""
    return ["search", "--json", "--limit", str(limit), "--", term]
