"""Features of `DockerModel` that use the HTTP API: sampling parameters and token counts."""

import pickle

import pytest

from docker_model import DockerModel, InvalidRequestError, UnsupportedParameterError
from docker_model.options import SAMPLING

PROMPT = "What is a container?"


def runs(docker):
    return [call for call in docker.calls if "run" in call.argv]


async def test_sampling_parameters_are_sent_over_http(docker):
    settings = {"temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 7}
    settings |= {"max_tokens": 20, "presence_penalty": 1.5, "frequency_penalty": -1}
    assert set(settings) == set(SAMPLING)
    model = DockerModel("ai/smollm2", **settings)
    assert model.generate(PROMPT).text == f"You said: {PROMPT}"
    async with model.astream(PROMPT) as stream:
        assert "".join([piece async for piece in stream]) == f"You said: {PROMPT}"
    assert not runs(docker)
    for request in [request for request in docker.requests if request.prompt is not None]:
        assert {name: request.body[name] for name in SAMPLING} == settings


def test_a_call_without_sampling_parameters_uses_the_command(docker):
    DockerModel("ai/smollm2").generate(PROMPT)
    assert runs(docker)


@pytest.mark.parametrize("name", SAMPLING)
def test_the_cli_transport_refuses_sampling_parameters(name):
    with pytest.raises(UnsupportedParameterError, match=f"does not support {name}") as caught:
        DockerModel("ai/smollm2", transport="cli", **{name: 1})
    assert caught.value.hint


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("value", ["1", True, float("nan"), [1]])
def test_a_sampling_parameter_must_be_a_valid_number(name, value):
    with pytest.raises(InvalidRequestError, match=f"{name} must be") as caught:
        DockerModel("ai/smollm2", **{name: value})
    assert caught.value.hint


def test_max_tokens_zero_is_refused():
    with pytest.raises(InvalidRequestError, match="max_tokens"):
        DockerModel("ai/smollm2", max_tokens=0)


async def test_tokens_are_counted_with_either_transport(docker):
    usage = DockerModel("ai/smollm2", transport="http").generate(PROMPT).usage
    assert usage is not None
    for settings in ({}, {"transport": "http"}):
        model = pickle.loads(pickle.dumps(DockerModel("ai/smollm2", **settings)))
        assert model.count_tokens(PROMPT) == usage.prompt_tokens
        assert await model.acount_tokens(PROMPT) == usage.prompt_tokens


async def test_the_cli_transport_cannot_count_tokens(docker):
    model = DockerModel("ai/smollm2", transport="cli")
    with pytest.raises(UnsupportedParameterError, match="cannot count") as caught:
        model.count_tokens(PROMPT)
    assert "HTTP" in caught.value.hint
    with pytest.raises(UnsupportedParameterError, match="cannot count"):
        await model.acount_tokens(PROMPT)


def test_counting_tokens_without_the_http_api_is_an_error(docker):
    model = DockerModel("ai/smollm2", env={"MODEL_RUNNER_HOST": "http://127.0.0.1:9"})
    with pytest.raises(UnsupportedParameterError, match="was not found") as caught:
        model.count_tokens(PROMPT)
    assert "base_url" in caught.value.hint
