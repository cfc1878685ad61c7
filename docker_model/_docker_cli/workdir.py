"""The private empty directory in which guarded runs are started.

Relative names in a prompt mean nothing there, whatever appears in the caller's directory
between the guard's look and the CLI's.
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
    """Where a run is started: the CLI's own way is the caller's directory.

    With `"refuse"` too, since that is where relative names were judged.

    Raises:
        InvalidRequestError: The caller's directory is gone.
    """
    if policy == "escape":
        return private_directory
    try:
        return _Given(os.getcwd())  # noqa: PTH109
    except FileNotFoundError:
        msg = "the current directory does not exist any more"
        raise InvalidRequestError(msg, hint='os.chdir(), or file_references="escape"') from None


@dataclass(frozen=True, slots=True)
class _Given:
    directory: str

    def __call__(self) -> str:
        return self.directory


def private_directory() -> str:
    """The directory of this process, made when first asked for, removed at exit; blocks.

    Where no temporary directory can be made, the root directory is the next best: names
    are judged against it as well, so that nothing leaks there either.
    """
    directory = _directories.get(os.getpid())
    if directory is not None and os.path.isdir(directory):  # noqa: PTH112  hot path
        return directory  # a cleaner of old files may have taken it
    try:
        directory = tempfile.mkdtemp(prefix="docker-model-")
        os.chmod(directory, 0o500)  # noqa: PTH101  nobody is to put anything there
    except OSError:
        return os.sep
    _directories[os.getpid()] = directory
    atexit.register(_remove, os.getpid(), directory)
    return directory


def _remove(pid: int, directory: str) -> None:
    if pid == os.getpid():
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # noqa: PTH106
