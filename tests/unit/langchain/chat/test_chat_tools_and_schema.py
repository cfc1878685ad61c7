"""Tools with a schema in one request: agents of LangChain and LangGraph, and bound chats."""

from __future__ import annotations

import json

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

from docker_model.testing import SimulatedDocker, ToolCall
from langchain_docker_model import ChatDockerModel


class Sum(BaseModel):
    """A sum."""

    total: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def docker():
    """Simulate a model that calls first, and then gives the object in the requested form."""

    def script(prompt):
        body = prompt.body
        schema = json.dumps(body.get("response_format") or {})
        if body.get("tools"):  # enforced by the engine
            answered = body["messages"][-1]["role"] == "tool"
            return "It is 5." if answered else [ToolCall("add", {"a": 2, "b": 3})]
        if "Result of add" in prompt or '"tool"' not in schema:
            value = {"total": 5}
            return json.dumps({"answer": value} if '"answer"' in schema else value)
        return json.dumps({"tool": "add", "arguments": {"a": 2, "b": 3}})

    with SimulatedDocker(("ai/smollm2",), script=script) as simulated:
        yield simulated


QUESTION = {"messages": [HumanMessage("What is 2 + 3?")]}


def results_of(state):
    return [message.text for message in state["messages"] if message.type == "tool"]


@pytest.mark.usefixtures("docker")
async def test_an_agent_calls_first_and_then_gives_an_object():
    agent = create_agent(ChatDockerModel(model="ai/smollm2"), [add], response_format=Sum)
    for state in (agent.invoke(QUESTION), await agent.ainvoke(QUESTION)):
        assert results_of(state) == ["5"]
        assert state["structured_response"] == Sum(total=5)


@pytest.mark.usefixtures("docker")
@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_langgraphs_prebuilt_agent_calls_first_and_then_gives_an_object():
    agent = create_react_agent(ChatDockerModel(model="ai/smollm2"), [add], response_format=Sum)
    state = agent.invoke(QUESTION)
    assert results_of(state) == ["5"]
    assert state["structured_response"] == Sum(total=5)


@pytest.mark.usefixtures("docker")
def test_a_chat_with_tools_and_a_schema_gives_an_object():
    chat = ChatDockerModel(model="ai/smollm2")
    bound = chat.bind_tools([add], response_format=Sum)
    message = bound.invoke("What is 2 + 3?")
    assert message.tool_calls[0]["args"] == {"a": 2, "b": 3}
    chain = chat.with_structured_output(Sum, tools=chat.bind_tools([add]).kwargs["tools"])
    message = chain.first.invoke("What is 2 + 3?")
    assert message.tool_calls[0]["args"] == {"a": 2, "b": 3}
