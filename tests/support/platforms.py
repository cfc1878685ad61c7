"""Requirements of tests on their platform, and the number of open descriptors or handles."""

import os
import sys
from pathlib import Path

import pytest

WINDOWS = sys.platform == "win32"

IS_ROOT = not WINDOWS and os.geteuid() == 0
_DESCRIPTORS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")

posix = pytest.mark.skipif(WINDOWS, reason="signals, sessions and forks are POSIX's")
windows = pytest.mark.skipif(not WINDOWS, reason="jobs and handles are Windows'")


def open_descriptors():
    """Return the number of open descriptors, or of handles on Windows, of this process."""
    if not WINDOWS:
        return len(list(_DESCRIPTORS.iterdir()))
    import ctypes  # noqa: PLC0415  needed there alone

    count = ctypes.c_ulong()
    ctypes.windll.kernel32.GetProcessHandleCount(ctypes.c_void_p(-1), ctypes.byref(count))
    return count.value
