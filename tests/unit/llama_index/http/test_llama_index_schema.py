"""Agents and tools with templates that do not show tools: a schema enforces the calls."""

from __future__ import annotations

import json

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.bridge.pydantic import BaseModel, Field
from llama_index.core.llms import ChatMessage
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from docker_model.testing import InTurn, SimulatedDocker, SimulatedModel
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import HAS_PARALLEL_CALLS, agents_of_core

TEMPLATES = ["smollm2", "gemma"]  # which drop tools
WITH_TOOLS = ["chat_with_tools", "achat_with_tools"]
WITH_TOOLS += ["stream_chat_with_tools", "astream_chat_with_tools"]
modes = pytest.mark.parametrize("mode", WITH_TOOLS)
both = pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])

ran = []


@pytest.fixture(autouse=True)
def forget():
    ran.clear()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    ran.append((a, b))
    return a + b


ADD = FunctionTool.from_defaults(add)


def call(name="add", **arguments):
    return {"tool": name, "arguments": arguments or {"a": 2, "b": 2}}


def calls(*them):
    return json.dumps(list(them))


def answer(text):
    return json.dumps({"answer": text})


def simulation(*replies, template="smollm2"):
    model = SimulatedModel("ai/model", template=template)
    return SimulatedDocker([model], script=InTurn(*replies))


def llm(**settings):
    return DockerModelLLM(model="ai/model", transport="http", **settings)


async def with_tools(mode, **settings):
    result = getattr(llm(), mode)([ADD], "What is 2 + 2?", **settings)
    if mode.startswith("a"):
        result = await result
    if "stream" not in mode:
        return [result]
    return [part async for part in result] if mode.startswith("a") else list(result)


@modes
@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_call_by_schema_is_returned_as_an_ordinary_tool_call(mode, template):
    with simulation(calls(call()), template=template):
        responses = await with_tools(mode, allow_parallel_tool_calls=True)
    [tool_call] = llm().get_tool_calls_from_response(responses[-1])
    assert (tool_call.tool_name, tool_call.tool_kwargs) == ("add", {"a": 2, "b": 2})
    assert tool_call.tool_id
    assert responses[-1].message.content in ("", None)
    assert responses[-1].raw["tool_calling"] == "schema"


@modes
async def test_the_text_of_an_answer_is_streamed_while_it_arrives(mode):
    with simulation(answer("It is 4, and no more.")):
        responses = await with_tools(mode)
    assert responses[-1].message.content == "It is 4, and no more."
    if "stream" in mode:
        deltas = [response.delta for response in responses]
        assert "".join(deltas) == "It is 4, and no more."
        assert len([delta for delta in deltas if delta]) > 1


@modes
async def test_a_required_call_excludes_an_answer_in_the_schema(mode):
    with simulation(json.dumps(call())) as docker:
        await with_tools(mode, tool_required=True)
        [sent] = [
            request for request in docker.requests if request.path.endswith("/chat/completions")
        ]
    schema = json.dumps(sent.body["response_format"])
    assert '"add"' in schema
    assert '"answer"' not in schema


@agents_of_core
@both
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("workflow", [True, False], ids=["workflow", "agent"])
async def test_an_agent_calls_and_answers(workflow, template, streaming):
    if streaming or HAS_PARALLEL_CALLS:
        first = [calls(call(), call(a=3, b=4))]
    else:
        first = [json.dumps(call()), json.dumps(call(a=3, b=4))]
    with simulation(*first, answer("They are 4 and 7."), template=template) as docker:
        agent = FunctionAgent(tools=[ADD], llm=llm(), streaming=streaming)
        runs = AgentWorkflow(agents=[agent]) if workflow else agent
        history = [ChatMessage("Hi.", role="user"), ChatMessage("Hello.", role="assistant")]
        assert str(await runs.run("Add.", chat_history=history)) == "They are 4 and 7."
        results = [message["content"] for message in docker.requests[-1].body["messages"]]
    assert sorted(ran) == [(2, 2), (3, 4)]
    assert "Result of add: 4" in str(results)
    assert "Result of add: 7" in str(results)


class Sum(BaseModel):
    """A sum."""

    total: int = Field(ge=0)


@agents_of_core
@both
async def test_an_agent_calls_first_and_then_gives_an_object(streaming):
    with simulation(calls(call()), answer("It is 4."), '{"total": 4}'):
        agent = FunctionAgent(tools=[ADD], llm=llm(), streaming=streaming, output_cls=Sum)
        result = await agent.run("Add.")
    assert ran == [(2, 2)]
    assert result.get_pydantic_model(Sum) == Sum(total=4)


async def test_predict_and_call_repairs_a_call_with_invalid_arguments():
    wrong, right = calls(call(a="two", b=2)), calls(call())
    with simulation(wrong, right) as docker:
        response = await llm().apredict_and_call([ADD], "q", allow_parallel_tool_calls=True)
        assert str(response) == "4"
        assert "a: " in docker.requests[-1].body["messages"][-1]["content"]
    assert ran == [(2, 2)]


def test_a_program_makes_an_object_from_a_call():
    program = FunctionCallingProgram.from_defaults(
        output_cls=Sum, prompt=PromptTemplate("{q}"), llm=llm()
    )
    with simulation(
        json.dumps({"tool": "Sum", "arguments": {"total": -1}}), calls(call("Sum", total=4))
    ):
        assert program(q="Add.") == Sum(total=4)


def test_native_calls_are_not_enforced_by_a_schema():
    with simulation("I cannot call.") as docker:
        response = llm(tool_calling="native").chat_with_tools([ADD], "q")
        assert response.raw["tool_calling"] == "native"
        assert docker.requests[-1].body["tools"]
