"""Test and demonstrate applications of local models, without Docker and without a model.

`SimulatedDocker` simulates Docker Model Runner. For pytest there is a fixture,
`simulated_docker`. Add this line to `conftest.py` to use it:

    pytest_plugins = ["docker_model.testing.pytest_plugin"]
"""

from docker_model.testing.docker import SimulatedDocker
from docker_model.testing.models import SimulatedModel
from docker_model.testing.records import Call, Prompt, Request
from docker_model.testing.steps import (
    CloseStdout,
    Cut,
    Downloaded,
    Event,
    Exit,
    Fail,
    Finish,
    Grandchild,
    Hang,
    IgnoreSignals,
    InTurn,
    Kill,
    Pulled,
    Raw,
    Reasoning,
    Reply,
    Script,
    Sleep,
    Stderr,
    Stdout,
    Step,
    Text,
    ToolCall,
    Usage,
    Warn,
    echo,
)
from docker_model.testing.templates import TEMPLATES, Template

__all__ = [
    "TEMPLATES",
    "Call",
    "CloseStdout",
    "Cut",
    "Downloaded",
    "Event",
    "Exit",
    "Fail",
    "Finish",
    "Grandchild",
    "Hang",
    "IgnoreSignals",
    "InTurn",
    "Kill",
    "Prompt",
    "Pulled",
    "Raw",
    "Reasoning",
    "Reply",
    "Request",
    "Script",
    "SimulatedDocker",
    "SimulatedModel",
    "Sleep",
    "Stderr",
    "Stdout",
    "Step",
    "Template",
    "Text",
    "ToolCall",
    "Usage",
    "Warn",
    "echo",
]
