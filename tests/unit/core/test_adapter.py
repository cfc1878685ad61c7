"""The original adapter: code written for its guide runs, and errors replace error texts."""

import threading

import pytest

from docker_model.adapter import DockerModelRunnerCLIAdapter, create_modelrunner_cli_adapter
from docker_model.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    RunnerUnavailableError,
    UnsupportedParameterError,
)
from docker_model.testing import Hang, SimulatedDocker, Text


async def test_the_program_of_the_guide_runs(simulate):
    simulate(["ai/smollm2", "ai/other"])
    names = await DockerModelRunnerCLIAdapter.get_available_models()
    assert names == ["ai/smollm2", "ai/other"]
    adapter = await create_modelrunner_cli_adapter(names[0])
    assert await adapter.generate("Hi") == "You said: Hi"
    pieces = [chunk async for chunk in adapter.stream_generate("Hi")]
    assert "".join(pieces) == "You said: Hi"
    capabilities = adapter.get_capabilities()
    assert capabilities["streaming"] is True
    assert capabilities["model"] == "ai/smollm2"
    assert capabilities.keys() == {"streaming", "max_tokens", "provider", "model"}
    assert repr(adapter) == "DockerModelRunnerCLIAdapter('ai/smollm2')"


async def test_pieces_arrive_while_the_model_is_still_generating(simulate):
    heard = threading.Event()

    def answer(_):
        yield Text("one ")
        assert heard.wait(60)
        yield Text("two")

    simulate({"ai/smollm2": answer})
    pieces = []
    async for chunk in DockerModelRunnerCLIAdapter("ai/smollm2").stream_generate("Hi"):
        pieces.append(chunk)
        heard.set()
    assert pieces == ["one ", "two"]


async def test_stop_sequences_cut_the_answer(simulate):
    simulate({"ai/smollm2": "one END two"})
    assert await DockerModelRunnerCLIAdapter("ai/smollm2", stop="END").generate("?") == "one "
    assert await DockerModelRunnerCLIAdapter("ai/smollm2").generate("?", stop=["two"]) == "one END "


async def test_failures_raise_errors(simulate):
    simulate([])
    adapter = DockerModelRunnerCLIAdapter("ai/smollm2")
    with pytest.raises(ModelNotFoundError):
        await adapter.generate("Hi")
    with pytest.raises(ModelNotFoundError):
        async for _ in adapter.stream_generate("Hi"):
            pass
    with pytest.raises(InvalidRequestError):
        DockerModelRunnerCLIAdapter("-x")


@pytest.mark.simulated
async def test_a_missing_runner_raises_instead_of_an_empty_list():
    with SimulatedDocker.broken("refused"), pytest.raises(RunnerUnavailableError):
        await DockerModelRunnerCLIAdapter.get_available_models()


async def test_unsupported_parameters_are_refused(docker):
    adapter = DockerModelRunnerCLIAdapter("ai/smollm2")
    with pytest.raises(UnsupportedParameterError, match="max_tokens, temperature"):
        await adapter.generate("Hi", temperature=0.1, max_tokens=9)
    with pytest.raises(UnsupportedParameterError, match="seed"):
        adapter.stream_generate("Hi", seed=1)
    assert docker.calls == []


async def test_leaving_a_stream_ends_the_run(simulate):
    docker = simulate({"ai/smollm2": [Text("one "), Hang()]})
    stream = DockerModelRunnerCLIAdapter("ai/smollm2").stream_generate("Hi")
    async for _ in stream:
        break
    await stream.aclose()
    docker.wait_gone()
