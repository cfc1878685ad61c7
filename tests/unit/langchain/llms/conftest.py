"""A simulated `docker` for the tests of the LangChain LLM."""

from __future__ import annotations

import pytest

from docker_model.testing import SimulatedDocker


@pytest.fixture
def docker():
    with SimulatedDocker(models=("ai/smollm2", "ai/other")) as simulated:
        yield simulated
