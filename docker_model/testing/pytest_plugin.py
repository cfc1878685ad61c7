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
    """Simulate Docker Model Runner with the model `ai/smollm2`, which repeats the prompt.

    For other models, use `with SimulatedDocker(…) as docker:` in the test.
    """
    with closing(SimulatedDocker().open()) as docker:
        # monkeypatch undoes changes in reverse order, the test's own changes of these included.
        for name, value in docker.env.items():
            monkeypatch.setenv(name, value)
        yield docker
