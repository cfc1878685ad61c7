"""A chat without the HTTP API: answered over the CLI or refused."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from docker_model.http import discovery
from docker_model.testing import Hang, Reasoning, SimulatedDocker, Text, Usage
from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import (
    GenerationTimeoutError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from tests.unit.langchain.chat.modes import MODES, NOWHERE, TOOL, answer


@pytest.fixture
def docker(monkeypatch):
    """Simulate a `docker` with an API that only the command itself finds."""
    script = [Reasoning("Hm."), Text("Hello."), Usage(7, 5)]
    with SimulatedDocker(models=("ai/smollm2",), script=script) as simulated:
        yield simulated


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_is_answered_over_the_cli(docker, mode):
    chat = ChatDockerModel(model="ai/smollm2", transport="cli")
    message = await answer(chat, mode, [SystemMessage("Be brief."), HumanMessage("Hi.")])
    assert message.content == "Hello."
    assert docker.prompts == ["Be brief.\n\nHi."]
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
    assert message.usage_metadata["total_tokens"] == 12
    message.response_metadata.pop("token_usage", None)  # core's older name, only in whole answers
    assert message.response_metadata == {
        "model_name": "ai/smollm2",
        "model_provider": "docker_model",
        "finish_reason": "stop",
    }


@pytest.mark.parametrize("mode", MODES)
async def test_the_cli_is_used_if_no_api_is_found(docker, no_endpoint, mode):
    assert (await answer(ChatDockerModel(model="ai/smollm2"), mode)).content == "Hello."
    assert docker.prompts == ["Hi."]


def test_the_use_of_the_cli_is_logged(docker, no_endpoint, caplog):
    caplog.set_level("INFO", "docker_model")
    ChatDockerModel(model="ai/smollm2").invoke("Hi.")
    fallback = "Docker Model Runner was not found; using the command for 'ai/smollm2'"
    assert fallback in caplog.messages


@pytest.mark.parametrize("variable", ["MODEL_RUNNER_URL", "LLM_URL"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_configured_address_that_refuses_connections_is_not_replaced(
    docker, mode, variable
):
    chat = ChatDockerModel(model="ai/smollm2", env={"MODEL_RUNNER_HOST": "", variable: NOWHERE})
    with pytest.raises(RunnerUnavailableError, match=f"{variable} \\({NOWHERE}\\)"):
        await answer(chat, mode)
    assert docker.prompts == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_failed_search_is_not_repeated_by_each_call(mode, monkeypatch):
    searches = []

    async def run(self):
        searches.append(self)

    monkeypatch.setattr(discovery.Search, "run", run)
    env = {"MODEL_RUNNER_HOST": "", "DOCKER_CONTEXT": mode}  # no other test uses this context
    chat = ChatDockerModel(model="ai/smollm2", env=env)
    for _ in range(3):
        with pytest.raises(UnsupportedParameterError):
            await answer(chat, mode, temperature=0)
    assert len(searches) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_sampling_parameters_are_refused_over_the_cli(no_endpoint, mode):
    chat = ChatDockerModel(model="ai/smollm2", temperature=0)
    with pytest.raises(UnsupportedParameterError, match=r"temperature, tools(?s:.*)HTTP") as caught:
        await answer(chat.bind_tools([TOOL]), mode)
    assert isinstance(caught.value.__cause__, RunnerUnavailableError | ConnectionError)


@pytest.mark.parametrize("settings", [{"transport": "http"}, {"base_url": NOWHERE}])
@pytest.mark.parametrize("mode", MODES)
async def test_transport_http_never_falls_back_to_the_cli(docker, no_endpoint, settings, mode):
    chat = ChatDockerModel(model="ai/smollm2", max_retries=0, **settings)
    with pytest.raises(RunnerUnavailableError):
        await answer(chat, mode)
    assert docker.prompts == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_timeout_names_max_tokens_as_the_limit_of_an_answer(mode):
    with SimulatedDocker({"ai/smollm2": ["On and on. ", Hang()]}):
        chat = ChatDockerModel(model="ai/smollm2", transport="cli", timeout=2)
        with pytest.raises(GenerationTimeoutError) as caught:
            await answer(chat, mode)
    assert caught.value.phase == "total"
    assert "max_tokens" in caught.value.hint
    assert "max_chars" not in caught.value.hint


@pytest.fixture
def no_endpoint(monkeypatch):
    """Hide the runner's API; `docker model run` still works."""

    async def find(*_):
        raise discovery.nowhere([])

    monkeypatch.setattr(discovery.Endpoints, "find", find)
