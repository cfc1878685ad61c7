"""Test and demonstrate applications of local models, without Docker and without a model.

`SimulatedDocker` simulates Docker Model Runner. For pytest there is a fixture,
`simulated_docker`. Add this line to `conftest.py` to use it:

    pytest_plugins = ["docker_model.testing.pytest_plugin"]
"""

from docker_model.testing import steps
from docker_model.testing.docker import SimulatedDocker
from docker_model.testing.models import TEMPLATES, SimulatedModel, Template
from docker_model.testing.records import Call, Prompt, Request
from docker_model.testing.steps import *  # noqa: F403 - `__all__` there lists the steps once

__all__ = [
    "TEMPLATES",
    "Call",
    "Prompt",
    "Request",
    "SimulatedDocker",
    "SimulatedModel",
    "Template",
]
__all__ += steps.__all__
