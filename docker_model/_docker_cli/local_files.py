"""Check which files the CLI would find, without opening them.

Opening a file can block (a pipe) or have side effects (a device), so only names are looked up.
If the result is uncertain, the file counts as existing.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from docker_model._docker_cli.references import normalized

if TYPE_CHECKING:
    from typing import Self

__all__ = ["LocalFiles"]

_REMEMBERED = 4096  # the size of the cache: a prompt can repeat a name a million times

# Parts of a name in /proc that refer to another file, or to none, in another process.
_OWN_PARTS = re.compile(rb"(?<![^/])(?:[0-9]+|cwd)(?![^/])")
_EFFECTIVE = os.access in os.supports_effective_ids
_MOST_OWN_PARTS = 16  # a name with more of these parts counts as existing


class LocalFiles:
    """The files that a command started in `cwd` would find; a context manager.

    Raises:
        OSError: If `cwd` cannot be opened, on entering.
    """

    def __init__(self, cwd: str) -> None:
        self._system: _Posix | _Windows = _Windows(cwd) if os.name == "nt" else _Posix(cwd)
        self.read = lru_cache(_REMEMBERED)(self._read)
        self.attached = lru_cache(_REMEMBERED)(self._attached)

    def __enter__(self) -> Self:
        self._system.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._system.close()

    def _read(self, path: str) -> bool:
        """Whether the CLI would read the file of an `@` reference."""
        name = normalized(path)
        return "\0" not in name and self._system.reads(name)

    def _attached(self, path: str) -> bool:
        """Whether the CLI would attach the file of an image path, or would fail."""
        name = normalized(path)
        return "\0" in name or not self._system.misses(name)


class _Posix:
    """Looks up names relative to an open directory.

    A name that is short enough for the command could be too long when joined with the name of
    the directory.
    """

    def __init__(self, cwd: str) -> None:
        self._cwd = cwd

    def open(self) -> None:
        # O_PATH, where supported, does not need permission to list the directory.
        flags = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
        self._directory = os.open(self._cwd, flags)

    def close(self) -> None:
        os.close(self._directory)

    def reads(self, name: str) -> bool:
        path = name.encode()
        if os.access(path, os.R_OK, dir_fd=self._directory, effective_ids=_EFFECTIVE):
            try:
                mode = os.stat(path, dir_fd=self._directory).st_mode
            except OSError:  # it existed in the call before
                return True
            if not stat.S_ISDIR(mode) and not stat.S_ISSOCK(mode):
                return True
        return self._belongs_to_process(path)

    def misses(self, name: str) -> bool:
        """Whether the lookup fails with "no such file", the only failure that the CLI ignores."""
        path = name.encode()
        try:
            os.stat(path, dir_fd=self._directory)
        except FileNotFoundError:
            return not self._belongs_to_process(path)
        except OSError:
            return False
        return False

    def _belongs_to_process(self, path: bytes) -> bool:
        """Whether the path contains an entry of a process in /proc.

        The command has not started yet. `/proc/4711/environ` can become its own environment,
        with all secrets, and `/proc/self/cwd/..` is another directory for it.
        """
        for count, part in enumerate(_OWN_PARTS.finditer(path)):
            if count == _MOST_OWN_PARTS:
                return True
            try:
                parent = os.stat(path[: part.start()] or b".", dir_fd=self._directory)
            except OSError:  # the rest of the path is unreachable
                return False
            if parent.st_dev in _process_file_systems():
                return True
        return False


@cache
def _process_file_systems() -> frozenset[int]:
    """Return the device numbers of all mounted /proc; a container can see that of its host.

    macOS has no /proc. Its /dev/fd also contains numbers that differ between processes.
    """
    if sys.platform == "darwin":
        return frozenset({os.stat("/dev/fd").st_dev})
    if sys.platform != "linux":
        return frozenset()
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return frozenset()
    devices = (line.split()[2] for line in mounts if " - proc " in line)
    return frozenset(os.makedev(*map(int, device.split(":"))) for device in devices)


class _Windows:
    """Looks names up by the rules of Windows."""

    _LONG = 248  # Go converts longer names to another form; Python does not always

    def __init__(self, cwd: str) -> None:
        self._cwd = cwd

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def reads(self, name: str) -> bool:
        if self._is_never_looked_up(name):
            return True
        try:
            mode = self._full(name).stat().st_mode
        except OSError as error:
            # EINVAL means that the name is invalid, for example `what?`.
            return error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EINVAL}
        return not stat.S_ISDIR(mode)

    def misses(self, name: str) -> bool:
        if self._is_never_looked_up(name):
            return False
        try:
            self._full(name).stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False

    def _full(self, name: str) -> Path:
        return Path(self._cwd, name)

    def _is_never_looked_up(self, name: str) -> bool:
        r"""Whether a lookup would log in to a server (`\\host\share`) or be unreliable."""
        return bool(re.match(r"[/\\]{2}", name)) or len(str(self._full(name))) >= self._LONG
