"""Tools and objects over the CLI, by the prompt only."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, field_validator

from docker_model import GenerationError, UnsupportedParameterError
from docker_model.testing import Hang, SimulatedDocker, Text
from llama_index_docker_model import DockerModelLLM
from tests.support.llama_index_modes import agents_of_core

CALL = '{"tool": "add", "arguments": {"a": 2, "b": 3}}'
WITH_TOOLS = ["chat_with_tools", "achat_with_tools"]
WITH_TOOLS += ["stream_chat_with_tools", "astream_chat_with_tools"]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = FunctionTool.from_defaults(add)


class City(BaseModel):
    """A city."""

    name: str
    people: int

    @field_validator("people")
    @classmethod
    def _positive(cls, people):
        if people < 0:
            msg = "must not be negative"
            raise ValueError(msg)
        return people


@pytest.fixture
def llm_with_answers():
    """Return a function that creates a model over the CLI with these answers in turn."""
    with SimulatedDocker(models=("ai/smollm2",), script=lambda _: texts.pop(0)) as docker:
        texts: list = []

        def make(*answers, **settings):
            texts[:] = answers
            merged = {"transport": "cli", "tool_calling": "schema", **settings}
            return DockerModelLLM(model="ai/smollm2", **merged), docker

        yield make


async def with_tools(llm, mode, **settings):
    result = getattr(llm, mode)([ADD], "What is 2 + 3?", **settings)
    if mode.startswith("a"):
        result = await result
    if "stream" not in mode:
        return result
    return [part async for part in result][-1] if mode.startswith("a") else list(result)[-1]


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_a_call_is_read_from_the_answer_of_the_cli(llm_with_answers, mode):
    llm, docker = llm_with_answers(CALL)
    assert llm.metadata.is_function_calling_model
    response = await with_tools(llm, mode)
    [call] = llm.get_tool_calls_from_response(response)
    assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 2, "b": 3})
    assert response.raw["tool_calling"] == "schema"
    assert "Add two numbers.\n  arguments: {" in docker.prompts[0]


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_an_invalid_call_is_repaired_once(llm_with_answers, mode):
    llm, docker = llm_with_answers('{"tool": "add", "arguments": {"a": 2}}', CALL)
    [call] = llm.get_tool_calls_from_response(await with_tools(llm, mode))
    assert call.tool_kwargs == {"a": 2, "b": 3}
    assert "arguments.b: is missing" in docker.prompts[1]


@pytest.mark.parametrize("mode", WITH_TOOLS)
async def test_a_call_that_stays_invalid_is_an_error_that_names_http(llm_with_answers, mode):
    llm, docker = llm_with_answers("add(2, 3)", "add(2, 3)")
    with pytest.raises(GenerationError, match=r"not a valid tool call(?s:.*)HTTP"):
        await with_tools(llm, mode, tool_required=True)
    assert len(docker.prompts) == 2


@pytest.mark.parametrize("mode", ["", "a", "stream_", "astream_"])
async def test_an_object_is_read_from_the_answer_of_the_cli(llm_with_answers, mode):
    llm, docker = llm_with_answers(
        '{"name": "Oslo", "people": -1}', '{"name": "Oslo", "people": 7}'
    )
    result = getattr(llm, f"{mode}structured_predict")(City, PromptTemplate("Name a city."))
    if mode.startswith("a"):
        result = await result
    if mode == "stream_":
        result = list(result)[-1]
    elif mode == "astream_":
        result = [part async for part in result][-1]
    assert result == City(name="Oslo", people=7)
    assert len(docker.prompts) == 2
    assert "must not be negative" in docker.prompts[1]


def test_an_object_that_stays_invalid_is_an_error_that_names_http(llm_with_answers):
    llm, docker = llm_with_answers("Oslo", "Oslo")
    with pytest.raises(GenerationError, match=r"not the requested JSON(?s:.*)HTTP"):
        llm.structured_predict(City, PromptTemplate("Name a city."))
    assert len(docker.prompts) == 2


@agents_of_core
async def test_an_agent_runs_over_the_cli(llm_with_answers):
    llm, docker = llm_with_answers(CALL, "It is 5.")
    agent = FunctionAgent(tools=[ADD], llm=llm, streaming=False)
    assert str(await agent.run("What is 2 + 3?")) == "It is 5."
    assert "Result of add: 5" in docker.prompts[1]


def test_a_completion_is_checked_against_the_schema(llm_with_answers):
    response_format = {"type": "json_schema", "json_schema": {"schema": City.model_json_schema()}}
    llm, docker = llm_with_answers(
        "Oslo", '{"name": "Oslo", "people": 7}', response_format=response_format
    )
    assert llm.complete("Name a city.").text == '{"name": "Oslo", "people": 7}'
    assert len(docker.prompts) == 2


def test_a_chat_without_tools_is_streamed(llm_with_answers):
    llm, docker = llm_with_answers(["One ", "two."])
    pieces = [response.delta for response in llm.stream_chat([ChatMessage("Hello.")])]
    assert "".join(pieces) == "One two."
    assert len(docker.prompts) == 1


async def test_cancelling_a_call_over_the_cli_ends_the_run(llm_with_answers):
    llm, docker = llm_with_answers([Text("{"), Hang()])
    task = asyncio.create_task(with_tools(llm, "astream_chat_with_tools"))
    await asyncio.to_thread(docker.wait_prompts)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(docker.wait_gone)


def test_a_prompt_function_of_the_user_is_used(llm_with_answers):
    llm, docker = llm_with_answers(
        CALL, messages_to_prompt=lambda chat: "|".join(m.role for m in chat)
    )
    llm.chat_with_tools([ADD], "What is 2 + 3?")
    assert docker.prompts == ["system|user"]


def test_tools_over_the_cli_are_off_by_default(llm_with_answers):
    llm, docker = llm_with_answers(tool_calling="auto")
    with pytest.raises(UnsupportedParameterError, match="tool_calling='schema'"):
        llm.chat_with_tools([ADD], "What is 2 + 3?")
    assert docker.prompts == []
