"""The private empty directory in which guarded runs are started.

Relative names in a prompt mean nothing there, whatever appears in the caller's directory
between the guard's check and the CLI's.
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

_directories: dict[int, str] = {}  # by process: a forked one must not lose its parent's


Workdir: TypeAlias = "Callable[[], str]"  # hashable, and equal for the same directory


def working_directory(policy: FileReferences) -> Workdir:
    """Return the working directory of a run.

    It is the caller's own, as for the CLI, unless references are escaped. With `"refuse"` relative
    names were judged against it.

    Raises:
        InvalidRequestError: If the caller's directory does not exist any more.
    """
    if policy == "escape":
        return private_directory
    try:
        return _Given(os.getcwd())
    except FileNotFoundError:
        msg = "the current directory does not exist any more"
        hint = 'change to another one, or use file_references="escape"'
        raise InvalidRequestError(msg, hint=hint) from None


@dataclass(frozen=True, slots=True)
class _Given:
    directory: str

    def __call__(self) -> str:
        return self.directory


def private_directory() -> str:
    """Return the directory of this process, made at first use and removed at exit; may block.

    Where no temporary directory can be made it is the root directory: names are judged
    against that as well, so that nothing is disclosed there either.
    """
    directory = _directories.get(os.getpid())
    if directory is not None and os.path.isdir(directory):
        return directory  # a cleaner of old files may have removed it
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
