"""A chat without an API: over the CLI, and when it is not."""

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
    """A simulated `docker` whose runner's API only the command itself finds."""
    said = [Reasoning("Hm."), Text("Hello."), Usage(7, 5)]
    with SimulatedDocker(models=("ai/smollm2",), script=said) as simulated:
        yield simulated


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_over_the_cli(docker, mode):
    chat = ChatDockerModel(model="ai/smollm2", transport="cli")
    said = await answer(chat, mode, [SystemMessage("Be brief."), HumanMessage("Hi.")])
    assert said.content == "Hello."
    assert docker.prompts == ["Be brief.\n\nHi."]
    assert [block["type"] for block in said.content_blocks] == ["reasoning", "text"]
    assert said.usage_metadata["total_tokens"] == 12
    said.response_metadata.pop("token_usage", None)  # of a whole answer, in core's older words
    assert said.response_metadata == {
        "model_name": "ai/smollm2",
        "model_provider": "docker_model",
        "finish_reason": "stop",
    }


@pytest.mark.parametrize("mode", MODES)
async def test_without_an_api_the_cli_is_asked(docker, no_endpoint, mode):
    assert (await answer(ChatDockerModel(model="ai/smollm2"), mode)).content == "Hello."
    assert docker.prompts == ["Hi."]


@pytest.mark.parametrize("variable", ["MODEL_RUNNER_URL", "LLM_URL"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_prompt_for_a_dead_address_does_not_go_elsewhere(docker, mode, variable):
    chat = ChatDockerModel(model="ai/smollm2", env={"MODEL_RUNNER_HOST": "", variable: NOWHERE})
    with pytest.raises(RunnerUnavailableError, match=f"{variable} \\({NOWHERE}\\)"):
        await answer(chat, mode)
    assert docker.prompts == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_search_in_vain_is_not_repeated_by_each_call(mode, monkeypatch):
    searches = []

    async def run(self):
        searches.append(self)

    monkeypatch.setattr(discovery.Search, "run", run)
    env = {"MODEL_RUNNER_HOST": "", "DOCKER_CONTEXT": mode}  # a place that no other test has
    chat = ChatDockerModel(model="ai/smollm2", env=env)
    for _ in range(3):
        with pytest.raises(UnsupportedParameterError):
            await answer(chat, mode, temperature=0)
    assert len(searches) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_what_the_cli_cannot_honour(no_endpoint, mode):
    chat = ChatDockerModel(model="ai/smollm2", temperature=0)
    with pytest.raises(UnsupportedParameterError, match=r"temperature, tools(?s:.*)HTTP") as caught:
        await answer(chat.bind_tools([TOOL]), mode)
    assert isinstance(caught.value.__cause__, RunnerUnavailableError | ConnectionError)


@pytest.mark.parametrize("settings", [{"transport": "http"}, {"base_url": NOWHERE}])
@pytest.mark.parametrize("mode", MODES)
async def test_who_wants_http_gets_no_cli(docker, no_endpoint, settings, mode):
    chat = ChatDockerModel(model="ai/smollm2", max_retries=0, **settings)
    with pytest.raises(RunnerUnavailableError):
        await answer(chat, mode)
    assert docker.prompts == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_took_too_long_names_the_cap_that_a_chat_has(mode):
    with SimulatedDocker({"ai/smollm2": ["On and on. ", Hang()]}):
        chat = ChatDockerModel(model="ai/smollm2", transport="cli", timeout=2)
        with pytest.raises(GenerationTimeoutError) as caught:
            await answer(chat, mode)
    assert caught.value.phase == "total"
    assert "max_tokens" in caught.value.hint
    assert "max_chars" not in caught.value.hint


@pytest.fixture
def no_endpoint(monkeypatch):
    """The runner's API is nowhere; `docker model run` works all the same."""

    async def find(*_):
        raise discovery.nowhere([])

    monkeypatch.setattr(discovery.Endpoints, "find", find)
