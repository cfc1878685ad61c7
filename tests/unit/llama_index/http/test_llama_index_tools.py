"""Tools over the runner's HTTP API: calls, agents, and incomplete data of the runner."""

from __future__ import annotations

import json

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool

from docker_model import GenerationError, InvalidRequestError
from tests.support.llama_index_modes import HAS_TOOL_CALLS
from tests.unit.llama_index.http.llama_index_scripted import model, reply


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtract one number from another."""
    return a - b


ADD, SUBTRACT = map(FunctionTool.from_defaults, (add, subtract))
CALL = ("add", '{"a": 2, "b": 2}', {"id": "one"})


WITH_TOOLS = ["chat_with_tools", "achat_with_tools"]
WITH_TOOLS += ["stream_chat_with_tools", "astream_chat_with_tools"]


async def with_tools(llm, mode, tools=(ADD,), **settings):
    result = getattr(llm, mode)(tools, "What is 2 + 2?", **settings)
    if mode.startswith("a"):
        result = await result
    if "stream" not in mode:
        return [result]
    return [part async for part in result] if mode.startswith("a") else list(result)


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_a_call_is_returned_with_its_arguments(mode, runner):
    runner.replies = [reply(None, calls=[CALL])]
    llm = model(runner)
    history = [ChatMessage("before")]
    responses = await with_tools(llm, mode, chat_history=history, tool_required=True)
    assert len(history) == 1
    for response in responses:  # incomplete calls can be read, too
        llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    [call] = llm.get_tool_calls_from_response(responses[-1])
    assert (call.tool_id, call.tool_name, call.tool_kwargs) == ("one", "add", {"a": 2, "b": 2})
    assert responses[-1].raw["finish_reason"] == "tool_calls"
    body = runner.bodies[-1]
    assert body["tool_choice"] == "required"
    assert body["tools"][0]["function"]["name"] == "add"
    assert body["messages"] == [{"role": "user", "content": "before\n\nWhat is 2 + 2?"}]


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_a_call_that_was_cut_off_is_an_error(mode, runner):
    cut = reply(None, calls=[("add", '{"a": 2, "b"', {})], finish="length")
    runner.replies = [cut, reply(None, calls=[CALL], finish="length")]
    with pytest.raises(GenerationError, match="cut off within the arguments of 'add'"):
        await with_tools(model(runner), mode)
    assert await with_tools(model(runner), mode)


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_a_missing_required_call_causes_a_warning(mode, runner):
    with pytest.warns(UserWarning, match="required, but the model made no call"):
        responses = await with_tools(model(runner), mode, tool_required=True)
    with pytest.raises(ValueError, match="no tool"):
        model(runner).get_tool_calls_from_response(responses[-1])


@pytest.mark.parametrize("mode", WITH_TOOLS)
@pytest.mark.parametrize("choice", ["add", {"type": "function", "function": {"name": "add"}}])
async def test_a_named_tool_is_the_only_one_sent(mode, choice, runner):
    """llama.cpp refuses a name, and reads OpenAI's form of it as "auto"."""
    runner.replies = [reply(None, calls=[CALL])]
    await with_tools(model(runner), mode, [ADD, SUBTRACT], tool_choice=choice)
    [body] = runner.bodies
    assert [tool["function"]["name"] for tool in body["tools"]] == ["add"]
    assert body["tool_choice"] == "required"


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_an_unknown_tool_choice_is_refused(mode, runner):
    with pytest.raises(InvalidRequestError, match="multiply"):
        await with_tools(model(runner), mode, tool_choice="multiply")
    assert runner.bodies == []


@pytest.mark.parametrize("choice", ["auto", "none", "required", None])
def test_tool_choice_is_sent_in_the_form_of_the_api(choice, runner):
    runner.replies = [reply(None, calls=[CALL])]
    model(runner).chat_with_tools([ADD], "go", tool_choice=choice)
    assert runner.bodies[-1]["tool_choice"] == (choice or "auto")


def test_calls_without_ids_get_different_ids(runner):
    runner.replies = [
        reply(None, calls=[(*CALL[:2], {"id": ""}), ("add", '{"a": 1, "b": 1}', {"id": ""})])
    ]
    llm = model(runner)
    both = llm.chat_with_tools([ADD], "go", allow_parallel_tool_calls=True)
    first, second = llm.get_tool_calls_from_response(both)
    assert first.tool_id != second.tool_id
    assert second.tool_kwargs == {"a": 1, "b": 1}
    single = llm.chat_with_tools([ADD], "go")
    assert len(llm.get_tool_calls_from_response(single)) == 1
    called = ["tool_call"] if HAS_TOOL_CALLS else []
    assert [block.block_type for block in single.message.blocks] == ["text", *called]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agent_sends_the_call_and_its_result(streaming, runner):
    runner.replies = [reply(None, calls=[CALL]), reply("It is 4.")]
    agent = FunctionAgent(tools=[ADD], llm=model(runner), streaming=streaming)
    assert str(await agent.run("What is 2 + 2?")) == "It is 4."
    question, call, result = runner.bodies[-1]["messages"]
    assert question == {"role": "user", "content": "What is 2 + 2?"}
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "one"
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"a": 2, "b": 2}
    assert result["content"] == "4"


WRONG = [
    ('{"a": "two", "b": 2}', "a: Input should be a valid integer"),
    ('{"a": 2}', "b: Field required"),
    ("[2, 2]", "The arguments are not a JSON object."),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("arguments", "problem"), WRONG)
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agents_tool_does_not_run_with_invalid_arguments(
    streaming, arguments, problem, runner
):
    wrong = reply(None, calls=[("add", arguments, {"id": "one"})])
    right = reply(None, calls=[("add", '{"a": 2, "b": 2}', {"id": "two"})])
    runner.replies = [wrong, right, reply("It is 4.")]
    agent = FunctionAgent(tools=[ADD], llm=model(runner), streaming=streaming)
    assert str(await agent.run("What is 2 + 2?")) == "It is 4."
    results = [message for message in runner.bodies[-1]["messages"] if message["role"] == "tool"]
    assert results[0]["content"].startswith("Error: the tool was not run.")
    assert problem in results[0]["content"]
    assert [message["content"] for message in results[1:]] == ["4"]


@pytest.mark.parametrize("method", WITH_TOOLS)
@pytest.mark.parametrize(("arguments", "problem"), WRONG)
async def test_a_call_that_stays_invalid_is_an_error(method, arguments, problem, runner):
    runner.replies = [reply(None, calls=[("add", arguments, {"id": "one"})])]
    responses = await with_tools(model(runner), method)
    with pytest.raises(GenerationError, match="'add', which cannot run") as caught:
        model(runner).get_tool_calls_from_response(responses[-1])
    assert problem in str(caught.value)


@pytest.mark.parametrize("method", ["predict_and_call", "apredict_and_call"])
async def test_an_invalid_call_is_repaired_once(method, runner):
    runner.replies = [reply(None, calls=[("add", '{"a": 2}', {"id": "one"})])]
    runner.replies += [reply(None, calls=[CALL])]
    result = getattr(model(runner), method)([ADD], "What is 2 + 2?")
    assert str(await result if method.startswith("a") else result) == "4"
    assert "b: Field required" in runner.bodies[1]["messages"][-1]["content"]


async def test_a_call_of_an_unknown_tool_is_an_error(runner):
    runner.replies = [reply(None, calls=[("sum", "{}", {"id": "one"})])]
    with pytest.raises(GenerationError, match="There is no tool 'sum'"):
        model(runner).predict_and_call([ADD], "What is 2 + 2?")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_initial_tool_choice_requires_that_tool_once(runner):
    runner.replies = [reply(None, calls=[CALL]), reply("It is 4.")]
    agent = FunctionAgent(tools=[SUBTRACT, ADD], llm=model(runner), initial_tool_choice="add")
    assert str(await agent.run("What is 2 + 2?")) == "It is 4."
    assert [body["tool_choice"] for body in runner.bodies] == ["required", "auto"]
    assert [len(body["tools"]) for body in runner.bodies] == [1, 2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workflows_select_the_function_agent(runner):
    workflow = AgentWorkflow.from_tools_or_functions([add], llm=model(runner))
    assert isinstance(workflow.agents["Agent"], FunctionAgent)


async def test_predict_and_call_runs_the_tool(runner):
    runner.replies = [reply(None, calls=[CALL])]
    assert str(model(runner).predict_and_call([ADD], "What is 2 + 2?")) == "4"
    assert str(await model(runner).apredict_and_call([ADD], "What is 2 + 2?")) == "4"
