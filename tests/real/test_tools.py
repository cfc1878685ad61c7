"""Tools and objects with a real model: frameworks, reasoning models, the command, loops.

The LlamaIndex tests are those of its integrations `llama-index-llms-ollama` and
`llama-index-llms-openai`, adapted to this package. `REAL_THINKING_MODEL` is a reasoning model.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from langchain_core.exceptions import OutputParserException
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from docker_model import GenerationError, remove_model
from docker_model.http import Client
from langchain_docker_model import ChatDockerModel
from llama_index_docker_model import DockerModelLLM

EXAMPLES = Path(__file__).parents[2] / "examples"
THINKING = "test/thinking"
agents = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Song(BaseModel):
    """A song with its name and its artist."""

    name: str
    artist: str


def generate_song(
    name: Annotated[str, "The name of the song"], artist: Annotated[str, "The name of the artist"]
) -> Song:
    """Generate a song."""
    return Song(name=name, artist=artist)


def search(query: str) -> str:
    """Search the web."""
    return f"{query}: it opens at nine."


SONG, SEARCH = map(FunctionTool.from_defaults, (generate_song, search))
SONG_QUESTION = "Generate the song 'Imagine' by John Lennon."
SONG_TEMPLATE = PromptTemplate("Tell of the song {song}.")


@pytest.fixture
def llm(model):
    return DockerModelLLM(model=model, transport="http", temperature=0, max_tokens=200)


# --- LangChain ---


class Opening(BaseModel):
    """When a place opens."""

    place: Annotated[str, Field(max_length=30)]
    time: Annotated[str, Field(max_length=30)]


def look_up(place: Annotated[str, Field(max_length=30)]) -> str:
    """Look up when a place opens."""
    return f"{place} opens at nine."


@pytest.mark.filterwarnings("default")  # the second is deprecated
@pytest.mark.parametrize(
    ("module", "name"),
    [("langchain.agents", "create_agent"), ("langgraph.prebuilt", "create_react_agent")],
)
def test_a_langchain_agent_calls_and_then_gives_an_object(module, name, model):
    make = getattr(pytest.importorskip(module), name)
    chat = ChatDockerModel(model=model, temperature=0, max_tokens=150)
    agent = make(chat, [look_up], response_format=Opening)
    question = "When does the cafe open? Use the tool."
    state = agent.invoke({"messages": [("user", question)]}, {"recursion_limit": 12})
    kinds = [message.type for message in state["messages"]]
    assert "tool" in kinds
    assert kinds[-1] == "ai"
    assert isinstance(state["structured_response"], Opening)


# --- LlamaIndex ---


@pytest.mark.parametrize("method", ["", "a", "stream_", "astream_"])
async def test_chat_with_tools_gives_a_call_that_runs(llm, method):
    result = getattr(llm, f"{method}chat_with_tools")([SONG], SONG_QUESTION, tool_required=True)
    if method.startswith("a"):
        result = await result
    if method == "stream_":
        result = list(result)[-1]
    elif method == "astream_":
        result = [response async for response in result][-1]
    [call] = llm.get_tool_calls_from_response(result)
    assert call.tool_name == "generate_song"
    assert isinstance(SONG(**call.tool_kwargs).raw_output, Song)


async def test_a_required_tool_is_called_among_several(llm):
    response = llm.chat_with_tools([SEARCH, SONG], "Hello!", tool_required=True)
    assert llm.get_tool_calls_from_response(response)
    response = await llm.achat_with_tools([SEARCH, SONG], "Hello!", tool_choice="search")
    assert llm.get_tool_calls_from_response(response)[0].tool_name == "search"


def test_an_answer_without_an_optional_call_is_no_error(llm):
    response = llm.chat([ChatMessage("Say hello.")])
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    assert response.message.content


async def test_predict_and_call_runs_the_tool(llm):
    settings = {"tool_choice": "generate_song"}
    for response in (
        llm.predict_and_call([SONG], SONG_QUESTION, **settings),
        await llm.apredict_and_call([SONG], SONG_QUESTION, **settings),
    ):
        [output] = response.sources
        assert isinstance(output.raw_output, Song)


@pytest.mark.parametrize("method", ["", "a", "stream_", "astream_"])
async def test_structured_predict_gives_an_object(llm, method):
    result = getattr(llm, f"{method}structured_predict")(
        Song, SONG_TEMPLATE, song="Imagine by John Lennon"
    )
    if method.startswith("a"):
        result = await result
    if method == "stream_":
        result = list(result)[-1]
    elif method == "astream_":
        result = [response async for response in result][-1]
    assert isinstance(result, Song)


@agents
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agent_calls_and_answers(llm, streaming):
    agent = FunctionAgent(
        tools=[SEARCH], llm=llm, streaming=streaming, initial_tool_choice="search"
    )
    response = await agent.run(
        "When does the cafe open?", max_iterations=3, early_stopping_method="generate"
    )
    assert response.tool_calls
    assert str(response)


@agents
async def test_an_agent_gives_an_object(llm):
    agent = FunctionAgent(tools=[SEARCH], llm=llm, output_cls=Song)
    workflow = AgentWorkflow(agents=[agent], output_cls=Song)
    for runs in (agent, workflow):
        response = await runs.run(SONG_QUESTION, max_iterations=12)
        assert response.get_pydantic_model(Song)


# --- A reasoning model ---


@pytest.fixture(scope="module")
def thinking():
    """Package `REAL_THINKING_MODEL` under another name, because a test configures a budget."""
    source = os.environ.get("REAL_THINKING_MODEL")
    if source is None:
        pytest.skip("REAL_THINKING_MODEL is not set")
    command = ["docker", "model", "package", "--from", source, "--context-size", "4096", THINKING]
    subprocess.run(command, check=True, timeout=60)
    yield THINKING
    remove_model(THINKING)


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_thinking_models_object_streams_in_langchain(method, thinking):
    chat = ChatDockerModel(model=thinking, temperature=0, max_tokens=300, thinking=40)
    chain = chat.with_structured_output({**Song.model_json_schema(), "title": "Song"})
    if method == "stream":
        songs = list(chain.stream(SONG_QUESTION))
    else:
        songs = [song async for song in chain.astream(SONG_QUESTION)]
    assert len(songs) > 1
    assert Song.model_validate(songs[-1])
    answer = await chat.bind(response_format=Song).ainvoke(SONG_QUESTION)
    assert [block["type"] for block in answer.content_blocks] == ["reasoning", "text"]


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_thinking_models_object_streams_in_llama_index(method, thinking):
    llm = DockerModelLLM(model=thinking, temperature=0, max_tokens=300, thinking=40)
    if method == "stream":
        songs = list(llm.stream_structured_predict(Song, SONG_TEMPLATE, song="Imagine"))
    else:
        stream = await llm.astream_structured_predict(Song, SONG_TEMPLATE, song="Imagine")
        songs = [song async for song in stream]
    assert len(songs) > 1
    assert isinstance(songs[-1], Song)


class Never(BaseModel):
    """A number that no answer satisfies."""

    number: int = Field(multiple_of=1_000_003, gt=5)


async def test_a_streamed_object_that_stays_invalid_is_an_error(model):
    chat = ChatDockerModel(model=model, temperature=0, max_tokens=60)
    with pytest.raises(OutputParserException):
        async for _ in chat.with_structured_output(Never).astream("Which number?"):
            pass


# --- Schemas that llama.cpp's grammar does not support ---


def unsupported_tool(number):
    """Return a tool with a schema that llama.cpp's grammar refuses or supports only in song."""
    text = {"type": "string"}
    properties = {
        "pattern": {"type": "string", "pattern": "^(?=a)a.*(?!b)$"},
        "mail": {"type": "string", "format": "email"},
        "day": {"type": "string", "format": "date"},
        "long": {"type": "array", "items": text, "minItems": 1, "maxItems": 5000},
        "many": {"enum": [f"v{each}" for each in range(600)]},
        "any": {"type": "object", "additionalProperties": True},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "tree": {"$ref": "#/$defs/Tree"},
        "one": {"oneOf": [text, {"type": "integer", "multipleOf": 7}, {"type": "null"}]},
        "pair": {"type": "array", "prefixItems": [text, {"type": "number"}]},
        "tail": {"type": ["string", "null"], "minLength": 2, "maxLength": 100_000},
        "not": {"not": {"type": "string"}},
        "both": {"allOf": [{"type": "object", "properties": {"a": text}}]},
    }
    tree = {"type": "object", "properties": {"leaves": {"type": "array"}}}
    tree["properties"]["leaves"]["items"] = {"$ref": "#/$defs/Tree"}
    name = list(properties)[number % len(properties)]
    parameters = {
        "type": "object",
        "properties": {name: properties[name]},
        "required": [name],
        "$defs": {"Tree": tree},
    }
    function = {
        "name": f"tool.number-{number}",
        "description": 'Quotes ", newlines\n and \\ in it.',
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


@pytest.mark.parametrize("count", [1, 13, 50])
def test_tools_with_unsupported_schemas_are_called(count, model):
    client = Client(max_retries=0)
    for first in range(0, 13, count):
        tools = [unsupported_tool(first + number) for number in range(count)]
        for tool in tools[13:]:  # more than one long list of values would not fit the context
            tool["function"]["parameters"]["properties"].pop("many", None)
            tool["function"]["parameters"].pop("required")
        reply = client.chat(
            model,
            [{"role": "user", "content": "Go."}],
            tools=tools,
            tool_choice="required",
            tool_calling="schema",
            max_tokens=40,
        )
        [call] = reply["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] in {tool["function"]["name"] for tool in tools}


# --- The command ---


def check_error(error):
    assert "HTTP" in error.hint
    assert error.partial


def test_a_call_described_in_the_prompt_is_valid_or_a_typed_error(model):
    chat = ChatDockerModel(model=model, transport="cli", tool_calling="schema", timeout=120)
    try:
        answer = chat.bind_tools([generate_song], tool_choice="any").invoke(SONG_QUESTION)
    except GenerationError as error:
        check_error(error)
    else:
        assert Song.model_validate(answer.tool_calls[0]["args"])


async def test_an_object_described_in_the_prompt_is_valid_or_a_typed_error(model):
    llm = DockerModelLLM(
        model=model, transport="cli", tool_calling="schema", max_chars=2000, timeout=120
    )
    try:
        answer = await llm.astructured_predict(Song, SONG_TEMPLATE, song="Imagine by John Lennon")
    except GenerationError as error:
        check_error(error)
    else:
        assert isinstance(answer, Song)


# --- Loops ---


@pytest.mark.parametrize("name", ["langchain_agent_limit.py", "llama_index_agent_limit.py"])
def test_the_examples_stop_after_two_calls(name, model):
    run = subprocess.run(
        [sys.executable, EXAMPLES / name, model],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert 1 <= run.stdout.count("[search says:") <= 2
    assert "nine" in run.stdout.splitlines()[-1]
