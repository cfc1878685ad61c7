"""LangChain's standard chat suite with the model of a real runner.

All capabilities of the package are enabled. The tests of images and sounds are skipped for a model
without vision and audio.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import httpx
import pytest

from docker_model import inspect_model
from tests.unit.langchain.chat import test_chat_standard

# The capability of the model that each test needs.
_NEEDS = {
    "test_image_inputs": "vision",
    "test_image_tool_message": "vision",
    "test_anthropic_inputs": "vision",
    "test_audio_inputs": "audio",
}


@pytest.fixture(autouse=True)
def media(request, monkeypatch):
    """Skip tests of capabilities that the model lacks; provide media without the network."""
    needed = _NEEDS.get(request.node.originalname)
    model = os.environ["REAL_MODEL"]
    if needed is not None and needed not in inspect_model(model).capabilities:
        pytest.skip(f"{model} does not have the capability {needed}")
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "tests")
    monkeypatch.setattr(httpx, "get", lambda *_, **__: SimpleNamespace(content=b"media"))


class TestChatOnARealRunner(test_chat_standard.EveryCapability):
    @property
    def chat_model_params(self):
        limits = {"temperature": 0, "repeat_penalty": 1.05, "max_tokens": 400}
        return {"model": os.environ["REAL_MODEL"], **limits}

    @property
    def model_override_value(self):
        return os.environ["REAL_MODEL"]
