"""The working directory of runs: a private empty directory for guarded runs.

In an empty directory, relative names in a prompt refer to no file, even if a file appears in
the caller's directory after the guard's check.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from docker_model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker_model.options import FileReferences

_directories: dict[int, str] = {}  # by process id: a forked process must not use its parent's


Workdir: TypeAlias = "Callable[[], str]"  # hashable, and equal for the same directory


def working_directory(policy: FileReferences) -> Workdir:
    """Return a function that returns the working directory of a run.

    With `"escape"` it is the private directory; otherwise it is the current directory, as for
    the CLI. With `"refuse"`, the guard has checked relative names in this directory.

    Raises:
        InvalidRequestError: If the current directory no longer exists.
    """
    if policy == "escape":
        return private_directory
    try:
        return _Fixed(os.getcwd())
    except FileNotFoundError:
        msg = "the current directory no longer exists"
        hint = 'change to another directory, or set file_references="escape"'
        raise InvalidRequestError(msg, hint=hint) from None


@dataclass(frozen=True, slots=True)
class _Fixed:
    directory: str

    def __call__(self) -> str:
        return self.directory


def private_directory() -> str:
    """Return the private directory, created on first use and removed at exit; can block.

    If no temporary directory can be created, it is the root directory. The guard then checks
    names in the root directory, so no file is disclosed.
    """
    directory = _directories.get(os.getpid())
    if directory is not None and os.path.isdir(directory):  # a cleanup of /tmp can remove it
        return directory
    try:
        directory = tempfile.mkdtemp(prefix="docker-model-")
        os.chmod(directory, 0o500)
    except OSError:
        return os.sep
    _directories[os.getpid()] = directory
    atexit.register(_remove, os.getpid(), directory)
    return directory


def _remove(pid: int, directory: str) -> None:
    if pid == os.getpid():
        with contextlib.suppress(OSError):
            os.rmdir(directory)
