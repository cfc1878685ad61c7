"""Test and show what you build on local models, without Docker and without a model.

See `SimulatedDocker`; with pytest, put

    pytest_plugins = ["docker_model.testing.pytest_plugin"]

into `conftest.py` and take the fixture `simulated_docker`.
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
