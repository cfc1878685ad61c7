"""Runners for the tests of chats and embeddings."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from docker_model.testing import SimulatedDocker, Text, ToolCall
from langchain_docker_model import ChatDockerModel
from tests.unit.langchain.chat.scripted_runner import obedient, serving


@pytest.fixture
def serve():
    """Serve a script, a function of the request's body, until the test ends."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(serving(script))


@pytest.fixture
def ask(serve):
    """A chat model whose every answer is this; with what it was asked."""

    def make(said=None, **settings):
        runner = serve(lambda body: dict(said) if said is not None else obedient(body))
        return ChatDockerModel(model="ai/smollm2", base_url=runner.url, **settings), runner

    return make


@pytest.fixture(scope="session")
def obedient_runner():
    with serving(obedient) as runner:
        yield runner


@pytest.fixture(scope="session")
def obedient_simulation():
    """Simulate the model of `obedient` with what users test with."""

    def script(prompt):
        asked = [request for request in docker.requests if request.prompt == prompt]
        said = obedient(asked[-1].body)
        for call in said.get("tool_calls", ()):
            function = call["function"]
            yield ToolCall(function["name"], json.loads(function["arguments"]), call["id"])
        if said.get("content"):
            yield Text(said["content"])

    docker = SimulatedDocker(models=None, script=script).open()
    yield docker
    docker.close()


@pytest.fixture(params=["scripted", "simulated"])
def at_either_runner(request, monkeypatch):
    """Two runners by turns: one that is as near to llama.cpp as we know, and our own."""
    name = {"scripted": "obedient_runner", "simulated": "obedient_simulation"}[request.param]
    runner = request.getfixturevalue(name)
    host = runner.host if request.param == "scripted" else runner.url
    monkeypatch.setenv("MODEL_RUNNER_HOST", host)
