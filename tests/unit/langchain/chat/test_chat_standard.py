"""LangChain's standard suites, unit and integration, on both of our runners.

Nothing is marked as expected to fail.
"""

from __future__ import annotations

import os
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
    """Give the suites a picture and a sound without the network."""
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "tests")
    monkeypatch.setattr(httpx, "get", lambda *_, **__: SimpleNamespace(content=b"media"))


@pytest.mark.usefixtures("at_either_runner", "no_downloads")
class TestChatIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatDockerModel

    @property
    def chat_model_params(self):
        return {"model": "ai/smollm2"}

    @property
    def model_override_value(self):
        return "ai/other"

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


if "REAL_MODEL" in os.environ:  # see CONTRIBUTING

    class TestChatOnTheRealRunner(ChatModelIntegrationTests):
        @property
        def chat_model_class(self):
            return ChatDockerModel

        @property
        def chat_model_params(self):
            # Without the penalty, a small model's JSON never ends.
            limits = {"temperature": 0, "repeat_penalty": 1.3, "max_tokens": 300}
            return {"model": os.environ["REAL_MODEL"], **limits}

        @property
        def model_override_value(self):
            return os.environ["REAL_MODEL"]

        @property
        def supports_json_mode(self):
            return True
