"""Requirements of tests on their platform, and the number of open descriptors or handles."""

import os
import sys
from pathlib import Path

import pytest

WINDOWS = sys.platform == "win32"

IS_ROOT = not WINDOWS and os.geteuid() == 0
_DESCRIPTORS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")


def posix_only(what):
    """Return the mark of a test that needs something which only POSIX systems have."""
    return pytest.mark.skipif(WINDOWS, reason=f"POSIX only: {what}")


posix = posix_only("signals, sessions and forks")
needs_unix_sockets = posix_only("Unix sockets in Python")
needs_ctrl_c = posix_only("Windows sends Ctrl-C only to the processes of a console")
windows = pytest.mark.skipif(not WINDOWS, reason="needs Windows jobs and handles")


def open_descriptors():
    """Return the number of open descriptors, or of handles on Windows, of this process."""
    if not WINDOWS:
        return len(list(_DESCRIPTORS.iterdir()))
    import ctypes  # noqa: PLC0415  only needed on Windows

    count = ctypes.c_ulong()
    ctypes.windll.kernel32.GetProcessHandleCount(ctypes.c_void_p(-1), ctypes.byref(count))
    return count.value
