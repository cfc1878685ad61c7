"""Test and show what you build on local models, without Docker and without a model.

See `SimulatedDocker`; with pytest, put

    pytest_plugins = ["docker_model.testing.pytest_plugin"]

into `conftest.py` and take the fixture `simulated_docker`.
"""

from docker_model.testing.docker import SimulatedDocker
from docker_model.testing.records import Call, Request
from docker_model.testing.runner import Reply
from docker_model.testing.steps import (
    CloseStdout,
    Cut,
    Downloaded,
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

__all__ = [
    "Call",
    "CloseStdout",
    "Cut",
    "Downloaded",
    "Exit",
    "Fail",
    "Finish",
    "Grandchild",
    "Hang",
    "IgnoreSignals",
    "InTurn",
    "Kill",
    "Pulled",
    "Raw",
    "Reasoning",
    "Reply",
    "Request",
    "Script",
    "SimulatedDocker",
    "Sleep",
    "Stderr",
    "Stdout",
    "Step",
    "Text",
    "ToolCall",
    "Usage",
    "Warn",
    "echo",
]
