"""`DockerModelLLM` over the runner's HTTP API."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index_scripted import USAGE, reply

from docker_model import InvalidRequestError, UnsupportedParameterError
from docker_model.testing import Hang, SimulatedDocker, Text
from llama_index_docker_model import DockerModelLLM


def model(runner, **settings):
    return DockerModelLLM(model="ai/smollm2", base_url=runner.url, **settings)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = FunctionTool.from_defaults(add)
CALL = ("add", '{"a": 2, "b": 2}', {"id": "one"})
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
WAYS = [
    prefix + stream + kind
    for prefix in ("", "a")
    for stream in ("", "stream_")
    for kind in ("complete", "chat")
]


async def answers(llm, way, prompt="hi", **settings):
    asked = [ChatMessage(prompt)] if "chat" in way and isinstance(prompt, str) else prompt
    result = getattr(llm, way)(asked, **settings)
    if way.startswith("a"):
        result = await result
    if "stream" not in way:
        return [result]
    return [one async for one in result] if way.startswith("a") else list(result)


def text_of(response):
    return response.message.content if hasattr(response, "message") else response.text


# --- Which transport ---


@pytest.mark.parametrize(
    "asked",
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
def test_what_only_http_can_do_makes_it_a_function_calling_model(asked):
    with SimulatedDocker() as docker:
        assert DockerModelLLM(model="ai/smollm2", **asked).metadata.is_function_calling_model
        assert docker.calls == docker.requests == []


def test_otherwise_it_is_none():
    llm = DockerModelLLM(model="ai/smollm2")
    assert isinstance(llm, FunctionCallingLLM)
    assert llm.metadata.is_function_calling_model is False
    llm.temperature = 0.5
    assert llm.metadata.is_function_calling_model is True
    llm.is_function_calling_model = False
    assert llm.metadata.is_function_calling_model is False
    assert llm.metadata.num_output == 256
    llm.max_tokens = 5
    assert llm.metadata.num_output == 5


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_alone_may_ask_for_http(way, runner, monkeypatch):
    with SimulatedDocker() as docker:
        llm = DockerModelLLM(model="ai/smollm2")
        assert "You said" in text_of((await answers(llm, way))[-1])
        monkeypatch.setenv("MODEL_RUNNER_HOST", runner.url)
        assert text_of((await answers(llm, way, temperature=0))[-1]) == "Hello."
        assert runner.asked[-1]["temperature"] == 0
        assert len(docker.prompts) == 1


@pytest.mark.parametrize(
    "setting", [{"max_chars": 5}, {"pull": "missing"}, {"file_references": "allow"}]
)
def test_what_only_the_cli_can_do(setting):
    with pytest.raises(UnsupportedParameterError, match=next(iter(setting))):
        DockerModelLLM(model="ai/smollm2", temperature=0, **setting)
    llm = DockerModelLLM(model="ai/smollm2", **setting)
    with pytest.raises(UnsupportedParameterError, match=next(iter(setting))):
        llm.complete("hi", temperature=0)


def test_the_key_stays_out_of_what_is_shown(runner):
    llm = model(runner, api_key="hunter2")
    assert "hunter2" not in f"{llm!r} {llm} {llm.to_dict()} {llm.to_payload()}"
    copy = pickle.loads(pickle.dumps(llm))
    assert copy.complete("hi").text == "Hello."
    assert runner.headers[-1]["Authorization"] == "Bearer hunter2"
    assert DockerModelLLM.from_dict(llm.to_dict()).base_url == runner.url


# --- Answers ---


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_with_reasoning_and_usage(way, runner):
    runner.replies = [reply("Hello there.", reasoning="Hmm.")]
    responses = await answers(model(runner, temperature=0, stop="x"), way, top_p=0.9)
    last = responses[-1]
    assert text_of(last) == "Hello there."
    assert last.raw == {
        "model": "ai/smollm2",
        "finish_reason": "stop",
        "usage": USAGE,
        "reasoning": "Hmm.",
    }
    asked = runner.asked[-1]
    assert (asked["temperature"], asked["top_p"], asked["stop"]) == (0, 0.9, ["x"])
    assert asked["messages"] == [{"role": "user", "content": "hi"}]
    if "stream" in way:
        assert "".join(one.delta for one in responses) == "Hello there."
        assert responses[0].additional_kwargs == {"thinking_delta": "Hmm."}
    if "chat" in way:
        assert [block.block_type for block in last.message.blocks] == ["thinking", "text"]


def test_every_role(runner):
    chat = [ChatMessage("x", role=role) for role in MessageRole]
    model(runner).chat(chat)
    said = [one["role"] for one in runner.asked[-1]["messages"]]
    assert said == [
        *("system", "system", "user", "assistant"),
        *("tool", "tool", "assistant", "assistant"),
    ]


def test_tokens_are_counted(runner):
    counter = TokenCountingHandler(tokenizer=lambda _: [])
    model(runner, callback_manager=CallbackManager([counter])).complete("hi")
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (7, 2)


@pytest.mark.parametrize("source", ["bytes", "path", "url"])
def test_images(source, runner, tmp_path):
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
    assert runner.asked[-1]["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": inline}},
    ]


@pytest.mark.parametrize("chat", [[], [ChatMessage(role="user")], [ChatMessage(" \n")]])
def test_an_empty_chat(chat, runner):
    with pytest.raises(InvalidRequestError, match="empty"):
        model(runner).chat(chat)
    assert runner.asked == []


# --- Tools ---


WITH_TOOLS = ["chat_with_tools", "achat_with_tools"]
WITH_TOOLS += ["stream_chat_with_tools", "astream_chat_with_tools"]


async def with_tools(llm, way, **settings):
    result = getattr(llm, way)([ADD], "What is 2 + 2?", **settings)
    if way.startswith("a"):
        result = await result
    if "stream" not in way:
        return [result]
    return [one async for one in result] if way.startswith("a") else list(result)


@pytest.mark.parametrize("way", WITH_TOOLS)
async def test_a_call(way, runner):
    runner.replies = [reply(None, calls=[CALL])]
    llm = model(runner)
    history = [ChatMessage("before")]
    responses = await with_tools(llm, way, chat_history=history, tool_required=True)
    assert len(history) == 1
    for response in responses:  # whatever is incomplete can be read too
        llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    [call] = llm.get_tool_calls_from_response(responses[-1])
    assert (call.tool_id, call.tool_name, call.tool_kwargs) == ("one", "add", {"a": 2, "b": 2})
    assert responses[-1].raw["finish_reason"] == "tool_calls"
    asked = runner.asked[-1]
    assert asked["tool_choice"] == "required"
    assert asked["tools"][0]["function"]["name"] == "add"
    assert [one["content"] for one in asked["messages"]] == ["before", "What is 2 + 2?"]


@pytest.mark.parametrize("way", WITH_TOOLS)
async def test_no_call_where_one_is_required(way, runner):
    with pytest.warns(UserWarning, match="called no tool"):
        responses = await with_tools(model(runner), way, tool_required=True)
    with pytest.raises(ValueError, match="no tool"):
        model(runner).get_tool_calls_from_response(responses[-1])


def test_calls_without_ids_get_their_own(runner):
    runner.replies = [reply(None, calls=[("add", "{}", {}), ("add", "nonsense", {})])]
    llm = model(runner)
    both = llm.chat_with_tools([ADD], "go", allow_parallel_tool_calls=True)
    first, second = llm.get_tool_calls_from_response(both)
    assert first.tool_id != second.tool_id
    assert second.tool_kwargs == {}
    one = llm.chat_with_tools([ADD], "go")
    assert len(llm.get_tool_calls_from_response(one)) == 1
    assert [block.block_type for block in one.message.blocks] == ["text", "tool_call"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agent(streaming, runner):
    runner.replies = [reply(None, calls=[CALL]), reply("It is 4.")]
    agent = FunctionAgent(tools=[ADD], llm=model(runner), streaming=streaming)
    assert str(await agent.run("What is 2 + 2?")) == "It is 4."
    question, call, result = runner.asked[-1]["messages"]
    assert question == {"role": "user", "content": "What is 2 + 2?"}
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "one"
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"a": 2, "b": 2}
    assert result["content"] == "4"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workflows_take_the_function_agent(runner):
    workflow = AgentWorkflow.from_tools_or_functions([add], llm=model(runner))
    assert isinstance(workflow.agents["Agent"], FunctionAgent)


async def test_predict_and_call(runner):
    runner.replies = [reply(None, calls=[CALL])]
    assert str(model(runner).predict_and_call([ADD], "What is 2 + 2?")) == "4"
    assert str(await model(runner).apredict_and_call([ADD], "What is 2 + 2?")) == "4"


# --- Objects ---


class Whale(BaseModel):
    """A whale."""

    name: str
    length: int


TELL = PromptTemplate("Tell of {x}.")
MOBY = '{"name": "Moby", "length": 18}'


@pytest.mark.parametrize(
    "way",
    [
        "structured_predict",
        "astructured_predict",
        "stream_structured_predict",
        "astream_structured_predict",
    ],
)
async def test_objects_by_schema(way, runner):
    runner.replies = [reply(MOBY)]
    llm, settings = model(runner, system_prompt="Be exact."), {"seed": 1}
    result = getattr(llm, way)(Whale, TELL, settings, x="whales")
    if way.startswith("a"):
        result = await result
    if "stream" in way:
        result = [one async for one in result] if way.startswith("a") else list(result)
        assert any(one.name == "Moby" for one in result)
        result = result[-1]
    assert result == Whale(name="Moby", length=18)
    assert settings == {"seed": 1}
    asked = runner.asked[-1]
    schema = asked["response_format"]["json_schema"]
    assert (schema["name"], schema["schema"]) == ("Whale", Whale.model_json_schema())
    assert asked["seed"] == 1
    assert asked["messages"][0] == {"role": "system", "content": "Be exact."}
    assert llm.pydantic_program_mode == "default"


async def test_objects_by_a_tool(runner):
    runner.replies = [reply(None, calls=[("Whale", MOBY, {})])]
    llm = model(runner, pydantic_program_mode="function")
    assert llm.structured_predict(Whale, TELL, x="whales").name == "Moby"
    assert list(llm.stream_structured_predict(Whale, TELL, x="whales"))[-1].length == 18
    assert runner.asked[-1]["tools"][0]["function"]["name"] == "Whale"


# --- Leaving ---


@pytest.mark.parametrize("way", ["stream_chat", "astream_chat"])
async def test_leaving_a_stream_ends_the_request(way):
    with SimulatedDocker(script=[Text("a long story "), Hang()]) as docker:
        llm = DockerModelLLM(model="ai/smollm2", temperature=0)
        if way == "stream_chat":
            for _ in llm.stream_chat([ChatMessage("hi")]):
                break
        else:
            async for _ in await llm.astream_chat([ChatMessage("hi")]):
                break
        await asyncio.to_thread(docker.wait_gone)
