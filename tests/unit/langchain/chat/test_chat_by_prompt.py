"""Tools and structured output over the CLI, by the prompt only."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from docker_model.testing import SimulatedDocker
from langchain_docker_model import ChatDockerModel
from langchain_docker_model.errors import GenerationError, UnsupportedParameterError
from tests.unit.langchain.chat.modes import MODES, answer

CALL = '{"tool": "add", "arguments": {"a": 2, "b": 3}}'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture
def chat_with_answers():
    """Return a function that creates a chat over the CLI with these answers in turn."""
    with SimulatedDocker(models=("ai/smollm2",), script=lambda _: texts.pop(0)) as docker:
        texts: list[str] = []

        def make(*answers, **settings):
            texts[:] = answers
            merged = {"transport": "cli", "tool_calling": "schema", **settings}
            return ChatDockerModel(model="ai/smollm2", **merged), docker

        yield make


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_is_read_from_the_answer_of_the_cli(chat_with_answers, mode):
    chat, docker = chat_with_answers(CALL)
    message = await answer(chat.bind_tools([add]), mode, "What is 2 + 3?")
    [call] = message.tool_calls
    assert (call["name"], call["args"]) == ("add", {"a": 2, "b": 3})
    assert message.response_metadata["tool_calling"] == "schema"
    assert message.response_metadata["finish_reason"] == "tool_calls"
    [prompt] = docker.prompts
    assert "- add: Add two numbers." in prompt
    assert prompt.endswith("What is 2 + 3?")


@pytest.mark.parametrize("mode", MODES)
async def test_an_invalid_call_is_repaired_once(chat_with_answers, mode):
    chat, docker = chat_with_answers('{"tool": "add", "arguments": {"a": 2}}', CALL)
    message = await answer(chat.bind_tools([add]), mode, "What is 2 + 3?")
    assert message.tool_calls[0]["args"] == {"a": 2, "b": 3}
    assert "arguments.b: is missing" in docker.prompts[1]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_stays_invalid_is_an_error_that_names_http(chat_with_answers, mode):
    chat, docker = chat_with_answers("add(2, 3)", "add(2, 3)")
    with pytest.raises(GenerationError, match=r"not a valid tool call(?s:.*)HTTP") as caught:
        await answer(chat.bind_tools([add], tool_choice="any"), mode)
    assert caught.value.partial == "add(2, 3)"
    assert len(docker.prompts) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_an_object_is_read_from_the_answer_of_the_cli(chat_with_answers, mode):
    chat, docker = chat_with_answers(
        '{"name": "Oslo", "people": "many"}', '{"name": "Oslo", "people": 7}'
    )
    chain = chat.with_structured_output(City)
    parts = []
    match mode:
        case "invoke":
            parts = [chain.invoke("Name a city.")]
        case "ainvoke":
            parts = [await chain.ainvoke("Name a city.")]
        case "stream":
            parts = list(chain.stream("Name a city."))
        case "astream":
            parts = [part async for part in chain.astream("Name a city.")]
    assert parts[-1] == City(name="Oslo", people=7)
    assert "people: must be of type integer" in docker.prompts[1]


async def test_an_object_is_validated_by_the_users_class(chat_with_answers):
    class Even(BaseModel):
        number: int

        def model_post_init(self, _):
            if self.number % 2:
                msg = "must be even"
                raise ValueError(msg)

    chat, docker = chat_with_answers('{"number": 1}', '{"number": 2}')
    assert chat.with_structured_output(Even).invoke("A number?") == Even(number=2)
    assert "must be even" in docker.prompts[1]
    chat, _ = chat_with_answers('{"number": 1}', '{"number": 1}')
    with pytest.raises(GenerationError, match="must be even"):
        await chat.with_structured_output(Even).ainvoke("A number?")


@pytest.mark.parametrize("mode", MODES)
async def test_calls_in_the_history_are_written_as_text(chat_with_answers, mode):
    chat, docker = chat_with_answers("It is 5.")
    history = [
        HumanMessage("What is 2 + 3?"),
        AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2, "b": 3}, "id": "1"}]),
        ToolMessage("5", tool_call_id="1"),
    ]
    assert (await answer(chat, mode, history)).content == "It is 5."
    assert "Result of add: 5" in docker.prompts[0]


def test_an_agent_runs_over_the_cli(chat_with_answers):
    chat, docker = chat_with_answers(CALL, '{"answer": {"name": "Oslo", "people": 5}}')
    agent = create_agent(chat, [add], response_format=City)
    result = agent.invoke({"messages": [HumanMessage("Go.")]})
    assert result["structured_response"] == City(name="Oslo", people=5)
    assert "Result of add: 5" in docker.prompts[1]


@pytest.mark.parametrize("tool_calling", ["auto", "native"])
def test_tools_over_the_cli_are_off_by_default(chat_with_answers, tool_calling):
    chat, docker = chat_with_answers(tool_calling=tool_calling)
    with pytest.raises(UnsupportedParameterError, match=r"HTTP(?s:.*)tool_calling='schema'"):
        chat.bind_tools([add]).invoke("What is 2 + 3?")
    assert docker.prompts == []


def test_sampling_parameters_stay_refused_over_the_cli(chat_with_answers):
    chat, _ = chat_with_answers(temperature=0)
    with pytest.raises(UnsupportedParameterError, match="cannot use temperature"):
        chat.bind_tools([add]).invoke("What is 2 + 3?")
