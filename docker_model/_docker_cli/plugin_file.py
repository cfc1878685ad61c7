"""Find the plugin's executable by the rules of `docker`.

`docker model run` starts `docker`, which starts the plugin twice: once for its metadata and
once for the command itself. The plugin's executable, started directly with the same arguments,
returns the same answer in half the time. `find_plugin` searches for it by the rules of
docker/cli (`cli-plugins/manager`). If `docker` must start the plugin, it returns the reason.

The rules are pure functions of text and bytes. Only `find_plugin` accesses files and can block.
With `windows=True` the functions use the rules of Windows, on any system.
"""

from __future__ import annotations

import json
import ntpath
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docker_model._docker_cli.command import located
from docker_model.errors import DockerNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METADATA_ARGUMENT = "docker-cli-plugin-metadata"
PLUGIN_SOCKET = "DOCKER_CLI_PLUGIN_SOCKET"  # a plugin exits when `docker` closes this socket

_WINDOWS = os.name == "nt"
_SYSTEM_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_WINDOWS_SYSTEM_FOLDERS = ("PROGRAMDATA", "PROGRAMFILES")  # PROGRAMDATA before docker v29.2.0
# The only version that every `docker` accepts; v28.4.1 and later accept all below 2.0.0.
_SCHEMA_VERSION = "0.1.0"
# The first bytes of a program: Linux, macOS (for one architecture and for several), Windows.
_PROGRAM_HEADS = (
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\xca\xfe\xba\xbf",
    b"MZ",
)
# Docker Desktop and `docker buildx install` set this alias. `docker` allows only the alias
# `builder`, and fails if its target is a built-in command.
_BUILDX_ALIAS = {"builder": "buildx"}
_DOCKER_NAMES = frozenset({"docker", "docker.exe", "com.docker.cli", "com.docker.cli.exe"})


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A file that is possibly the plugin.

    Attributes:
        path: The absolute path of the file.
        stamp: The device, inode, mode, size and modification time, to detect changes.
        docker: The absolute path of `docker`; `None` if `docker` is not on `PATH`.
    """

    path: str
    stamp: tuple[int, ...]
    docker: str | None


@dataclass(frozen=True, slots=True)
class Front:
    """The result of a search after which `docker` must start the plugin.

    Attributes:
        reason: The reason, for the user.
    """

    reason: str


def find_plugin(env: Mapping[str, str], *, windows: bool = _WINDOWS) -> PluginFile | Front:
    """Find the file that `docker` would run for `docker model`; accesses files.

    Args:
        env: The environment of the child.
        windows: Use the rules of Windows.
    """
    docker = _find_docker(env)
    if isinstance(docker, Front):
        return docker
    folder = config_folder(env, home=os.path.expanduser("~"), windows=windows)
    config = _read(os.path.join(folder, "config.json"))
    extra = config if isinstance(config, Front) else parse_config(config)
    if isinstance(extra, Front):
        return extra
    paths = plugin_paths(env, folder, extra, windows=windows)
    return paths if isinstance(paths, Front) else _first_file(paths, docker)


def config_folder(env: Mapping[str, str], *, home: str, windows: bool) -> str:
    """Return the folder of Docker's configuration.

    Args:
        env: The environment.
        home: The user's home directory, in case the environment does not set it.
        windows: Use the rules of Windows.
    """
    home = env.get("USERPROFILE" if windows else "HOME") or home
    path = ntpath if windows else posixpath
    return env.get("DOCKER_CONFIG") or str(path.join(home, ".docker"))


def parse_config(data: bytes) -> tuple[str, ...] | Front:
    """Return the `cliPluginsExtraDirs` of a `config.json`; empty data is valid.

    As in Go, keys are case-insensitive, and data after the first JSON value is ignored.
    """
    text = data.decode("utf-8", "replace").lstrip()
    if not text:
        return ()
    try:
        config, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return Front("config.json is not valid JSON")
    if config is None:
        return ()
    if not isinstance(config, dict):
        return Front("config.json is not a JSON object")
    config = {name.lower(): value for name, value in config.items()}
    if config.get("aliases") not in (None, {}, _BUILDX_ALIAS):
        return Front("config.json has aliases")
    extra = config.get("clipluginsextradirs") or []
    if not isinstance(extra, list) or not all(isinstance(folder, str) for folder in extra):
        return Front("cliPluginsExtraDirs in config.json is not a list of paths")
    return tuple(extra)


def plugin_paths(
    env: Mapping[str, str], config_folder: str, extra: Sequence[str], *, windows: bool
) -> list[str] | Front:
    """Return the possible paths of the plugin, in the search order of `docker`.

    Args:
        env: The environment.
        config_folder: The folder of Docker's configuration.
        extra: The `cliPluginsExtraDirs` of the configuration.
        windows: Use the rules of Windows.
    """
    path = ntpath if windows else posixpath
    system: Sequence[str] = _SYSTEM_FOLDERS
    if windows:
        roots = filter(None, map(env.get, _WINDOWS_SYSTEM_FOLDERS))
        system = [path.join(root, "Docker", "cli-plugins") for root in roots]
    folders = [*extra, path.join(config_folder, "cli-plugins"), *system]
    for folder in folders:
        if not path.isabs(folder):  # a run has another working directory
            return Front(f"the plugin folder {folder!r} is a relative path")
    name = "docker-model.exe" if windows else "docker-model"
    return [path.join(folder, name) for folder in folders]


def check_metadata(metadata: bytes) -> Front | None:
    """Validate the metadata that a file has printed; `None` if every `docker` accepts it."""
    try:
        fields = json.loads(metadata.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return Front("the plugin file prints no metadata")
    fields = {name.lower(): value for name, value in fields.items()}
    if fields.get("schemaversion") != _SCHEMA_VERSION:
        return Front(f"the plugin's SchemaVersion is {fields.get('schemaversion')!r}")
    vendor = fields.get("vendor")
    if not isinstance(vendor, str) or not vendor:
        return Front("the plugin's metadata has no Vendor")
    return None


def check_docker(path: str, resolved: str, head: bytes) -> Front | None:
    """Check whether `docker` is Docker's own program; `None` if it is.

    Args:
        path: The path of the file.
        resolved: The same path without symbolic links.
        head: The first bytes of the file.
    """
    if head.startswith(b"#!"):
        return Front(f"{path} is a script")
    if resolved.replace("\\", "/").rpartition("/")[2].lower() not in _DOCKER_NAMES:
        return Front(f"{path} is {resolved}")
    return None if head.startswith(_PROGRAM_HEADS) else Front(f"{path} is not a binary program")


# -- files -----------------------------------------------------------------------------------


def _find_docker(env: Mapping[str, str]) -> str | Front | None:
    try:
        (path,) = located(["docker"], env)
    except DockerNotFoundError:
        return None
    head = _read(path, 4)
    if not isinstance(head, bytes):
        return head
    return check_docker(path, os.path.realpath(path), head) or path


def _read(path: str, size: int = -1) -> bytes | Front:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""
    except OSError as error:
        return Front(f"{path} cannot be read: {error.strerror}")


def _first_file(paths: Sequence[str], docker: str | None) -> PluginFile | Front:
    """Return the first path that exists. Like `docker`, do not try the others if it is unusable."""
    for path in paths:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            return Front(f"{path} cannot be examined: {error.strerror}")
        if not stat.S_ISREG(status.st_mode):
            return Front(f"{path} is not a regular file")
        if not os.access(path, os.X_OK):
            return Front(f"{path} is not executable")
        stamp = (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
        return PluginFile(path, stamp, docker)
    return Front("no plugin folder has the file docker-model")
