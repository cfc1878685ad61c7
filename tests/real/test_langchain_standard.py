"""LangChain's standard chat suite with the model of a real runner.

Every capability that the package supports is on. The tests of images and sounds are skipped for
a model that has no eyes and no ears.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from docker_model import inspect_model
from langchain_docker_model import ChatDockerModel

# What each test shows to the model.
_NEEDS = {
    "test_image_inputs": "vision",
    "test_image_tool_message": "vision",
    "test_anthropic_inputs": "vision",
    "test_audio_inputs": "audio",
}


@pytest.fixture(autouse=True)
def media(request, monkeypatch):
    """Skip what the model cannot perceive, and give the others a picture without the network."""
    needed = _NEEDS.get(request.node.originalname)
    model = os.environ["REAL_MODEL"]
    if needed is not None and needed not in inspect_model(model).capabilities:
        pytest.skip(f"{model} has no {needed}: its own data name no such capability")
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "tests")
    monkeypatch.setattr(httpx, "get", lambda *_, **__: SimpleNamespace(content=b"media"))


class TestChatOnARealRunner(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatDockerModel

    @property
    def chat_model_params(self):
        limits = {"temperature": 0, "repeat_penalty": 1.05, "max_tokens": 400}
        return {"model": os.environ["REAL_MODEL"], **limits}

    @property
    def model_override_value(self):
        return os.environ["REAL_MODEL"]

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_image_urls(self):
        return True

    @property
    def supports_audio_inputs(self):
        return True

    @property
    def supports_image_tool_message(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True
