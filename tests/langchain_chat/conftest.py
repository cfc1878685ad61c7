"""Runners for the tests of chats and embeddings."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from scripted_runner import obedient, serving

from langchain_docker_model import ChatDockerModel


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
