"""A short soak run as a test."""

import re
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_sixty_generations_leave_no_resources():
    ran = subprocess.run(
        [sys.executable, "-W", "error", SOAK, "--count", "60", "--seconds", "60"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert re.search(r"^60 generations", ran.stdout, re.MULTILINE)
    assert ran.stdout.endswith("all processes of all commands have ended\n")
