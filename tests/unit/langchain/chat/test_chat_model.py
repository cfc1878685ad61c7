"""Requests that `ChatDockerModel` sends, and the messages it returns."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage

from docker_model.testing import SimulatedDocker
from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import ModelNotFoundError, UnsupportedParameterError
from tests.unit.langchain.chat.modes import MODES, answer
from tests.unit.langchain.chat.scripted_model import bodies

EVERY = {
    "temperature": 0.5,
    "max_tokens": 9,
    "top_p": 0.9,
    "seed": 7,
    "top_k": 40,
    "min_p": 0.1,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.3,
    "logit_bias": {"15": -1.0},
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "response_format": {"type": "json_object"},
}


# --- Requests ---


@pytest.mark.parametrize("mode", MODES)
async def test_every_parameter_is_sent_by_its_name(ask, mode):
    chat, docker = ask({"content": "{}"}, **EVERY, stop="END", extra_body={"mirostat": 2})
    assert (await answer(chat, mode)).content == "{}"
    [body] = bodies(docker)
    sent = {name: body[name] for name in EVERY}
    assert sent == EVERY
    assert (body["stop"], body["mirostat"], body["model"]) == (["END"], 2, "ai/smollm2")
    assert body["messages"] == [{"role": "user", "content": "Hi."}]


def test_unset_parameters_are_not_sent(ask):
    chat, docker = ask({"content": "Hello."})
    chat.invoke("Hi.")
    assert bodies(docker)[0].keys() - {"stream", "stream_options"} == {"model", "messages"}


@pytest.mark.parametrize("mode", MODES)
async def test_settings_of_a_call_replace_those_of_the_model(ask, mode):
    chat, docker = ask({"content": "Hello."}, temperature=1, stop=["a"])
    message = await answer(chat, mode, temperature=0, model="ai/other", stop=["b"])
    [body] = bodies(docker)
    assert (body["temperature"], body["model"], body["stop"]) == (0, "ai/other", ["b"])
    assert message.response_metadata["model_name"] == "ai/other"


def test_an_empty_stop_in_a_call_keeps_the_stop_of_the_model(ask):
    chat, docker = ask({"content": "Hello."}, stop=["a"])
    chat.invoke("Hi.", stop=[])
    assert bodies(docker)[0]["stop"] == ["a"]


def test_the_key_and_headers_are_sent_to_the_base_url(ask):
    chat, docker = ask({"content": "Hello."}, api_key="sesame", headers={"X-Team": "blue"})
    chat.invoke("Hi.")
    headers = docker.requests[-1].headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer sesame", "blue")


def test_generate_returns_several_answers(ask):
    chat, _ = ask({"content": "Hello."}, n=2)
    [several] = chat.generate([[HumanMessage("Hi.")]]).generations
    assert [generation.text for generation in several] == ["Hello.", "Hello."]
    with pytest.raises(UnsupportedParameterError, match="n=2"):
        list(chat.stream("Hi."))


# --- Replies ---


@pytest.mark.parametrize("mode", MODES)
async def test_reasoning_usage_and_timings_are_returned(ask, mode):
    chat, _ = ask({"content": "Hello.", "reasoning_content": "Be polite.", "prompt_tokens": 7})
    message = await answer(chat, mode)
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
    assert message.usage_metadata["input_tokens"] == 7
    metadata = message.response_metadata
    assert metadata["timings"]["predicted_per_second"] == 100
    assert metadata["model_name"] == "ai/smollm2"  # the engine reports the name of a file
    assert metadata["model_provider"] == "docker_model"
    assert metadata["finish_reason"] == "stop"


def test_usage_of_several_prompts_is_summed(ask):
    chat, _ = ask({"content": "Hello.", "prompt_tokens": 7})
    output = chat.generate([[HumanMessage("Hi.")], [HumanMessage("Ho.")]]).llm_output
    assert output["model_name"] == "ai/smollm2"
    assert output["token_usage"]["prompt_tokens"] == 14


@pytest.mark.parametrize("mode", MODES)
async def test_errors_are_errors_of_langchain_too(ask, mode):
    chat, _ = ask({"status": 404, "error": "error while getting model: model not found"})
    with pytest.raises(ModelNotFoundError, match="docker model pull ai/smollm2"):
        await answer(chat, mode)


async def test_leaving_a_stream_early_closes_the_request(ask):
    chat, _ = ask({"content": "word " * 1000})
    for _ in chat.stream("Hi."):
        break
    async for _ in chat.astream("Hi."):
        break


# --- Pulling ---


@pytest.mark.parametrize("mode", MODES)
async def test_a_missing_model_is_pulled_if_enabled(mode):
    steps = []
    with SimulatedDocker(models=(), pullable=("ai/smollm2",)):
        chat = ChatDockerModel(
            model="ai/smollm2", transport="http", pull="missing", on_progress=steps.append
        )
        assert (await answer(chat, mode)).content == "You said: Hi."
    assert steps[-1].model == "ai/smollm2"
