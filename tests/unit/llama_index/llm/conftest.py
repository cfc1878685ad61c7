"""Fixtures of the LlamaIndex tests."""

from __future__ import annotations

import socket

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from docker_model.testing import SimulatedDocker
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import MODES


def pytest_configure(config):
    """Ignore the unclosed database of core's `Memory`.

    The garbage collector closes it, possibly during another test, so the filter is for all tests.
    """
    unclosed = "ignore:<aiosqlite.core.Connection:ResourceWarning"
    config.addinivalue_line("filterwarnings", unclosed)


@pytest.fixture(autouse=True)
def no_internet(monkeypatch):
    """Prevent core from downloading a tokenizer or a corpus."""
    look_up = socket.getaddrinfo

    def look_up_local(host, *args, **kwargs):
        assert host in {"127.0.0.1", "localhost", None}, f"the test looks for {host}"
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_local)


@pytest.fixture
def docker():
    with SimulatedDocker(models=("ai/smollm2", "ai/other")) as simulated:
        yield simulated


@pytest.fixture
def llm():
    return DockerModelLLM(model="ai/smollm2")


@pytest.fixture
def debug():
    """Return core's handler that stores every exception, and with it core's generators."""
    return LlamaDebugHandler(print_trace_on_end=False)


@pytest.fixture
def observed(llm, debug):
    llm.callback_manager = CallbackManager([debug])
    return llm


class EventRecorder(BaseEventHandler):
    """A handler that records core's instrumentation events, in order."""

    events: list

    def handle(self, event, **kwargs):
        self.events.append(event)

    @property
    def names(self):
        return [type(event).__name__ for event in self.events]


@pytest.fixture
def seen():
    handler = EventRecorder(events=[])
    dispatcher = get_dispatcher()
    dispatcher.event_handlers.append(handler)
    yield handler
    dispatcher.event_handlers.remove(handler)


@pytest.fixture(params=MODES, ids=repr)
def mode(request):
    return request.param
