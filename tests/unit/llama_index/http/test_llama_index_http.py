"""`DockerModelLLM` over the runner's HTTP API."""

from __future__ import annotations

import asyncio
import base64
import pickle

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM

from docker_model import EmptyAnswerError, InvalidRequestError, UnsupportedParameterError
from docker_model.testing import Hang, SimulatedDocker, Text
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import HAS_THINKING, MODES
from tests.unit.llama_index.http.llama_index_scripted import USAGE, model, reply

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
every_method = pytest.mark.parametrize("mode", MODES, ids=repr)


# --- Which transport ---


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"max_tokens": 5},
        {"seed": 0},
        {"base_url": "http://127.0.0.1:1"},
        {"api_key": "hunter2"},
        {"is_function_calling_model": True},
        {"transport": "http"},
    ],
)
def test_a_setting_of_http_makes_it_a_function_calling_model(settings):
    with SimulatedDocker() as docker:
        assert DockerModelLLM(model="ai/smollm2", **settings).metadata.is_function_calling_model
        assert docker.calls == docker.requests == []


def test_by_default_it_is_not_a_function_calling_model():
    llm = DockerModelLLM(model="ai/smollm2")
    assert isinstance(llm, FunctionCallingLLM)
    assert llm.metadata.is_function_calling_model is False
    llm.temperature = 0.5
    assert llm.metadata.is_function_calling_model is True
    llm.is_function_calling_model = False
    assert llm.metadata.is_function_calling_model is False
    assert llm.metadata.num_output == 256 + 64
    llm.max_tokens = 5
    assert llm.metadata.num_output == 5 + 64


@every_method
async def test_a_single_call_may_select_http(mode, runner, monkeypatch):
    with SimulatedDocker() as docker:
        llm = DockerModelLLM(model="ai/smollm2")
        assert "You said" in mode.text_of((await mode(llm))[-1])
        monkeypatch.setenv("MODEL_RUNNER_HOST", runner.url)
        assert mode.text_of((await mode(llm, temperature=0))[-1]) == "Hello."
        assert runner.bodies[-1]["temperature"] == 0
        assert len(docker.prompts) == 1


@pytest.mark.parametrize("setting", [{"max_chars": 5}, {"file_references": "allow"}])
def test_settings_of_the_cli_are_refused_over_http(setting):
    with pytest.raises(UnsupportedParameterError, match=next(iter(setting))):
        DockerModelLLM(model="ai/smollm2", temperature=0, **setting)
    llm = DockerModelLLM(model="ai/smollm2", **setting)
    with pytest.raises(UnsupportedParameterError, match=next(iter(setting))):
        llm.complete("hi", temperature=0)


@every_method
async def test_an_explicit_none_for_stop_is_sent(mode, runner):
    for stop, sent in ((["x"], ["x"]), (None, None)):
        llm = model(runner, stop=stop)
        assert mode.text_of((await mode(llm, stop=None))[-1]) == "Hello."
        assert runner.bodies[-1].get("stop") == sent


def test_the_key_is_never_shown(runner):
    llm = model(runner, api_key="hunter2")
    assert "hunter2" not in f"{llm!r} {llm} {llm.to_dict()} {llm.to_payload()}"
    copy = pickle.loads(pickle.dumps(llm))
    assert copy.complete("hi").text == "Hello."
    assert runner.headers["authorization"] == "Bearer hunter2"
    assert DockerModelLLM.from_dict(llm.to_dict()).base_url == runner.url


# --- Answers ---


@every_method
async def test_an_answer_has_reasoning_and_usage(mode, runner):
    runner.replies = [reply("Hello there.", reasoning="Hmm.", counted=True)]
    responses = await mode(model(runner, temperature=0, stop="x"), top_p=0.9)
    last = responses[-1]
    assert mode.text_of(last) == "Hello there."
    assert last.raw["timings"]["predicted_n"] == 2
    assert {name: value for name, value in last.raw.items() if name != "timings"} == {
        "model": "ai/smollm2",
        "finish_reason": "stop",
        "usage": USAGE,
        "reasoning": "Hmm.",
    }
    body = runner.bodies[-1]
    assert (body["temperature"], body["top_p"], body["stop"]) == (0, 0.9, ["x"])
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    if mode.is_stream:
        assert "".join(response.delta for response in responses) == "Hello there."
        assert responses[0].additional_kwargs == {"thinking_delta": "Hmm."}
    if mode.is_chat:
        thinking = ["thinking"] if HAS_THINKING else []
        assert [block.block_type for block in last.message.blocks] == [*thinking, "text"]


@every_method
async def test_an_empty_answer_is_an_error(mode, runner):
    runner.replies = [reply("")]
    with pytest.raises(EmptyAnswerError, match="ai/smollm2"):
        await mode(model(runner))
    # An empty answer that a stop sequence or a limit ended is no error.
    assert mode.text_of((await mode(model(runner), stop="x"))[-1]) == ""
    runner.replies = [reply("", finish="length")]
    assert mode.text_of((await mode(model(runner)))[-1]) == ""


@every_method
@pytest.mark.parametrize("finish", ["stop", "length"])
async def test_an_answer_with_only_reasoning_is_an_error(mode, finish, runner):
    runner.replies = [reply("", reasoning="Hmm.", finish=finish)]
    with pytest.raises(EmptyAnswerError, match=r"think|thought") as caught:
        await mode(model(runner))
    assert "max_tokens" in caught.value.hint


def test_each_role_becomes_a_role_of_the_api(runner):
    for role in MessageRole:
        chat = [ChatMessage("before", role="user"), ChatMessage("this text", role=role)]
        model(runner).chat(chat)
        messages = runner.bodies[-1]["messages"]
        assert {message["role"] for message in messages} <= {"system", "user", "assistant", "tool"}
        assert "this text" in str(messages)


def test_usage_is_counted_by_the_token_handler(runner):
    counter = TokenCountingHandler(tokenizer=lambda _: [])
    runner.replies = [reply(counted=True)]
    model(runner, callback_manager=CallbackManager([counter])).complete("hi")
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (7, 2)


@pytest.mark.parametrize("source", ["bytes", "path", "url"])
def test_images_are_sent_as_urls_or_base64(source, runner, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(PIXEL)
    inline = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    block = {
        "bytes": ImageBlock(image=PIXEL),
        "path": ImageBlock(path=path),
        "url": ImageBlock(url=inline),
    }[source]
    text = TextBlock(text="What is this?")
    model(runner).chat([ChatMessage(role="user", blocks=[text, block])])
    assert runner.bodies[-1]["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": inline}},
    ]


@pytest.mark.parametrize("chat", [[], [ChatMessage(role="user")], [ChatMessage(" \n")]])
def test_an_empty_chat_is_refused(chat, runner):
    with pytest.raises(InvalidRequestError, match="empty"):
        model(runner).chat(chat)
    assert runner.bodies == []


# --- Leaving ---


@pytest.mark.parametrize("mode", ["stream_chat", "astream_chat"])
async def test_leaving_a_stream_closes_the_request(mode):
    with SimulatedDocker(script=[Text("a long story "), Hang()]) as docker:
        llm = DockerModelLLM(model="ai/smollm2", temperature=0)
        if mode == "stream_chat":
            for _ in llm.stream_chat([ChatMessage("hi")]):
                break
        else:
            async for _ in await llm.astream_chat([ChatMessage("hi")]):
                break
        await asyncio.to_thread(docker.wait_gone)
