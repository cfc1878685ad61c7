"""Models for the tests of chats."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest

from langchain_docker_model import ChatDockerModel
from tests.unit.langchain.chat.scripted_model import obedient, simulated


@pytest.fixture
def serve():
    """Serve a script, a function of the request's body, until the test ends."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(closing(simulated(script).open()))


@pytest.fixture
def ask(serve):
    """Return a function that creates a chat with one scripted answer, and its simulation."""

    def make(message=None, **settings):
        docker = serve(obedient if message is None else lambda _body: message)
        return ChatDockerModel(model="ai/smollm2", base_url=docker.url, **settings), docker

    return make


@pytest.fixture(scope="session")
def obedient_docker():
    with closing(simulated(obedient).open()) as docker:
        yield docker


@pytest.fixture
def at_obedient_models(obedient_docker, monkeypatch):
    """Connect to a simulation with models that do what the standard suites request."""
    for name, value in obedient_docker.env.items():
        monkeypatch.setenv(name, value)
