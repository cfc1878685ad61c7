"""LangChain's standard suites, unit and integration, on both of our runners.

Nothing is marked as expected to fail.
"""

from __future__ import annotations

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


@pytest.mark.usefixtures("at_either_runner")
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
