"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docker_model.testing import SimulatedDocker, Text

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    "script", sorted(EXAMPLES.glob("langchain_*.py")), ids=lambda path: path.stem
)
def test_an_example(script):
    answer = "Docker, Podman, containerd. " * 5
    with SimulatedDocker(script=[Text(answer)]) as docker:
        ended = subprocess.run(
            [sys.executable, script],
            env=os.environ | {"PYTHONPATH": str(ROOT)},  # it need not be installed
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        docker.wait_all_gone()
    assert ended.stderr == ""
    assert ended.returncode == 0
    assert "Podman" in ended.stdout


def test_every_example_is_run():
    assert len(list(EXAMPLES.glob("langchain_*.py"))) >= 5
