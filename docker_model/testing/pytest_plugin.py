"""The fixture `simulated_docker`, for `pytest_plugins = ["docker_model.testing.pytest_plugin"]`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from docker_model.testing.docker import SimulatedDocker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def simulated_docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDocker]:
    """Docker Model Runner with one model, `ai/smollm2`, that repeats what it was asked.

    Anything else is a line in the test: `with SimulatedDocker(…) as docker:`.
    """
    with closing(SimulatedDocker().open()) as docker:
        # By monkeypatch, which undoes the test's own changes of these variables before this one.
        for name, value in docker.env.items():
            monkeypatch.setenv(name, value)
        yield docker
