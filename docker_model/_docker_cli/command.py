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
    "install Docker (https://docs.docker.com/get-docker/), or set command= or "
    "DOCKER_MODEL_COMMAND to the program; in a container without Docker, set MODEL_RUNNER_HOST to "
    "the runner's address and use transport='http'"
)

_DEFAULTS = {
    # Prevents calls from installing a runner container and printing progress before JSON.
    "MODEL_RUNNER_NO_AUTO_INSTALL": "1",
    # Without this, v1.1.25 to v1.1.27 send search terms from the prompt to a third party.
    "DOCKER_MODEL_NO_WEBSEARCH": "1",
    # v0.1.41 to v1.0.0 color the reasoning by default.
    "NO_COLOR": "1",
    # Go's garbage collector takes a fifth of the CLI's 56 ms. `off` is not faster, and never
    # frees memory.
    "GOGC": "400",
}
# `docker` sets this variable for its plugins. Without it, the plugin prints the answer to
# stderr, and treats `model` as an unknown command.
ORIGINAL_COMMAND = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"

_SYSTEM = sys.platform
_WINDOWS = os.name == "nt"
_WINDOWS_PROGRAMS = (".exe", ".com")
# Docker Desktop's placeholder script for WSL distributions whose integration is off.
_WSL_PLACEHOLDER = "/Docker/Docker/resources/bin/docker"
_BATCH_FILES = (".bat", ".cmd")  # cmd.exe runs them, and can execute commands in arguments


def child_environment(
    env: Mapping[str, str] | None = None, command: str | Sequence[str] | None = None
) -> dict[str, str]:
    """Return the environment of a child: the defaults, overridden by the caller's, then `env`.

    Args:
        env: The `env=` setting.
        command: The `command=` setting, which can be the plugin's executable.
    """
    environment = {**_DEFAULTS, **os.environ, **Environment.of(env)}
    if is_plugin_file(split_command(command, environment)[0]):
        environment.setdefault(ORIGINAL_COMMAND, "docker")
    return environment


def located(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return a command with the absolute path of its program; accesses files.

    The path must be absolute because a run has another working directory, where a relative
    path or a relative entry of `PATH` refers to another file.

    Args:
        argv: The command.
        env: The environment of the child.

    Raises:
        DockerNotFoundError: If the program is not found.
    """
    path = env.get("PATH", os.defpath)
    if argv[0] == "docker":
        path = os.pathsep.join([path, *desktop_folders(env, _SYSTEM)])
    return [_locate(argv[0], path), *argv[1:]]


def desktop_folders(env: Mapping[str, str], system: str) -> list[str]:
    """Return the folders in which Docker Desktop installs `docker`.

    They are missing in the `PATH` of a Windows service, or of a program started from the macOS
    Dock.

    Args:
        env: The environment of the child.
        system: The value of `sys.platform`.
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
    """Return the files that `program` can refer to, in search order.

    Args:
        program: A name or a path.
        path: The value of `PATH`.
        windows: Use the rules of Windows.
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
        msg = f"{unusable!r} is a batch file, which could execute commands in its arguments"
        raise DockerNotFoundError(msg, hint="set command= to the .exe file that it starts")
    if unusable.endswith(_WSL_PLACEHOLDER):
        msg = "Docker Desktop's integration is disabled in this WSL distribution"
        hint = "enable it in Docker Desktop: Settings > Resources > WSL integration"
        raise DockerNotFoundError(msg, hint=hint)
    if unusable:
        msg = f"{unusable!r} is not executable"
        raise DockerNotFoundError(msg, hint=f"chmod +x {shlex.quote(unusable)}")
    where = "" if os.path.basename(program) != program else " on PATH"
    msg = f"there is no program {program!r}{where}"
    raise DockerNotFoundError(msg, hint=INSTALL_HINT)


def _is_batch_file(path: str) -> bool:
    return _WINDOWS and path.lower().endswith(_BATCH_FILES)


# `check_model_name` has rejected names that begin with a dash. `run` has a `--` before the name
# as a second protection. In `configure`, `--` would turn the name into a flag for the backend.


def run_arguments(model: str, *, color: bool = True) -> list[str]:
    """Answer the prompt from stdin.

    Args:
        model: A valid model name.
        color: Pass `--color no`, which v0.1.41 and later support and older versions reject.
    """
    return ["run", *(("--color", "no") if color else ()), "--", model]


def preload_arguments(model: str) -> list[str]:
    """Load a model and wait until it is loaded; v0.1.45 and later."""
    return ["run", "--detach", "--", model]


def color_help_arguments() -> list[str]:
    """Show the help of `run`. It fails if `--color` is unknown, and does not use the engine."""
    return ["run", "--color", "no", "--help"]


def list_arguments() -> list[str]:
    """List all models. The CLI's filter is not used because it misses `docker.io/` tags."""
    return ["list", "--json"]


def inspect_arguments(model: str) -> list[str]:
    """Describe one model. The output is always JSON; `inspect` has no flag `--json`."""
    return ["inspect", model]


def status_arguments() -> list[str]:
    """Show the state and the address of the runner; `--json` since v0.1.31."""
    return ["status", "--json"]


def version_arguments() -> list[str]:
    """Show the version of the plugin and the kind of engine, even if the runner is off."""
    return ["version"]


def ps_arguments() -> list[str]:
    """List the loaded models as a table; there is no JSON output."""
    return ["ps"]


def pull_arguments(model: str) -> list[str]:
    """Download a model."""
    return ["pull", model]


def unload_arguments(model: str) -> list[str]:
    """Unload one model."""
    return ["unload", model]


def configure_arguments(model: str, configuration: ModelConfiguration) -> list[str]:
    """Replace the configuration of a model for one mode.

    Raises:
        UnsupportedParameterError: If the command has no flag for a value.
    """
    budget = reasoning_budget(configuration.think)
    if budget not in (None, 0, -1):
        msg = "`docker model configure` does not support a number of tokens for think"
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
    options = [f"{flag}={value}" for flag, value in flags.items() if value is not None]
    runtime_flags = configuration.runtime_flags
    return ["configure", *options, model, *(("--", *runtime_flags) if runtime_flags else ())]


def configurations_arguments(model: str = "") -> list[str]:
    """Show the configurations of one model, or of all models if the name is empty.

    The name is always passed: before v1.0.6, `configure show` without a name configures a model
    called `show`; with a name, it fails because of two names.
    """
    return ["configure", "show", model]


def remove_arguments(model: str, *, force: bool) -> list[str]:
    """Remove a model, or one of its tags."""
    return ["rm", *(("--force",) if force else ()), model]


def tag_arguments(model: str, tag: str) -> list[str]:
    """Add another name to a model."""
    return ["tag", model, tag]


def disk_usage_arguments() -> list[str]:
    """Show the used disk space as a table; there is no JSON output."""
    return ["df"]


def search_arguments(term: str, limit: int) -> list[str]:
    """Search the registries; v1.0.7 and later."""
    return ["search", "--json", "--limit", str(limit), "--", term]
