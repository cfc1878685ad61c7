"""`DockerModelLLM` over HTTP: the same answers, errors and cancellation as over the command."""

from __future__ import annotations

import pytest
from langchain_core.exceptions import ModelConnectionError, ModelNotFoundError

from docker_model.testing import Hang, SimulatedDocker, Text
from langchain_docker_model import DockerModelLLM
from tests.unit.langchain.llms.modes import MODES, ask

NOWHERE = "http://127.0.0.1:9"
pytestmark = pytest.mark.simulated  # depends on the runner, not on the command


@pytest.mark.parametrize("mode", MODES)
async def test_a_transport_an_address_or_a_key_selects_http(mode, docker):
    for settings in ({"transport": "http"}, {"base_url": docker.url}, {"api_key": "sesame"}):
        # Without the command, only the API can answer.
        llm = DockerModelLLM(model="ai/smollm2", command="/nowhere", **settings)
        assert await ask(llm, mode) == "You said: hi"
        plain = DockerModelLLM(model="ai/smollm2", command="/nowhere")
        assert await ask(plain, mode, **settings) == "You said: hi"


@pytest.mark.parametrize("mode", MODES)
async def test_stops_and_limits_are_applied(mode, docker):
    llm = DockerModelLLM(model="ai/smollm2", transport="http", stop=["aid"])
    assert await ask(llm, mode) == "You s"
    assert await ask(llm, mode, max_chars=3) == "You"


@pytest.mark.parametrize("mode", MODES)
async def test_errors_are_errors_of_langchain_too(mode, docker):
    with pytest.raises(ModelNotFoundError):
        await ask(DockerModelLLM(model="ai/absent", transport="http"), mode)
    with pytest.raises(ModelConnectionError):
        await ask(DockerModelLLM(model="ai/smollm2", base_url=NOWHERE), mode)


async def test_leaving_a_stream_early_closes_the_request():
    with SimulatedDocker(script=[Text("On and on. "), Hang()]) as docker:
        llm = DockerModelLLM(model="ai/smollm2", transport="http")
        for _ in llm.stream("hi"):
            break
        docker.wait_gone()
        async for _ in llm.astream("hi"):
            break
        docker.wait_gone()
