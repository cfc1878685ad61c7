"""LangChain's standard suites, unit and integration, on simulated models.

No test is marked as an expected failure. `tests/real` has the same suite for a real runner.
"""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_docker_model import ChatDockerModel


class TestChatUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ChatDockerModel

    @property
    def chat_model_params(self):
        return {"model": "ai/smollm2"}

    @property
    def model_override_value(self):
        return "ai/other"


@pytest.fixture
def no_downloads(monkeypatch):
    """Provide the suites with an image and a sound without the network."""
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "tests")
    monkeypatch.setattr(httpx, "get", lambda *_, **__: SimpleNamespace(content=b"media"))


class EveryCapability(ChatModelIntegrationTests):
    """The suite with all supported features; `tests/real` uses it with a real runner."""

    @property
    def chat_model_class(self):
        return ChatDockerModel

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


@pytest.mark.usefixtures("at_obedient_models", "no_downloads")
class TestChatIntegration(EveryCapability):
    @property
    def chat_model_params(self):
        return {"model": "ai/smollm2"}

    @property
    def model_override_value(self):
        return "ai/other"
